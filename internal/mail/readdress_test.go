package mail

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noReply = Mailbox{"Postseal", "no-reply@postseal.example"}

func TestReaddressGivesWhatComposeWould(t *testing.T) {
	for _, name := range []string{"", "Example Shop", strings.Repeat("Größe & Söhne ", 12), `a "quoted" \ name`} {
		for _, reply := range []*Mailbox{nil, {"Help", "help@example.org"}, {strings.Repeat("Hilfe für alle ", 12), "help@example.org"}} {
			for _, drop := range []bool{false, true} {
				d := sample()
				d.From.Name, d.ReplyTo = name, reply
				d.Text = "From: body@example.org\r\n\r\nFrom: again\nReply-To: body@example.org\n"
				d.Headers = []Header{{"X-From", "From: kept"}}
				got, err := Readdress(mustCompose(t, d), &noReply, drop)
				if err != nil {
					t.Fatal(err)
				}
				d.From = noReply
				if drop {
					d.ReplyTo = nil
				}
				if diff := cmp.Diff(string(mustCompose(t, d)), string(got)); diff != "" {
					t.Errorf("name %q, reply %v, drop %v (-want +got):\n%s", name, reply, drop, diff)
				}
			}
		}
	}
}

func TestReaddressReplacesFoldedFieldsInAnyOrder(t *testing.T) {
	m := "Reply-to:\r\n a@example.org,\r\n\tb@example.org\r\nTo: c@example.org\r\nFROM : x\r\n <x@example.org>\r\nSubject: a\r\n From: b\r\n\r\nFrom: c\r\n"
	want := "To: c@example.org\r\nFrom: \"Postseal\" <no-reply@postseal.example>\r\nSubject: a\r\n From: b\r\n\r\nFrom: c\r\n"
	got, err := Readdress([]byte(m), &noReply, true)
	if err != nil || string(got) != want {
		t.Errorf("got %q (%v), want %q", got, err, want)
	}
}

func TestReaddressRefusesWhatItCannotDoWhole(t *testing.T) {
	good := string(mustCompose(t, sample()))
	for name, c := range map[string]struct {
		field, message string
		from           Mailbox
	}{
		"no message":              {"message", "", noReply},
		"no end of header":        {"message", "From: a@example.org\r\nTo: b@example.org\r\n", noReply},
		"no From":                 {"message", "To: b@example.org\r\n\r\nFrom: a@example.org\r\n", noReply},
		"From in the body only":   {"message", "\r\nFrom: a@example.org\r\n\r\n", noReply},
		"From in a folded line":   {"message", "To: b@example.org\r\n From: a@example.org\r\n\r\n", noReply},
		"two From":                {"message", "from: b@example.org\r\n" + good, noReply},
		"two From, one obsolete":  {"message", "From \t: b@example.org\r\n" + good, noReply},
		"bare LF":                 {"message", "X-A: b\nFrom: b@example.org\r\n" + good, noReply},
		"bare CR":                 {"message", "X-A: b\rFrom: b@example.org\r\n" + good, noReply},
		"no colon":                {"message", "From b@example.org\r\n" + good, noReply},
		"begins with a blank":     {"message", " x: y\r\n" + good, noReply},
		"not ASCII":               {"message", "X-A: ü\r\n" + good, noReply},
		"signed":                  {"message", "DKIM-Signature: v=1\r\n" + good, noReply},
		"no mailbox":              {"From", good, Mailbox{}},
		"two addresses":           {"From", good, Mailbox{"", "a@example.org,b@example.org"}},
		"line end in the name":    {"From", good, Mailbox{"a\r\nBcc: b@example.org", "a@example.org"}},
		"another address in name": {"From", good, Mailbox{"ceo@bank.example", "a@example.org"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Readdress([]byte(c.message), &c.from, true)
			if fe, ok := errors.AsType[*FieldError](err); !ok || fe.Field != c.field || got != nil {
				t.Errorf("got %q, error %v, want a FieldError of %s and nothing else", got, err, c.field)
			}
		})
	}
}

