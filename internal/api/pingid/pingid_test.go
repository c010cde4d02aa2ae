package pingid

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

// keys is a Keys for tests.
type keys map[string]entry

type entry struct {
	account   sender.ID
	key       []byte
	principal sender.Principal
}

func (k keys) Key(_ context.Context, account sender.ID, token string) ([]byte, sender.Principal, error) {
	if token == "broken" {
		return nil, sender.Principal{}, errors.New("the store is on fire")
	}
	e, ok := k[token]
	if !ok || e.account != account {
		return nil, sender.Principal{}, sender.Errorf(sender.Unauthenticated, "", "no such key")
	}
	return e.key, e.principal, nil
}

// harness is an account with a key, and a client that signs what it sends and
// verifies what it gets.
type harness struct {
	*apitest.Kit
	keys   keys
	server *httptest.Server
	tenant sender.Tenant
	token  string
	base   string
}

func newHarness(t *testing.T, tune ...func(*sender.Settings)) *harness {
	t.Helper()
	k := apitest.New(t, tune...)
	h := &harness{Kit: k, keys: keys{}}
	h.serve(Config{})
	h.account("demo")
	return h
}

// serve serves from now on what the config says; the rest is the harness's.
func (h *harness) serve(c Config) {
	c.Keys, c.Log = h.keys, h.Log
	if c.Core == nil {
		c.Core = h.Service
	}
	if c.OTP == nil {
		c.OTP = h.OTP
	}
	h.server = h.Serve(New(c))
}

// account makes an account with an admin's key and speaks for it from now on.
func (h *harness) account(name string) {
	h.T.Helper()
	h.tenant = h.Tenant(name)
	h.base = accounts + "/" + string(h.tenant.ID)
	h.key(sender.RoleAdmin)
}

func (h *harness) key(role sender.Role) {
	key := make([]byte, 48)
	rand.Read(key)
	h.token = hex.EncodeToString(key[:16])
	h.keys[h.token] = entry{h.tenant.ID, key, sender.Principal{Credential: sender.NewID(), Home: h.tenant.ID, Grants: []sender.Grant{{Tenant: h.tenant.ID, Role: role}}}}
}

// sign is the Authorization of a request as the contract has it: the raw URL is
// hashed.
func (h *harness) sign(method, host, target, body, more string) string {
	path, query, _ := strings.Cut(target, "?")
	sum := sha256.Sum256([]byte(body))
	canonical := method + ":" + host + ":" + path + ":"
	if query != "" {
		canonical += query + ":"
	}
	data := sha256.Sum256([]byte(canonical + hex.EncodeToString(sum[:]) + ":"))
	header := fmt.Sprintf(`{"alg":"HS256","typ":"JWT","account_id":%q,"token":%q,"jwt_version":"v4"%s}`, h.tenant.ID, h.token, more)
	return "PINGID-HMAC=" + seal64(h.keys[h.token].key, header, `{"data":"`+hex.EncodeToString(data[:])+`"}`)
}

// call signs a request, and fails unless the answer is signed. header is pairs.
func (h *harness) call(method, target, body string, header ...string) apitest.Reply {
	h.T.Helper()
	host := "127.0.0.1"
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			host, _, _ = strings.Cut(header[i+1], ":")
		}
	}
	r := h.unsigned(method, target, body, append([]string{"Authorization", h.sign(method, host, target, body, "")}, header...)...)
	h.wantSigned(r)
	return r
}

func (h *harness) unsigned(method, target, body string, header ...string) apitest.Reply {
	h.T.Helper()
	return apitest.Call(h.T, h.server, "", method, target, body, header...)
}

// wantSigned verifies an answer as the contract says that clients do.
func (h *harness) wantSigned(r apitest.Reply) {
	h.T.Helper()
	for _, name := range []string{"X-PINGID-Signature", "X-PINGID-Singature"} {
		parts := strings.Split(r.Header.Get(name), ".")
		if len(parts) != 3 {
			h.T.Fatalf("status %d: the header %s is %q; body %s", r.Status, name, r.Header.Get(name), r.Body)
		}
		mac := hmac.New(sha256.New, h.keys[h.token].key)
		mac.Write([]byte(parts[0] + "." + parts[1]))
		if parts[2] != base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) {
			h.T.Fatalf("status %d: %s is not signed by the request's key", r.Status, name)
		}
		var header, payload map[string]string
		for i, v := range []any{&header, &payload} {
			b, err := base64.RawURLEncoding.DecodeString(parts[i])
			if err == nil {
				err = json.Unmarshal(b, v)
			}
			if err != nil {
				h.T.Fatal(err)
			}
		}
		sum := sha256.Sum256(r.Body)
		if header["alg"] != "HS256" || header["account_id"] != string(h.tenant.ID) || header["token"] != h.token || payload["data"] != hex.EncodeToString(sum[:]) {
			h.T.Fatalf("status %d: %s has the header %v and payload %v for the body %s", r.Status, name, header, payload, r.Body)
		}
	}
	if r.Status >= 400 {
		wantErrorForm(h.T, r)
	}
}

