package pingid

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// sample is one printed call of the documents and its printed answer.
type sample struct {
	method, url, body string
	status            int
	want              string
}

// Ids and values of the samples that stand for what only exists when they are
// replayed.
const (
	sampleHost    = "https://sdk.pingid.com"
	sampleAccount = "f851a4da-1239-4008-9456-8b93279558f2"
	sampleAddress = "59f1384b-9640-4556-9c1e-9f0d5fb7efa6"
	sampleCode    = "ck3wxi6z"
	sampleMailbox = "john.smith@auth.shopco.com"

	sampleTemplateAccount = "bb09a7a1-b359-418c-9c66-d8b91d83fda4"
	sampleApplication     = "3f02bbd2-1291-41ae-9663-3a2b75956d6a"
	sampleTemplate        = "b6b796e8-88d3-455d-8d09-2e1428dfa6c3"
	sampleListedTemplate  = "5a832315-55bf-4e17-bcc6-392f3fea0661"
)

var sampleDomains = map[string]string{
	"40ea89b1-65aa-4ee9-8316-ef0e405567a2": "auth.shopco.com",
	"add668cd-6352-4a47-a5be-e258648a09bf": "moderno.com",
}

var (
	curlURL    = regexp.MustCompile(`'(https://[^']*)'$`)
	curlBody   = regexp.MustCompile(`(?s) -d '(.*?)' '`)
	sampleForm = regexp.MustCompile(`(?m)^curl -X `)
)

func readSamples(t *testing.T, file string) []sample {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var ss []sample
	for _, text := range sampleForm.Split(string(b), -1)[1:] {
		curl, answer, ok := strings.Cut(text, "\n=> ")
		status, want, ok2 := strings.Cut(answer, "\n")
		u := curlURL.FindStringSubmatch(curl)
		if !ok || !ok2 || u == nil {
			t.Fatalf("%s: not a sample: %s", file, text)
		}
		s := sample{url: strings.TrimPrefix(u[1], sampleHost), status: map[string]int{"200": 200, "201": 201, "204": 204}[status], want: strings.TrimSpace(want)}
		s.method, _, _ = strings.Cut(curl, " ")
		if m := curlBody.FindStringSubmatch(curl); m != nil {
			s.body = m[1]
		}
		ss = append(ss, s)
	}
	return ss
}

// printed hands out the records that the samples print, so that whole answers
// can be compared.
type printed struct {
	Core
	ownership ownershipBody
	dkim      dkimBody
}

func (p printed) Records(d sender.Domain) []dnscheck.Record {
	var rs []dnscheck.Record
	for _, r := range p.ownership.Regions {
		rs = append(rs, dnscheck.Record{Purpose: dnscheck.Ownership, Region: r.Name, Name: d.Name.Child(r.Key), Type: dnscheck.TXT, Value: r.Value})
	}
	for _, r := range p.dkim.Regions {
		for _, token := range r.Tokens {
			rs = append(rs, dnscheck.Record{Purpose: dnscheck.DKIM, Region: r.Name, Name: d.Name.Child(token.Key), Type: dnscheck.CNAME, Value: token.Value + "."})
		}
	}
	slices.Reverse(rs)
	return append(rs, dnscheck.Record{Purpose: dnscheck.SPF, Name: d.Name, Type: dnscheck.TXT, Value: "v=spf1 include:amazonses.com ~all"})
}

