package dnscheck

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"blitiri.com.ar/go/spf"
	"pgregory.net/rapid"
)

// world answers SPF look-ups from maps, for tests of arithmetic that need no packets.
type world struct {
	txt   map[string][]string
	mx    map[string][]string
	hosts map[string][]string
	names []string // that any address resolves to
	asked int
}

func (w *world) miss(name string) error {
	return &net.DNSError{Err: "no such record", Name: name, IsNotFound: true}
}

func (w *world) LookupTXT(_ context.Context, name string) ([]string, error) {
	w.asked++
	if v := w.txt[bare(name)]; len(v) > 0 {
		return v, nil
	}
	return nil, w.miss(name)
}

func (w *world) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	w.asked++
	var mxs []*net.MX
	for i, host := range w.mx[bare(name)] {
		mxs = append(mxs, &net.MX{Host: host + ".", Pref: uint16(i)})
	}
	if mxs == nil {
		return nil, w.miss(name)
	}
	return mxs, nil
}

func (w *world) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	w.asked++
	var addrs []netip.Addr
	for _, s := range w.hosts[bare(host)] {
		if a := netip.MustParseAddr(s); network == "ip" || a.Is4() == (network == "ip4") {
			addrs = append(addrs, a)
		}
	}
	if addrs == nil {
		return nil, w.miss(host)
	}
	return addrs, nil
}

func (w *world) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	addrs, err := w.LookupNetIP(ctx, "ip", host)
	var ips []net.IPAddr
	for _, a := range addrs {
		ips = append(ips, net.IPAddr{IP: a.AsSlice()})
	}
	return ips, err
}

func (w *world) LookupAddr(_ context.Context, addr string) ([]string, error) {
	w.asked++
	if len(w.names) == 0 {
		return nil, w.miss(addr)
	}
	return w.names, nil
}

const (
	insideV4, insideV6   = "192.0.2.10", "2001:db8::10"
	outsideV4, outsideV6 = "198.51.100.1", "2001:db8:ffff::1"
)

// drawWorld makes a few domains whose records name one another and a few hosts, all of them
// valid: how faults in a record are read is the business of other tests.
func drawWorld(t *rapid.T) *world {
	w := &world{
		txt: map[string][]string{},
		mx:  map[string][]string{"m.example": {"h.example", "far.example"}, "void.example": {"gone.example"}},
		hosts: map[string][]string{
			"h.example": {insideV4, insideV6}, "far.example": {"203.0.113.1", "2001:db8:7::1"},
			// On both families: the other evaluator takes a host with one for void with neither.
			"u.d0.example": {"127.0.0.2", "::1"}, "elo.example": {"127.0.0.2", "::1"},
		},
		names: rapid.SampledFrom([][]string{nil, {"h.example."}, {"far.example.", "h.example."}}).Draw(t, "names"),
	}
	many := make([]string, 11)
	for i := range many {
		many[i] = fmt.Sprintf("x%d.example", i)
	}
	w.mx["many.example"] = many
	domain := rapid.SampledFrom([]string{"d0.example", "d1.example", "d2.example", "d3.example", "none.example"})
	host := rapid.SampledFrom([]string{"h.example", "far.example", "gone.example", "gone2.example", "%{l}.%{d}", "%{o2r}.x.example", "%{h1r}.example", "%{d}"})
	exchange := rapid.SampledFrom([]string{"m.example", "void.example", "gone.example", "many.example", "m.%{d1}"})
	term := rapid.Custom(func(t *rapid.T) string {
		q := rapid.SampledFrom([]string{"", "+", "-", "~", "?"}).Draw(t, "qualifier")
		size := rapid.SampledFrom([]string{"", "", "/24", "//64", "/24//64", "/0//0"}).Draw(t, "size")
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			return q + rapid.SampledFrom([]string{"ip4:192.0.2.0/24", "ip4:203.0.113.1", "ip6:2001:db8::/64", "ip6:2001:db8:7::1"}).Draw(t, "address")
		case 1, 2:
			return q + "a:" + host.Draw(t, "host") + size
		case 3:
			return q + "mx:" + exchange.Draw(t, "exchange") + size
		case 4:
			return q + "exists:" + host.Draw(t, "host")
		case 5:
			return q + "ptr:" + rapid.SampledFrom([]string{"h.example", "example", "other.test"}).Filter(func(s string) bool { return strings.Contains(s, ".") }).Draw(t, "below")
		case 6:
			return q + rapid.SampledFrom([]string{"a", "mx"}).Draw(t, "own") + size
		case 7:
			return q + "all"
		default:
			return q + "include:" + domain.Draw(t, "domain")
		}
	})
	for i := range 4 {
		terms := rapid.SliceOfN(term, 0, 6).Draw(t, "terms")
		if rapid.IntRange(0, 3).Draw(t, "redirects") == 0 {
			terms = append(terms, "redirect="+domain.Draw(t, "redirect"))
		}
		name := fmt.Sprintf("d%d.example", i)
		w.txt[name] = []string{strings.Join(append([]string{"v=spf1"}, terms...), " ")}
		if rapid.Bool().Draw(t, "second") && i == 3 {
			w.txt[name] = append(w.txt[name], "v=spf1 -all")
		}
	}
	return w
}