var topCodes = map[string]int{"INVALID_DATA": 400, "REQUEST_FAILED": 400, "INVALID_REQUEST": 400, "NOT_FOUND": 404, "UNAUTHORIZED_REQ": 401, "UNEXPECTED_ERROR": 500}

var detailCodes = []string{
	"INVALID_VALUE", "REQUIRED_VALUE", "EMPTY_VALUE", "OUT_OF_RANGE", "SIZE_LIMIT_EXCEEDED", "NOT_FOUND", "INVALID_PATTERN", "RESOURCE_IN_USE",
	"UNIQUE_VALUE_REQUIRED", "RESOURCE_ALREADY_EXISTS", "SERVICE_ERROR", "RETRY_LIMIT_EXCEEDED",
	"APPLICATION_DISABLED", "EMAIL_NOT_ENABLED", "INVALID_USER_STATUS",
}

// wantErrorForm is as strict as the vendor's sample: no code and no member that
// it does not know.
func wantErrorForm(t testing.TB, r apitest.Reply) {
	t.Helper()
	var b struct {
		ID      string  `json:"id"`
		Code    string  `json:"code"`
		Message string  `json:"message"`
		Target  *string `json:"target"`
		Details *[]struct {
			Code    string  `json:"code"`
			Message *string `json:"message"`
			Target  *string `json:"target"`
		} `json:"details"`
	}
	if err := json.Unmarshal(r.Body, &b, json.RejectUnknownMembers(true)); err != nil {
		t.Fatalf("status %d: %v: %s", r.Status, err, r.Body)
	}
	if _, known := topCodes[b.Code]; !known || b.ID == "" || b.Message == "" || b.Details == nil || b.ID != r.Header.Get("X-Request-Id") || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("status %d: not an error of this dialect: %s", r.Status, r.Body)
	}
	for _, d := range *b.Details {
		if !strings.Contains(" "+strings.Join(detailCodes, " ")+" ", " "+d.Code+" ") {
			t.Errorf("status %d: no client knows the detail %s", r.Status, d.Code)
		}
	}
}

