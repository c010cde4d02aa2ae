package mail_test

import (
	"strings"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/mail/mailtest"
)

// codeMail is a one-time code mail of about 1.5 kB.
func codeMail() mail.Draft {
	return mail.Draft{
		From:      mail.Mailbox{Name: "Example Shop", Address: "noreply@example.org"},
		To:        []mail.Mailbox{{Address: "user@example.net"}},
		Subject:   "Your code is 493817",
		Date:      time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC),
		MessageID: "0190b2c4.1@example.org",
		Text:      "Your code is 493817.\n\nIt is good for ten minutes. If you did not ask for it, do nothing.\n",
		HTML:      "<!doctype html><p>Your code is <b>493817</b>.</p>" + strings.Repeat("<p>It is good for ten minutes.</p>\n", 18),
	}
}

func BenchmarkCompose(b *testing.B) {
	d := codeMail()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := mail.Compose(d); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	m, err := mail.Compose(codeMail())
	if err != nil {
		b.Fatal(err)
	}
	rsa, err := mail.GenerateKey(2048)
	if err != nil {
		b.Fatal(err)
	}
	ed, err := mail.GenerateEd25519Key()
	if err != nil {
		b.Fatal(err)
	}
	for name, s := range map[string]mail.Signature{
		"rsa2048": {Domain: "example.org", Selector: "r1", Key: rsa},
		"ed25519": {Domain: "example.org", Selector: "e1", Key: ed},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := mail.Sign(m, s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRelaySend(b *testing.B) {
	m, err := mail.Compose(codeMail())
	if err != nil {
		b.Fatal(err)
	}
	for name, options := range map[string][]mailtest.Option{
		"clear": {mailtest.CountOnly()},
		"tls":   {mailtest.CountOnly(), mailtest.WithSTARTTLS()},
	} {
		send := func(b *testing.B, r *mail.Relay) {
			if got := r.Send(b.Context(), envelope, m); got.Outcome != mail.Delivered {
				b.Error(describe(got))
			}
		}
		b.Run(name+"/one", func(b *testing.B) {
			r := relayTo(b, mailtest.Serve(b, options...), nil)
			b.ReportAllocs()
			for b.Loop() {
				send(b, r)
			}
		})
		b.Run(name+"/four", func(b *testing.B) {
			r := relayTo(b, mailtest.Serve(b, options...), nil)
			b.ReportAllocs()
			b.SetParallelism(2)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					send(b, r)
				}
			})
		})
	}
}