// The evaluator that receivers of our kind use must come to the same result.
func TestSPFAgreesWithAnotherEvaluator(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		ip := netip.MustParseAddr(rapid.SampledFrom([]string{insideV4, insideV6, outsideV4, outsideV6}).Draw(t, "ip"))
		const sender, helo = "u@d0.example", "helo.example"
		got := EvaluateSPF(t.Context(), w, SPFQuery{IP: ip, Domain: "d0.example", Sender: sender, HELO: helo})
		want, err := spf.CheckHostWithSender(ip.AsSlice(), helo, sender, spf.WithContext(t.Context()), spf.WithResolver(w))
		if string(got.Result) != string(want) {
			t.Fatalf("%s (%s), the other says %s (%v); world %v", got.Result, got.Problem, want, err, w.txt)
		}
		if sum := costs(got.Tree); sum != got.Lookups {
			t.Fatalf("%d look-ups, but the tree has %d", got.Lookups, sum)
		}
	})
}

// costs adds up what the terms of a tree cost by themselves.
func costs(n *SPFNode) int {
	own := n.Lookups
	total := 0
	for _, c := range n.Terms {
		own -= c.Lookups
		total += costs(c)
	}
	return own + total
}

// What a survey counts is a bound for every message, and the survey itself is bounded.
func TestSPFSurveyIsNeverCheaperThanAnEvaluation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		tree, endless := surveySPF(t.Context(), w, "d0.example")
		if w.asked > 4*maxSPFSurvey {
			t.Fatalf("%d questions", w.asked)
		}
		if sum := costs(tree); sum != tree.Lookups {
			t.Fatalf("%d look-ups, but the terms cost %d", tree.Lookups, sum)
		}
		before := w.asked
		for _, ip := range []string{insideV4, outsideV6} {
			ev := EvaluateSPF(t.Context(), w, SPFQuery{IP: netip.MustParseAddr(ip), Domain: "d0.example", Sender: "u@d0.example", HELO: "helo.example"})
			if !endless && ev.Lookups > tree.Lookups {
				t.Fatalf("%s: %d look-ups, the survey has %d; world %v", ip, ev.Lookups, tree.Lookups, w.txt)
			}
			if ev.Code == CodeSPFTooManyLookups && !endless && tree.Lookups <= maxSPFLookups && !strings.Contains(ev.Problem, "exchanges") {
				t.Fatalf("%s: %s, the survey has %d look-ups", ip, ev.Problem, tree.Lookups)
			}
		}
		if w.asked-before > 2*130 {
			t.Fatalf("%d questions in two evaluations", w.asked-before)
		}
	})
}