// wantError compares "code target detail detail-target" of an error.
func wantError(t *testing.T, r apitest.Reply, status int, want string) {
	t.Helper()
	got := strings.TrimSpace(strings.Join([]string{r.String("code"), dash(r.String("target")), dash(r.String("details.0.code")), dash(r.String("details.0.target"))}, " "))
	if r.Status != status || got != want {
		t.Errorf("status %d, error %q, want %d, %q; body %s", r.Status, got, status, want, r.Body)
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (h *harness) domains() string { return h.base + "/emaildomains" }

func (h *harness) domain(d sender.ID) string { return h.domains() + "/" + string(d) }

func (h *harness) addresses(d sender.ID) string { return h.domain(d) + "/trustedemails" }

// address adds an address and returns its path.
func (h *harness) address(d sender.ID, name string) string {
	h.T.Helper()
	return h.addresses(d) + "/" + h.call("POST", h.addresses(d), fmt.Sprintf(`{"emailAddress":%q}`, name)).Want(201).String("id")
}

func TestUnsignedRequestsGetOneAndTheSame401(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	path := h.domain(d.ID)
	good := h.sign("GET", "127.0.0.1", path, "", "")
	mine, mineToken := h.tenant, h.token
	h.account("other")
	others := h.sign("GET", "127.0.0.1", path, "", "") // right in itself, but for another account
	otherToken := h.token
	h.tenant, h.token = mine, mineToken
	h.token = otherToken
	crossed := h.sign("GET", "127.0.0.1", path, "", "") // the token of one account with the id of another
	h.token = "0000"
	h.keys["0000"] = entry{sender.NewID(), make([]byte, 48), sender.Principal{}}
	unknown := h.sign("GET", "127.0.0.1", path, "", "")
	h.token = mineToken
	past := time.Now().Add(-2 * time.Minute).UTC().Format(expiresForm)
	for name, c := range map[string]struct {
		path, authorization, body string
		signed                    bool // the key was right
	}{
		"no header":             {path, "", "", false},
		"a bearer":              {path, "Bearer x", "", false},
		"a broken one":          {path, good[:len(good)-1] + "!", "", false},
		"another MAC":           {path, good[:len(good)-5] + "AAAAA", "", false},
		"no such path":          {root + "/nothing", "", "", false},
		"unknown token":         {path, unknown, "", false},
		"a crossed token":       {path, crossed, "", false},
		"another account":       {path, others, "", true},
		"expired":               {path, h.sign("GET", "127.0.0.1", path, "", `,"expires":"`+past+`"`), "", true},
		"for another path":      {h.domains(), good, "", true},
		"for another method":    {path, h.sign("DELETE", "127.0.0.1", path, "", ""), "", true},
		"for another host":      {path, h.sign("GET", "api.example.org", path, "", ""), "", true},
		"for another query":     {path + "?expand=spf", good, "", true},
		"for another body":      {path, good, "{}", true},
		"with a sorted query":   {path + "?b=1&a=2", h.sign("GET", "127.0.0.1", path+"?a=2&b=1", "", ""), "", true},
		"another's path wholly": {strings.Replace(path, string(h.tenant.ID), string(sender.NewID()), 1), h.sign("GET", "127.0.0.1", strings.Replace(path, string(h.tenant.ID), string(sender.NewID()), 1), "", ""), "", true},
	} {
		var header []string
		if c.authorization != "" {
			header = []string{"Authorization", c.authorization}
		}
		r := h.unsigned("GET", c.path, c.body, header...)
		wantErrorForm(t, r)
		if r.Status != 401 || r.String("code") != "UNAUTHORIZED_REQ" || r.String("message") != errorTable[sender.Unauthenticated].message || strings.Contains(string(r.Body), "target") || r.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: status %d, %s", name, r.Status, r.Body)
		}
		if signed := r.Header.Get("X-PINGID-Signature") != ""; signed != c.signed {
			t.Errorf("%s: signed %t, want %t", name, signed, c.signed)
		}
	}
	for _, form := range []string{good, h.sign("GET", h.server.Listener.Addr().String(), path, "", "")} {
		h.unsigned("GET", path, "", "Authorization", form).Want(200)
	}
}

// The keys of real credentials, with their life.
func TestKeyPairsOfTheStoreSign(t *testing.T) {
	h := newHarness(t)
	h.server = h.Serve(New(Config{Core: h.Service, OTP: h.OTP, Keys: h.Auth, Log: h.Log}))
	made, secret, err := h.Auth.CreateCredential(t.Context(), apitest.Operator, auth.NewCredential{
		Kind: sender.KeyPair, Name: "test", Tenant: h.tenant.ID, Grants: []sender.Grant{{Tenant: h.tenant.ID, Role: sender.RoleAdmin}},
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString(string(secret))
	if err != nil {
		t.Fatal(err)
	}
	h.token = made.Token
	h.keys[h.token] = entry{key: key} // what the client has
	h.call("POST", h.base+"/users", `{"username":"ann"}`).Want(201)
	if err := h.Auth.RevokeCredential(t.Context(), apitest.Operator, h.tenant.ID, made.ID); err != nil {
		t.Fatal(err)
	}
	r := h.unsigned("GET", h.domains(), "", "Authorization", h.sign("GET", "127.0.0.1", h.domains(), "", "")).Want(401)
	if r.Header.Get("X-PINGID-Signature") != "" {
		t.Error("a revoked key signs")
	}
	if strings.Contains(h.Logged(), string(secret)) || strings.Contains(h.Logged(), made.Token) {
		t.Error("the log has the key or its token")
	}
}

func TestEveryAnswerIsSigned(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", h.domains(), "", 200},
		{"POST", h.domains(), `{"domainName":"two.example.org"}`, 201},
		{"POST", h.domains(), `{`, 400},
		{"GET", h.base + "/nothing", "", 404},
		{"GET", root, "", 404},
		{"PATCH", h.domains(), "{}", 405},
		{"POST", h.domains(), `{"domainName":"` + strings.Repeat("x", api.MaxBody) + `"}`, 413},
		{"DELETE", h.domain(d.ID), "", 204},
		{"DELETE", h.domain(d.ID), "", 404},
		{"HEAD", h.domains(), "", 200},
	} {
		h.call(c.method, c.path, c.body).Want(c.status)
	}
	h.keys["broken"] = h.keys[h.token]
	h.token = "broken"
	r := h.unsigned("GET", h.domains(), "", "Authorization", h.sign("GET", "127.0.0.1", h.domains(), "", "")).Want(500)
	wantErrorForm(t, r)
	if strings.Contains(string(r.Body), "fire") || r.Header.Get("X-PINGID-Signature") != "" {
		t.Errorf("the failing store shows: %s", r.Body)
	}
}

func TestClientsMayHashDecodedURLs(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	h.serve(Config{Names: []string{"sdk.example.org"}})
	for target, hashed := range map[string]string{
		"?expand=account%2C%20spf": "?expand=account, spf",
		"?expand=account,+spf":     "?expand=account, spf",
	} {
		for _, host := range []string{"127.0.0.1", "sdk.example.org"} {
			r := h.unsigned("GET", h.domain(d.ID)+target, "", "Authorization", h.sign("GET", host, h.domain(d.ID)+hashed, "", "")).Want(200)
			if r.String("account.name") != "demo" || r.String("spf.key") != "@" {
				t.Errorf("%s: %s", target, r.Body)
			}
		}
	}
}

func TestReplaysAreLetInUnlessRefused(t *testing.T) {
	h := newHarness(t)
	soon := time.Now().Add(5 * time.Minute).UTC().Format(expiresForm)
	once := h.sign("GET", "127.0.0.1", h.domains(), "", `,"expires":"`+soon+`","X-Request-ID":"1"`)
	again := h.sign("GET", "127.0.0.1", h.domains(), "", `,"expires":"`+soon+`","X-Request-ID":"2"`)
	bare := h.sign("GET", "127.0.0.1", h.domains(), "", "")
	for _, authorization := range []string{once, once, bare, bare} {
		h.unsigned("GET", h.domains(), "", "Authorization", authorization).Want(200)
	}
	h.serve(Config{RefuseReplays: true})
	for _, c := range []struct {
		authorization string
		status        int
	}{{once, 200}, {once, 401}, {again, 200}, {bare, 401}, {once, 401}} {
		r := h.unsigned("GET", h.domains(), "", "Authorization", c.authorization).Want(c.status)
		h.wantSigned(r)
	}
}

func TestOneOfManyEqualRequestsIsLetInWhereReplaysAreRefused(t *testing.T) {
	h := newHarness(t)
	h.serve(Config{RefuseReplays: true})
	once := h.sign("GET", "127.0.0.1", h.domains(), "", `,"expires":"`+time.Now().Add(time.Minute).UTC().Format(expiresForm)+`","X-Request-ID":"1"`)
	var mu sync.Mutex
	statuses := map[int]int{}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			r := h.unsigned("GET", h.domains(), "", "Authorization", once)
			mu.Lock()
			defer mu.Unlock()
			statuses[r.Status]++
		})
	}
	wg.Wait()
	if statuses[200] != 1 || statuses[401] != 19 {
		t.Errorf("statuses %v, want one 200", statuses)
	}
}