func TestReaddressLeavesItsInputAlone(t *testing.T) {
	m := mustCompose(t, sample())
	before := bytes.Clone(m)
	if _, err := Readdress(m, &Mailbox{"", "a@b.example"}, true); err != nil || !bytes.Equal(m, before) {
		t.Errorf("error %v, message:\n%s", err, m)
	}
}

// FuzzReaddress: a message readdressed is the message composed with the other From.
func FuzzReaddress(f *testing.F) {
	f.Add("Example Shop", "noreply@example.org", "Help", "help@example.org", "Your code", "From: a\r\n\r\nFrom: b", "", "X-From", "From: a", "Postseal", "no-reply@example.net", true)
	f.Add("", "a@b", "", "", "", "", "<p>Größe", "List-Id", "a b", strings.Repeat("ü ", 100), "c@d.e", false)
	f.Add(strings.Repeat("x ", 120), "a@b", strings.Repeat("ö", 100), "a@b", " ", "a", "b", "X-A", strings.Repeat("From: ", 100), "\r\nTo:", "c@d.e", true)
	f.Fuzz(func(t *testing.T, name, address, replyName, reply, subject, text, html, key, value, newName, newAddress string, drop bool) {
		d := sample()
		d.From = Mailbox{name, address}
		if reply != "" {
			d.ReplyTo = &Mailbox{replyName, reply}
		}
		d.Subject, d.Text, d.HTML, d.Charset = subject, text, html, "iso-8859-1"
		d.Headers = []Header{{key, value}}
		m, err := Compose(d)
		if err != nil {
			return
		}
		got, err := Readdress(m, &Mailbox{newName, newAddress}, drop)
		d.From = Mailbox{newName, newAddress}
		if drop {
			d.ReplyTo = nil
		}
		want, werr := Compose(d)
		if (err == nil) != (werr == nil) || !bytes.Equal(got, want) {
			t.Fatalf("got (%v):\n%s\nwant (%v):\n%s", err, got, werr, want)
		}
	})
}

// FuzzReaddressBytes: of any bytes Readdress makes a message with one From, ours,
// and the same body, or a *FieldError.
func FuzzReaddressBytes(f *testing.F) {
	f.Add([]byte("From: a@example.org\r\nReply-To: b\r\n c\r\n\r\nFrom: body\r\n"), true)
	f.Add([]byte("\r\nFrom: a\r\n\r\n"), true)
	f.Add([]byte(" From: a\r\nFrom : b\r\n\r\n"), false)
	f.Fuzz(func(t *testing.T, m []byte, drop bool) {
		got, err := Readdress(m, &noReply, drop)
		if err != nil {
			if _, ok := errors.AsType[*FieldError](err); !ok || got != nil {
				t.Fatalf("got %q, error without a field: %v", got, err)
			}
			return
		}
		head, body, _ := bytes.Cut(got, []byte("\r\n\r\n"))
		if !bytes.HasSuffix(m, append([]byte("\r\n\r\n"), body...)) {
			t.Fatalf("body changed: %q of %q", got, m)
		}
		lines := "\n" + strings.ToLower(string(head))
		if n := strings.Count(lines, "\nfrom:"); n != 1 || !strings.Contains(lines, "\n"+strings.ToLower("From: "+noReply.format())) {
			t.Fatalf("%d From: %q", n, got)
		}
		for line := range strings.SplitSeq(lines, "\n") {
			if name, _, _ := strings.Cut(line, ":"); drop && strings.TrimRight(name, " \t") == "reply-to" {
				t.Fatalf("Reply-To is still there: %q", got)
			}
		}
		if again, err := Readdress(got, &noReply, drop); err != nil || !bytes.Equal(again, got) {
			t.Fatalf("a second time: %q (%v), want %q", again, err, got)
		}
	})
}

func TestReaddressWithoutAMailboxKeepsTheAuthor(t *testing.T) {
	d := Draft{
		From: Mailbox{"Ö", "a@b.example"}, To: []Mailbox{{"", "r@b.example"}}, ReplyTo: &Mailbox{"", "c@b.example"},
		Date: time.Unix(1e9, 0), MessageID: "x@b.example", Text: "From: nobody",
	}
	got, err := Readdress(mustCompose(t, d), nil, true)
	d.ReplyTo = nil
	if want := mustCompose(t, d); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}