func TestSPFSurveyShowsWhatEachTermCosts(t *testing.T) {
	w := &world{
		txt: map[string][]string{
			"example.org":      {"v=spf1 ip4:192.0.2.1 mx include:_spf.big.example include:%{i}.log.example exists:%{p}.x.example ptr a:gone.example ~all a:late.example redirect=never.example"},
			"_spf.big.example": {"v=spf1 include:a.big.example include:b.big.example -all"},
			"a.big.example":    {"v=spf1 ip4:192.0.2.0/24 a:h.example -all"},
			"b.big.example":    {"v=spf1 redirect=c.big.example"},
			"c.big.example":    {"v=spf1 ip4:198.51.100.0/24 ~all"},
		},
		mx: map[string][]string{"example.org": {"h.example"}}, hosts: map[string][]string{"h.example": {insideV4}},
	}
	tree, endless := surveySPF(t.Context(), w, "example.org")
	if endless || tree.Lookups != 11 || tree.Voids != 1 {
		t.Errorf("%d look-ups, %d void, endless %t", tree.Lookups, tree.Voids, endless)
	}
	want := map[string]int{"mx": 1, "include:_spf.big.example": 5, "include:a.big.example": 2, "a:h.example": 1, "include:b.big.example": 2, "redirect=c.big.example": 1,
		"include:%{i}.log.example": 1, "exists:%{p}.x.example": 2, "ptr": 1, "a:gone.example": 1, "a:late.example": 0, "redirect=never.example": 0}
	got := map[string]int{}
	var walk func(n *SPFNode)
	walk = func(n *SPFNode) {
		for _, c := range n.Terms {
			if !strings.HasPrefix(c.Term, "ip4:") && !isAll(c.Term) {
				got[c.Term] = c.Lookups
			}
			if unreachable := strings.Contains(c.Note, "never looked at"); unreachable != (c.Term == "a:late.example" || c.Term == "redirect=never.example") {
				t.Errorf("%s: %q", c.Term, c.Note)
			}
			walk(c)
		}
	}
	walk(tree)
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestSPFSurveyEndsInACircle(t *testing.T) {
	w := &world{txt: map[string][]string{
		"a.example.org": {"v=spf1 include:b.example.org -all"}, "b.example.org": {"v=spf1 include:a.example.org include:b.example.org -all"},
	}}
	tree, endless := surveySPF(t.Context(), w, "a.example.org")
	if !endless || tree.Lookups != 3 || w.asked > 4 {
		t.Errorf("%d look-ups, %d questions, endless %t", tree.Lookups, w.asked, endless)
	}
}

func TestSPFSyntaxErrorsSayWhatToWrite(t *testing.T) {
	for record, want := range map[string]string{
		"v=spf1 ipv4:192.0.2.1 -all":       "write ip4:192.0.2.1",
		"v=spf1 192.0.2.1 -all":            "write ip4:192.0.2.1",
		"v=spf1 ip4:192.0.2.1/33 -all":     "a number from 0 to 32",
		"v=spf1 ip4:192.0.2 -all":          "written like ip4:192.0.2.0/24",
		"v=spf1 a:192.0.2.1 -all":          "write ip4:192.0.2.1",
		"v=spf1 _spf.example.org -all":     "write include:_spf.example.org",
		"v=spf1 redirect:x.example.org":    "write redirect=x.example.org",
		"v=spf1 include -all":              "as in include:example.org",
		"v=spf1 v=spf1 -all":               "",
		"v=spf1 include:spf.example%org":   "per cent sign",
		"v=spf1 a:%{z}.example.org":        "none of slodiphv",
		"v=spf1 a:%{c}.example.org":        "for explanations only",
		"v=spf1 a:%{d0}.example.org":       "must be positive",
		"v=spf1 redirect=a.b redirect=a.b": "two redirect",
		"v=spf1 include:localhost":         "single label",
		"v=spf1 all:x":                     "cannot have",
		"v=spf1 a\u00a0-all":               "only visible ASCII",
		"v=spf1 include: a.example -all":   "the domain is empty",
	} {
		_, err := ParseSPF(record)
		if want == "" {
			if err != nil { // v=... is a modifier that nobody knows, and harmless
				t.Errorf("%s: %v", record, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want something with %q", record, err, want)
		}
	}
}

// What a record says survives being written down again, and errors can be shown.
func FuzzParseSPF(f *testing.F) {
	for _, group := range spfCases {
		for line := range strings.Lines(group.zone) {
			if _, record, ok := strings.Cut(line, ` TXT "`); ok {
				f.Add(strings.TrimSuffix(strings.TrimSpace(record), `"`))
			}
		}
	}
	f.Fuzz(func(t *testing.T, record string) {
		r, err := ParseSPF(record)
		if err != nil {
			if !utf8.ValidString(err.Error()) || strings.ContainsAny(err.Error(), "\n\x1b\x00") || len(err.Error()) > 2000 {
				t.Fatalf("%q: %q", record, err)
			}
			return
		}
		terms := []string{spfVersion}
		for _, term := range r.Terms {
			terms = append(terms, term.Text)
		}
		for _, m := range []*SPFTerm{r.Redirect, r.Exp} {
			if m != nil {
				terms = append(terms, m.Text)
			}
		}
		again, err := ParseSPF(strings.Join(terms, " "))
		if err != nil || !slices.Equal(again.Terms, r.Terms) {
			t.Fatalf("%q: %v, then %v, %v", record, r.Terms, again.Terms, err)
		}
		// An evaluation in an empty world ends soon and says why.
		w := &world{txt: map[string][]string{"d0.example": {record}}}
		ev := EvaluateSPF(t.Context(), w, SPFQuery{IP: netip.MustParseAddr(outsideV4), Domain: "d0.example", Sender: "u@d0.example", HELO: "h.example"})
		if w.asked > 60 || ev.Result == SPFTemperror || ev.Result == SPFNone {
			t.Fatalf("%q: %s after %d questions: %s", record, ev.Result, w.asked, ev.Problem)
		}
		surveySPF(t.Context(), w, "d0.example")
	})
}

func TestSPFStringsAreCutAt255(t *testing.T) {
	for _, n := range []int{0, 1, 254, 255, 256, 510, 511, 2000} {
		value := strings.Repeat("x", n)
		parts := SplitTXT(value)
		if strings.Join(parts, "") != value || len(parts) != max(1, (n+254)/255) {
			t.Errorf("%d octets: %d parts", n, len(parts))
		}
	}
}

// A merge loses no sender, and can be merged again without change.
func TestMergedSPFKeepsEverySender(t *testing.T) {
	for _, tt := range []struct{ records, want string }{
		{"v=spf1 mx ~all", "v=spf1 include:_spf.us.example mx ~all"},
		{"v=spf1 ip4:1.2.3 mx|v=spf1 a:x_y.example include: redirect= ~all", "v=spf1 include:_spf.us.example mx a:x_y.example ~all"},
		{"v=spf1", "v=spf1 include:_spf.us.example"},
		{"v=spf1 redirect=x.example", "v=spf1 include:_spf.us.example redirect=x.example"},
		{"v=spf1 a -all|v=spf1 mx a ~all", "v=spf1 include:_spf.us.example a mx ~all"},
		{"v=spf1 mx -all include:_spf.us.example", "v=spf1 include:_spf.us.example mx -all"},
		{"v=spf1 mx ?include:_SPF.us.example. -all", "v=spf1 include:_spf.us.example mx -all"},
		{"v=spf1 redirect=_spf.us.example", "v=spf1 include:_spf.us.example"},
		{"v=spf1 redirect=x.example|v=spf1 redirect=y.example", "v=spf1 include:_spf.us.example include:x.example include:y.example ~all"},
		{"v=spf1 redirect=x.example|v=spf1 a -all", "v=spf1 include:_spf.us.example a include:x.example -all"},
		{"v=spf1 a +all mx -ptr|v=spf1 mx", "v=spf1 include:_spf.us.example a mx ~all"},
		{"v=spf1 a +all", "v=spf1 include:_spf.us.example a all"},
		{"v=spf1 a -all ?all|v=spf1 mx -all", "v=spf1 include:_spf.us.example a mx -all"},
		{"v=spf1 redirect=x.example -all", "v=spf1 include:_spf.us.example -all"},
		{"v=spf1 +mx exp=e.example.org moo=x -all|v=spf1 MX exp=f.example.org -all", "v=spf1 include:_spf.us.example +mx -all exp=e.example.org moo=x"},
	} {
		if got := mergeSPF(strings.Split(tt.records, "|"), "_spf.us.example"); got != tt.want {
			t.Errorf("%s:\n%s, want\n%s", tt.records, got, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		w.txt["us.example"] = []string{"v=spf1 ip4:203.0.113.200 -all"}
		merged := mergeSPF(w.txt["d0.example"][:1], "us.example")
		if again := mergeSPF([]string{merged}, "us.example"); again != merged {
			t.Fatalf("merged again: %q, %q", merged, again)
		}
		evaluate := func(ip string) SPFResult {
			return EvaluateSPF(t.Context(), w, SPFQuery{IP: netip.MustParseAddr(ip), Domain: "d0.example", Sender: "u@d0.example", HELO: "h.example"}).Result
		}
		before := map[string]SPFResult{}
		for _, ip := range []string{insideV4, insideV6, outsideV4} {
			before[ip] = evaluate(ip)
		}
		old := w.txt["d0.example"][0]
		w.txt["d0.example"] = []string{merged}
		if got := evaluate("203.0.113.200"); got != SPFPass {
			t.Fatalf("ours: %s with %q", got, merged)
		}
		for ip, was := range before {
			// One look-up more can be one too many, which a proposal says.
			if got := evaluate(ip); was == SPFPass && got != SPFPass && got != SPFPermerror {
				t.Fatalf("%s: %s with %q, %s with %q", ip, was, old, got, merged)
			}
		}
	})
}

func TestSPFCountsTermsAsRFC7208Does(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "a:h%d.example.org ", i)
		}
		return b.String()
	}
	hosts := map[string][]string{"h.example.org": {insideV4}}
	for i := range 12 {
		hosts[fmt.Sprintf("h%d.example.org", i)] = []string{"203.0.113.9", "2001:db8:9::9"}
	}
	for _, tt := range []struct {
		title, record, other string
		ip                   string
		result               SPFResult
		code                 Code
		lookups, voids       int
	}{
		{"ip and all are free", "v=spf1 ip4:198.51.100.2 ip6:2001:db8::/32 -all", "", outsideV4, SPFFail, "", 0, 0},
		{"what comes after a match is free", "v=spf1 ip4:198.51.100.1 " + many(11), "", outsideV4, SPFPass, "", 0, 0},
		{"ten", "v=spf1 " + many(10) + "-all", "", outsideV4, SPFFail, "", 10, 0},
		{"eleven", "v=spf1 " + many(11) + "-all", "", outsideV4, SPFPermerror, CodeSPFTooManyLookups, 11, 0},
		{"nine and a redirect", "v=spf1 " + many(9) + "redirect=d1.example", "v=spf1 -all", outsideV4, SPFFail, "", 10, 0},
		{"nine and a redirect to one more", "v=spf1 " + many(9) + "redirect=d1.example", "v=spf1 a -all", outsideV4, SPFPermerror, CodeSPFTooManyLookups, 11, 0},
		{"redirect behind all is free", "v=spf1 " + many(10) + "-all redirect=d1.example", "v=spf1 a -all", outsideV4, SPFFail, "", 10, 0},
		{"exp is free", "v=spf1 " + many(10) + "-all exp=h1.example.org", "", outsideV4, SPFFail, "", 10, 0},
		{"the same twice counts twice", "v=spf1 a:h.example.org a:h.example.org -all", "", outsideV4, SPFFail, "", 2, 0},
		{"the macro p counts once", "v=spf1 exists:%{p}.x.example exists:%{p}.h.example -all", "", outsideV4, SPFPermerror, CodeSPFVoidLookups, 3, 3},
		{"exchanges are not terms", "v=spf1 mx:m.example -all", "", outsideV4, SPFFail, "", 1, 0},
		{"eleven exchanges", "v=spf1 mx:many.example -all", "", insideV4, SPFPermerror, CodeSPFTooManyLookups, 1, 0},
		{"two void", "v=spf1 a:x.example a:y.example -all", "", outsideV4, SPFFail, "", 2, 2},
		{"three void", "v=spf1 a:x.example mx:y.example exists:z.example -all", "", outsideV4, SPFPermerror, CodeSPFVoidLookups, 3, 3},
		{"void in an include counts", "v=spf1 a:x.example include:d1.example -all", "v=spf1 a:y.example a:z.example -all", outsideV4, SPFPermerror, CodeSPFVoidLookups, 4, 3},
		{"one family is void for the other", "v=spf1 a:h.example.org -all", "", outsideV6, SPFFail, "", 1, 1},
		{"include into itself", "v=spf1 include:d0.example -all", "", outsideV4, SPFPermerror, CodeSPFTooManyLookups, 11, 0},
		{"dead include", "v=spf1 include:x.example -all", "", outsideV4, SPFPermerror, CodeSPFIncludeBroken, 1, 0},
		{"include with a wrong record", "v=spf1 include:d1.example -all", "v=spf1 foo -all", outsideV4, SPFPermerror, CodeSPFSyntax, 1, 0},
		{"capitals", "V=SPF1 A:H.EXAMPLE.ORG -ALL", "", insideV4, SPFPass, "", 1, 0},
	} {
		w := &world{txt: map[string][]string{"d0.example": {tt.record}, "d1.example": {tt.other}}, hosts: hosts, mx: map[string][]string{
			"m.example": {"h1.example.org", "h2.example.org", "gone.example.org"}, "many.example": strings.Fields(strings.ReplaceAll(many(11), "a:", "")),
		}}
		ev := EvaluateSPF(t.Context(), w, SPFQuery{IP: netip.MustParseAddr(tt.ip), Domain: "d0.example", Sender: "u@d0.example", HELO: "helo.example"})
		if ev.Result != tt.result || ev.Code != tt.code || ev.Lookups != tt.lookups || ev.Voids != tt.voids {
			t.Errorf("%s: %s %s, %d look-ups, %d void (%s); want %s %s, %d, %d", tt.title, ev.Result, ev.Code, ev.Lookups, ev.Voids, ev.Problem, tt.result, tt.code, tt.lookups, tt.voids)
		}
	}
}