func TestExpandReplacesLinksByTheThings(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	a := h.address(d.ID, "noreply@mail.example.org")
	for _, c := range []struct {
		path, query string
		expanded    string // members that are no links
	}{
		{h.domain(d.ID), "", ""},
		{h.domain(d.ID), "expand=account%2C%20ownership%2C%20dkim%2C%20spf", "account dkim ownership spf"},
		{h.domain(d.ID), "expand=account&expand=spf,dkim", "account dkim spf"},
		{h.domain(d.ID), "expand=ACCOUNT,,+spf,devices,self,emailDomain", "account spf"},
		{h.domain(d.ID), "expand=", ""},
		{h.domain(d.ID), "Expand=spf&expand=%zz", ""},
		{h.domain(d.ID) + "/ownership", "expand=emailDomain", "emailDomain"},
		{h.domain(d.ID) + "/dkim", "expand=emailDomain,account", "account emailDomain"},
		{h.domain(d.ID) + "/spf", "expand=account", "account"},
		{a, "expand=emailDomain", "emailDomain"},
		{a, "expand=account,emaildomain,trustedEmail", "account emailDomain"},
	} {
		target := c.path
		if c.query != "" {
			target += "?" + c.query
		}
		r := h.call("GET", target, "").Want(200)
		var got []string
		for _, name := range []string{"account", "dkim", "emailDomain", "ownership", "self", "spf"} {
			if r.At(name) != nil && r.String(name+".href") == "" {
				got = append(got, name)
			}
			if strings.Contains(fmt.Sprint(r.At(name)), "self") {
				t.Errorf("%s: %s has links of its own: %s", target, name, r.Body)
			}
		}
		if strings.Join(got, " ") != c.expanded {
			t.Errorf("%s: expanded %v, want %s", target, got, c.expanded)
		}
	}
	for _, target := range []string{h.domains() + "?expand=account", h.addresses(d.ID) + "?expand=emailDomain"} {
		if r := h.call("GET", target, "").Want(200); r.At("account") != nil || r.At("emailDomain") != nil {
			t.Errorf("a list was expanded: %s", r.Body)
		}
	}
	if r := h.call("POST", h.domains()+"?expand=account", `{"domainName":"two.example.org"}`).Want(201); r.String("account.href") == "" {
		t.Errorf("a write was expanded: %s", r.Body)
	}
}