// TestSamplesOfTheDocumentsAreAnsweredAsPrinted replays each printed call on a
// fresh account with the samples' three regions, its body as printed.
func TestSamplesOfTheDocumentsAreAnsweredAsPrinted(t *testing.T) {
	h := newHarness(t, func(s *sender.Settings) { s.Code.PerRecipient, s.Code.ResendAfter = 1000, 0 })
	records := printed{Core: h.Service}
	domains := readSamples(t, "trusted-email-domains.txt")
	for _, s := range domains {
		var err error
		switch {
		case strings.HasSuffix(s.url, "/ownership"):
			err = json.Unmarshal([]byte(s.want), &records.ownership)
		case strings.HasSuffix(s.url, "/dkim"):
			err = json.Unmarshal([]byte(s.want), &records.dkim)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(records.ownership.Regions) != 3 || len(records.dkim.Regions) != 3 {
		t.Fatalf("the samples print %d and %d regions", len(records.ownership.Regions), len(records.dkim.Regions))
	}
	h.serve(Config{Core: records, Origin: api.Origin{TrustForwardedProto: true}})

	ss := append(domains, readSamples(t, "trusted-email-addresses.txt")...)
	if len(ss) != 9+7 {
		t.Fatalf("%d samples, want 16", len(ss))
	}
	for _, s := range ss {
		t.Run(s.method+s.url, func(t *testing.T) { replay(t, h, s) })
	}
	ss = readSamples(t, "email-templates.txt")
	if len(ss) != 6 {
		t.Fatalf("%d samples of templates, want 6", len(ss))
	}
	for i, s := range ss {
		t.Run(fmt.Sprint(i)+s.method+s.url, func(t *testing.T) { replayTemplate(t, h, s, ss[0]) })
	}
}

func replay(t *testing.T, h *harness, s sample) {
	h.account("Moderno")
	ids := []string{sampleAccount, string(h.tenant.ID)}
	if !strings.HasSuffix(s.url, "/emaildomains") || s.method == "GET" {
		for id, name := range sampleDomains {
			ids = append(ids, id, string(h.Domain(h.tenant, name).ID))
		}
	}
	values := strings.NewReplacer(ids...)
	if before, after, ok := strings.Cut(s.url, "/trustedemails"); ok && (after != "" || s.method == "GET") {
		a := h.call("POST", values.Replace(before)+"/trustedemails", `{"emailAddress":"`+sampleMailbox+`"}`).Want(201)
		ids = append(ids, sampleAddress, a.String("id"), sampleCode, h.Mail.Code(t, sampleMailbox))
		values = strings.NewReplacer(ids...)
	}
	r := h.call(s.method, values.Replace(s.url), values.Replace(s.body), "Host", "sdk.pingid.com", "X-Forwarded-Proto", "https").Want(s.status)
	if s.want == "" {
		if len(r.Body) != 0 {
			t.Errorf("the answer has a body: %s", r.Body)
		}
		return
	}
	if s.status == 201 { // the id is new
		for id := range sampleDomains {
			if strings.Contains(s.want, `"id": "`+id) {
				ids = append(ids, id, r.String("id"))
			}
		}
		values = strings.NewReplacer(append(ids, sampleAddress, r.String("id"))...)
	}
	wantPrinted(t, r, values.Replace(s.want))
}

// replayTemplate replays a call about templates. The application is there, and
// what is not being made was made by the first sample.
func replayTemplate(t *testing.T, h *harness, s, first sample) {
	h.account("Moderno")
	account := strings.NewReplacer(sampleTemplateAccount, string(h.tenant.ID))
	call := func(s sample, values *strings.Replacer) apitest.Reply {
		return h.call(s.method, values.Replace(s.url), values.Replace(s.body), "Host", "sdk.pingid.com", "X-Forwarded-Proto", "https").Want(s.status)
	}
	h.call("POST", h.base+"/applications", fmt.Sprintf(`{"id":%q,"name":"Moderno","appEnabled":true}`, sampleApplication)).Want(201)
	var id string
	values := account
	if s.method != "POST" {
		id = call(first, account).String("id")
		values = strings.NewReplacer(sampleTemplateAccount, string(h.tenant.ID), sampleTemplate, id, sampleListedTemplate, id)
	}
	r := call(s, values)
	if s.want == "" {
		if len(r.Body) != 0 {
			t.Errorf("the answer has a body: %s", r.Body)
		}
		return
	}
	if s.method == "POST" {
		id = r.String("id")
	}
	wantPrinted(t, r, strings.NewReplacer(sampleTemplate, id, sampleListedTemplate, id).Replace(s.want))
}

// wantPrinted compares an answer, links and all.
func wantPrinted(t *testing.T, r apitest.Reply, printed string) {
	t.Helper()
	var got, want any
	if err := json.Unmarshal(r.Body, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(printed), &want); err != nil {
		t.Fatal(err)
	}
	// The printed tokens of a region, and domains made together here, come in any order.
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(func(a, b any) bool { return canonical(a) < canonical(b) })); diff != "" {
		t.Errorf("the answer is not the printed one (-want +got):\n%s", diff)
	}
}

func canonical(v any) string {
	b, _ := json.Marshal(v, json.Deterministic(true))
	return string(b)
}