func TestReadingAStatusIsTheCheckAndSoIsExpandingIt(t *testing.T) {
	h := newHarness(t)
	for i, read := range []func(d sender.Domain, part string) apitest.Reply{
		func(d sender.Domain, part string) apitest.Reply {
			return h.call("GET", h.domain(d.ID)+"/"+part, "").Want(200)
		},
		func(d sender.Domain, part string) apitest.Reply {
			r := h.call("GET", h.domain(d.ID)+"?expand="+part, "").Want(200)
			b, _ := json.Marshal(r.At(part))
			r.Body = b
			return r
		},
	} {
		d := h.Domain(h.tenant, fmt.Sprintf("mail%d.example.org", i))
		for part, purpose := range map[string]dnscheck.Purpose{"ownership": dnscheck.Ownership, "dkim": dnscheck.DKIM, "spf": dnscheck.SPF} {
			at := "regions.2.status"
			if part == "spf" {
				at = "status"
			}
			if got := read(d, part).String(at); got != "VERIFICATION_REQUIRED" {
				t.Errorf("%s before publishing: %s", part, got)
			}
			h.Publish(d, purpose)
			if got := read(d, part).String(at); got != "ACTIVE" {
				t.Errorf("%s after publishing: %s", part, got)
			}
		}
	}
}

func TestNamesOfRecordsAreRelativeToTheDomain(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "Mail.Example.ORG")
	if r := h.call("GET", h.domain(d.ID)+"/ownership", "").Want(200); r.String("regions.0.key") != "_postseal" || r.String("type") != "TXT" || r.String("regions.0.name") != "ap-southeast-2" || r.String("regions.0.value") == r.String("regions.1.value") {
		t.Errorf("ownership: %s", r.Body)
	}
	r := h.call("GET", h.domain(d.ID)+"/dkim", "").Want(200)
	label, ok := strings.CutSuffix(r.String("regions.1.tokens.0.key"), "._domainkey")
	if !ok || r.String("regions.1.tokens.0.value") != label+".dkim.service.example" || r.At("regions.1.tokens.2") == nil || r.String("type") != "CNAME" {
		t.Errorf("dkim: %s", r.Body)
	}
	if r := h.call("GET", h.domain(d.ID)+"/spf", "").Want(200); r.String("key") != "@" || r.String("type") != "TXT" || !strings.HasPrefix(r.String("value"), "v=spf1 ") {
		t.Errorf("spf: %s", r.Body)
	}
}

func TestAddressGoesItsWayByCode(t *testing.T) {
	for _, status := range []int{200, 201} {
		h := newHarness(t, func(s *sender.Settings) { s.Code.ResendAfter = 0 })
		h.serve(Config{ActionsCreate: status == 201})
		d := h.Domain(h.tenant, "mail.example.org")
		a := h.address(d.ID, "noreply@mail.example.org")
		old := h.Mail.Code(t, "noreply@mail.example.org")
		for _, body := range []string{"", "{}", "{ \\ \n }"} {
			r := h.call("POST", a+"/resend", body).Want(status)
			if r.String("status") != "VERIFICATION_REQUIRED" || !strings.HasSuffix(r.String("self.href"), a+"/resend") || !strings.HasSuffix(r.String("trustedEmail.href"), a) {
				t.Errorf("resend: %s", r.Body)
			}
		}
		code := h.Mail.Code(t, "noreply@mail.example.org")
		for _, wrong := range []string{old, "wrong"} {
			wantError(t, h.call("POST", a+"/activate", `{"verificationCode":"`+wrong+`"}`), 400, "INVALID_DATA trustedEmail INVALID_VALUE verificationCode")
		}
		r := h.call("POST", a+"/activate", `{"verificationCode":" `+strings.ToUpper(code)+` "}`).Want(status)
		if r.String("status") != "ACTIVE" || !strings.HasSuffix(r.String("self.href"), a+"/activate") {
			t.Errorf("activate: %s", r.Body)
		}
		wantError(t, h.call("POST", a+"/activate", `{"verificationCode":"`+code+`"}`), 400, "REQUEST_FAILED trustedEmail INVALID_VALUE status")
		wantError(t, h.call("POST", a+"/resend", ""), 400, "REQUEST_FAILED trustedEmail INVALID_VALUE status")
		if got := h.call("GET", h.addresses(d.ID), "").Want(200).String("trustedemails.0.status"); got != "ACTIVE" {
			t.Errorf("in the list: %s", got)
		}
		h.call("DELETE", a, "").Want(204)
		wantError(t, h.call("DELETE", a, ""), 404, "NOT_FOUND trustedEmail NOT_FOUND -")
	}
}

func TestResendTooSoonIsARetryLimit(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	a := h.address(d.ID, "noreply@mail.example.org")
	wantError(t, h.call("POST", a+"/resend", ""), 400, "REQUEST_FAILED trustedEmail RETRY_LIMIT_EXCEEDED -")
}

func TestDomainIsDeletedWithItsAddresses(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	a := h.address(d.ID, "noreply@mail.example.org")
	h.call("DELETE", h.domain(d.ID), "").Want(204)
	wantError(t, h.call("GET", a, ""), 404, "NOT_FOUND emailDomain NOT_FOUND -")
	if r := h.call("GET", h.domains(), "").Want(200); string(r.Body) != fmt.Sprintf(`{"self":{"href":"%s%s"},"emaildomains":[]}`, h.server.URL, h.domains()) {
		t.Errorf("the list after it: %s", r.Body)
	}
}

func TestInputIsTrimmedAndUnescapedAsTheSamplesNeed(t *testing.T) {
	h := newHarness(t)
	d := h.call("POST", h.domains(), `{"domainName":" Mail.Example.ORG\t"}`).Want(201)
	if d.String("domainName") != "Mail.Example.ORG" {
		t.Errorf("the domain is echoed as %q", d.String("domainName"))
	}
	at := h.addresses(sender.ID(d.String("id")))
	for sent, want := range map[string]string{
		" user%40mail.example.org":  "user@mail.example.org",
		"a%2Bb%40mail.example.org ": "a+b@mail.example.org",
		"c%40d@mail.example.org":    "c%40d@mail.example.org", // has an @: nothing is decoded
		"e%2540f@mail.example.org":  "e%2540f@mail.example.org",
	} {
		if got := h.call("POST", at, `{"emailAddress":"`+sent+`"}`).Want(201).String("emailAddress"); got != want {
			t.Errorf("%q is echoed as %q, want %q", sent, got, want)
		}
	}
	wantError(t, h.call("POST", at, `{"emailAddress":"g%2540mail.example.org"}`), 400, "INVALID_DATA trustedEmail INVALID_VALUE emailAddress")
	// Ids of paths count in any case.
	h.call("GET", accounts+"/"+strings.ToUpper(string(h.tenant.ID))+"/emaildomains/"+strings.ToUpper(d.String("id")), "").Want(200)
}

func TestBadRequestsAreToldInTheDialectsWords(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	a := h.address(d.ID, "noreply@mail.example.org")
	none := string(sender.NewID())
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", h.domains(), `{}`, 400, "INVALID_DATA emailDomain REQUIRED_VALUE domainName"},
		{"POST", h.domains(), `{"domainName":null}`, 400, "INVALID_DATA emailDomain REQUIRED_VALUE domainName"},
		{"POST", h.domains(), `{"domainName":" "}`, 400, "INVALID_DATA emailDomain EMPTY_VALUE domainName"},
		{"POST", h.domains(), `{"domainName":1}`, 400, "INVALID_DATA emailDomain INVALID_VALUE domainName"},
		{"POST", h.domains(), `{"domainName":"*.example.org"}`, 400, "INVALID_DATA emailDomain INVALID_PATTERN domainName"},
		{"POST", h.domains(), `{"domainName":"com"}`, 400, "INVALID_DATA emailDomain INVALID_VALUE domainName"},
		{"POST", h.domains(), `{"domainName":"MAIL.example.org."}`, 400, "INVALID_DATA emailDomain UNIQUE_VALUE_REQUIRED domainName"},
		{"POST", h.domains(), `{"domainName":`, 400, "INVALID_REQUEST - - -"},
		{"POST", h.domains(), `{"domainName":"a","domainName":"b"}`, 400, "INVALID_REQUEST - - -"},
		{"POST", h.domains(), `["mail.example.org"]`, 400, "INVALID_REQUEST - - -"},
		{"POST", h.domains(), ``, 415, "INVALID_REQUEST - - -"},
		{"POST", h.addresses(d.ID), `{"x":"y"}`, 400, "INVALID_DATA trustedEmail REQUIRED_VALUE emailAddress"},
		{"POST", h.addresses(d.ID), `{"emailAddress":""}`, 400, "INVALID_DATA trustedEmail EMPTY_VALUE emailAddress"},
		{"POST", h.addresses(d.ID), `{"emailAddress":"No Reply <x@mail.example.org>"}`, 400, "INVALID_DATA trustedEmail INVALID_VALUE emailAddress"},
		{"POST", h.addresses(d.ID), `{"emailAddress":"x@elsewhere.example"}`, 400, "INVALID_DATA trustedEmail INVALID_VALUE emailAddress"},
		{"POST", h.addresses(d.ID), `{"emailAddress":"NoReply@MAIL.example.org"}`, 400, "INVALID_DATA trustedEmail UNIQUE_VALUE_REQUIRED emailAddress"},
		{"POST", a + "/activate", `{}`, 400, "INVALID_DATA trustedEmail REQUIRED_VALUE verificationCode"},
		{"POST", a + "/activate", `{"verificationCode":""}`, 400, "INVALID_DATA trustedEmail EMPTY_VALUE verificationCode"},
		{"POST", a + "/resend", `[]`, 400, "INVALID_REQUEST - - -"},
		{"GET", h.domain(sender.ID(none)), "", 404, "NOT_FOUND emailDomain NOT_FOUND -"},
		{"GET", h.domains() + "/x", "", 404, "NOT_FOUND emailDomain NOT_FOUND -"},
		{"GET", h.domain(sender.ID(none)) + "/spf", "", 404, "NOT_FOUND emailDomain NOT_FOUND -"},
		{"DELETE", h.domain(sender.ID(none)), "", 404, "NOT_FOUND emailDomain NOT_FOUND -"},
		{"POST", h.addresses(sender.ID(none)), `{"emailAddress":"x@mail.example.org"}`, 404, "NOT_FOUND emailDomain NOT_FOUND -"},
		{"GET", h.addresses(d.ID) + "/" + none, "", 404, "NOT_FOUND trustedEmail NOT_FOUND -"},
		{"POST", h.addresses(d.ID) + "/" + none + "/resend", "", 404, "NOT_FOUND trustedEmail NOT_FOUND -"},
		{"POST", h.addresses(d.ID) + "/" + none + "/activate", `{"verificationCode":"x"}`, 404, "NOT_FOUND trustedEmail NOT_FOUND -"},
		{"GET", h.domains() + "/", "", 404, "NOT_FOUND - - -"},
		{"GET", h.base + "/registrationtokens", "", 404, "NOT_FOUND - - -"},
		{"GET", strings.Replace(h.domains(), "/v1/", "/v2/", 1), "", 404, "NOT_FOUND - - -"},
		{"GET", h.base + "/EmailDomains", "", 404, "NOT_FOUND - - -"},
		{"GET", h.base + "%2Fx/emaildomains", "", 404, "NOT_FOUND account NOT_FOUND -"},
		{"PUT", h.domain(d.ID), "{}", 405, "INVALID_REQUEST - - -"},
		{"POST", a, "{}", 405, "INVALID_REQUEST - - -"}, // a sample's title says POST
		{"PATCH", a, "{}", 405, "INVALID_REQUEST - - -"},
		{"GET", a + "/activate", "", 405, "INVALID_REQUEST - - -"},
	} {
		r := h.call(c.method, c.path, c.body)
		t.Run(c.method+" "+c.path+" "+c.body, func(t *testing.T) { wantError(t, r, c.status, c.want) })
		if (c.status == 405) != (r.Header.Get("Allow") != "") {
			t.Errorf("%s %s: Allow %q", c.method, c.path, r.Header.Get("Allow"))
		}
	}
	wantError(t, h.call("POST", h.domains(), `{"domainName":"a.example.org"}`, "Content-Type", "text/plain"), 415, "INVALID_REQUEST - - -")
}

func TestLimitsAreThoseOfTheCollections(t *testing.T) {
	h := newHarness(t, func(s *sender.Settings) { s.Code.PerRecipient = 1000 })
	d := h.Domain(h.tenant, "mail0.example.org")
	for i := range 9 {
		h.address(d.ID, fmt.Sprintf("user%d@mail0.example.org", i))
	}
	h.address(d.ID, "last@mail0.example.org")
	wantError(t, h.call("POST", h.addresses(d.ID), `{"emailAddress":"more@mail0.example.org"}`), 400, "REQUEST_FAILED trustedemails SIZE_LIMIT_EXCEEDED -")
	for i := range 49 {
		h.Domain(h.tenant, fmt.Sprintf("mail%d.example.org", i+1))
	}
	wantError(t, h.call("POST", h.domains(), `{"domainName":"mail50.example.org"}`), 400, "REQUEST_FAILED emaildomains SIZE_LIMIT_EXCEEDED -")
	if l, ok := h.call("GET", h.domains(), "").Want(200).At("emaildomains").([]any); !ok || len(l) != 50 {
		t.Errorf("the list has %d domains, want all 50", len(l))
	}
}

func TestAnotherAccountsThingsLookLikeNothing(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	a := h.address(d.ID, "noreply@mail.example.org")
	id := a[strings.LastIndex(a, "/")+1:]
	h.account("other")
	mine := h.Domain(h.tenant, "mail.example.org") // the same name: allowed, each has tokens of its own
	for _, c := range []struct{ method, path, body, target string }{
		{"GET", h.domain(d.ID), "", "emailDomain"},
		{"GET", h.domain(d.ID) + "/ownership", "", "emailDomain"},
		{"GET", h.domain(d.ID) + "?expand=dkim", "", "emailDomain"},
		{"DELETE", h.domain(d.ID), "", "emailDomain"},
		{"GET", h.addresses(d.ID), "", "emailDomain"},
		{"POST", h.addresses(d.ID), `{"emailAddress":"x@mail.example.org"}`, "emailDomain"},
		{"GET", h.addresses(d.ID) + "/" + id, "", "emailDomain"},
		{"GET", h.addresses(mine.ID) + "/" + id, "", "trustedEmail"},
		{"DELETE", h.addresses(mine.ID) + "/" + id, "", "trustedEmail"},
		{"POST", h.addresses(mine.ID) + "/" + id + "/resend", "", "trustedEmail"},
		{"POST", h.addresses(mine.ID) + "/" + id + "/activate", `{"verificationCode":"x"}`, "trustedEmail"},
	} {
		wantError(t, h.call(c.method, c.path, c.body), 404, "NOT_FOUND "+c.target+" NOT_FOUND -")
	}
	if r := h.call("GET", h.domains(), "").Want(200); r.String("emaildomains.0.id") != string(mine.ID) || r.At("emaildomains.1") != nil {
		t.Errorf("the other's list: %s", r.Body)
	}
}

func TestWeakKeyIsToldSoAndAccountIsReadable(t *testing.T) {
	h := newHarness(t)
	h.key(sender.RoleReader)
	r := h.call("GET", h.base, "").Want(200)
	if r.String("id") != string(h.tenant.ID) || r.String("name") != "demo" || r.String("accountType") != "TRIAL" || r.String("self.href") != h.server.URL+h.base {
		t.Errorf("the account: %s", r.Body)
	}
	wantError(t, h.call("POST", h.domains(), `{"domainName":"mail.example.org"}`), 400, "REQUEST_FAILED - - -")
}

func TestLogHoldsNoSecretsAndNoPeople(t *testing.T) {
	h := newHarness(t)
	d := h.Domain(h.tenant, "mail.example.org")
	a := h.address(d.ID, "noreply@mail.example.org")
	code := h.Mail.Code(t, "noreply@mail.example.org")
	h.call("POST", a+"/activate", `{"verificationCode":"`+code+`"}`).Want(200)
	h.call("POST", h.addresses(d.ID), `{"emailAddress":"noreply@elsewhere.example"}`).Want(400)
	h.unsigned("GET", a, "", "Authorization", h.sign("GET", "x", a, "", "")).Want(401)
	logged := h.Logged()
	for _, secret := range []string{"noreply", code, h.token, base64.StdEncoding.EncodeToString(h.keys[h.token].key), "PINGID-HMAC", url.QueryEscape("noreply@")} {
		if strings.Contains(logged, secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	for _, want := range []string{"/emaildomains/{dom}/trustedemails/{addr}/activate", "not the digest of this request", string(h.keys[h.token].principal.Credential)} {
		if !strings.Contains(logged, want) {
			t.Errorf("the log does not have %q", want)
		}
	}
}
