package sailpoint

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/template"
)

func TestErrorTableHasEveryKind(t *testing.T) {
	for _, k := range slices.Concat(api.Kinds, []sender.Kind{readOnly, unknownObject, noExperiment, throttled}) {
		a, ok := errorTable[k]
		if !ok {
			t.Errorf("%s is not in the table", k)
		}
		if a.shape == object && !strings.HasPrefix(a.code, fmt.Sprint(a.status)) {
			t.Errorf("%s: detailCode %q begins with another status than %d", k, a.code, a.status)
		}
		if a.status >= 500 || !slices.Contains([]int{400, 401, 403, 404, 405, 429}, a.status) {
			t.Errorf("%s is %d, for which clients have no form", k, a.status)
		}
		if _, body := errorOf("id", "", sender.Errorf(k, "field", "Detail.")); a.shape == object && len(body.(errorBody).Messages[0].Text) == 0 {
			t.Errorf("%s has no message", k)
		}
	}
}

func TestOurOwnFaultTellsNothing(t *testing.T) {
	for _, err := range []error{errors.New("secret"), sender.Errorf("a kind of nobody", "secret", "secret"), fmt.Errorf("x: %w", errors.New("secret"))} {
		a, body := errorOf("0123", "", err)
		if got := fmt.Sprintf("%+v", body); a.status != 500 || strings.Contains(got, "secret") || body.(errorBody).DetailCode != "500.0 Internal Fault" || body.(errorBody).Causes != nil {
			t.Errorf("%v: %d %s", err, a.status, got)
		}
	}
}

func TestMessagesAreInTheLanguageThatWasAskedFor(t *testing.T) {
	for header, want := range map[string]string{
		"": "en-US DEFAULT", "en-US": "en-US REQUEST", "en-GB,en;q=0.5": "en-US REQUEST", "de": "de REQUEST", "de-CH, en;q=0.1": "de REQUEST", "fr-CA": "fr REQUEST", "es-MX": "es REQUEST",
		"ja": "en-US DEFAULT", "ja, fr;q=0.3": "fr REQUEST", "*": "en-US DEFAULT", "nonsense!!": "en-US DEFAULT", strings.Repeat("de,", 1000): "en-US DEFAULT",
	} {
		_, body := errorOf("id", header, sender.Errorf(sender.Invalid, "email", "Cause."))
		m, c := body.(errorBody).Messages[0], body.(errorBody).Causes[0]
		if got := m.Locale + " " + m.LocaleOrigin; got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
		if c != (messageBody{"en-US", "DEFAULT", "Cause."}) {
			t.Errorf("%q: the cause is %+v", header, c)
		}
	}
	for kind, a := range errorTable {
		for i, text := range a.reason {
			if a.shape == object && (text == "" || slices.Index(a.reason[:], text) != i) {
				t.Errorf("%s has no words of its own in %s", kind, languages[i])
			}
		}
	}
}

func TestStatusWordsAreThoseOfTheDocuments(t *testing.T) {
	for _, s := range sender.Statuses {
		if !slices.Contains([]string{"PENDING", "SUCCESS", "FAILED"}, statusWords[s]) || (statusWords[s] == "SUCCESS") != s.Holds() {
			t.Errorf("%s is %q", s, statusWords[s])
		}
		if got := both(s, sender.Verified); got != statusWords[s] {
			t.Errorf("%s and a verified one are %s", s, got)
		}
		if got := both(sender.Pending, s); s != sender.Failed && s != sender.Lapsed && got != "PENDING" {
			t.Errorf("a pending one and %s are %s", s, got)
		}
	}
}

func TestDomainsOfAnotherKindOfTenantHaveNoTokens(t *testing.T) {
	b := domainOf(sender.Tenant{Regions: []string{"one"}}, sender.Domain{})
	if b.DKIMTokens == nil || len(b.DKIMTokens) != 0 || b.DKIMVerificationStatus != "PENDING" {
		t.Errorf("it is %+v", b)
	}
}

func TestLimitCountsEachClientAndReleaseAndForgetsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &limiter{most: 2, window: 10 * time.Second}
		take := func(client sender.ID, r release) time.Duration { return l.take(client, r, time.Now()) }
		for range 2 {
			if take("a", v1) != 0 || take("a", beta) != 0 || take("b", v1) != 0 {
				t.Fatal("a request within the limit is refused")
			}
		}
		time.Sleep(3 * time.Second)
		if got := take("a", v1); got != 7*time.Second {
			t.Errorf("the wait is %s, want 7s", got)
		}
		time.Sleep(7*time.Second - 1)
		if got := take("a", v1); got != 1 {
			t.Errorf("the wait is %s, want a nanosecond", got)
		}
		if got := patienceFor(&sender.Error{Kind: throttled, RetryAt: time.Now().Add(1)}); got != 1 {
			t.Errorf("Retry-After is %d, want 1", got)
		}
		time.Sleep(time.Nanosecond)
		if got := take("a", v1); got != 0 {
			t.Errorf("the window is over and the wait is %s", got)
		}
		time.Sleep(10 * time.Second)
		take("c", v1)
		if len(l.counts) != 1 {
			t.Errorf("%d are remembered", len(l.counts))
		}
		if (&limiter{}).take("a", v1, time.Now()) != 0 {
			t.Error("no limit refuses")
		}
	})
}

func TestReferencesOfVelocityBecomeOurs(t *testing.T) {
	known := []string{"user", "user.name", "__global.productName"}
	for in, want := range map[string]string{
		"Hello $user.": "Hello ${user}.", "Hello $user.name!": "Hello ${user.name}!", "$!user $!{user} ${user}": "${user} ${user} ${user}", "$user.Thanks": "${user}.Thanks", "$user-friendly": "${user}-friendly",
		"$5 $USD $username": "$5 $USD $username", "${__global.productName} $__global.productName": "${__global.productName} ${__global.productName}", "$$user": "$${user}", "$": "$", "${user": "${user", "$!{other}": "${other}",
	} {
		if got := fromVelocity(in, known); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	for _, text := range []string{"#if($user)x#end", "#{foreach}($a in $b)", "#set ($a = 1)"} {
		if noDirectives("body", text) == nil {
			t.Errorf("%q is let through", text)
		}
	}
	for _, text := range []string{"# if", "color:#ifx", "#1 ($user)", "ticket #end"} {
		if err := noDirectives("body", text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Converting twice is converting once, and no reference gets lost.
func FuzzFromVelocity(f *testing.F) {
	for _, s := range []string{"$user", "$!{user}", "${a}$user.name$$", "$user.name.x", "\\$user", "$!$user"} {
		f.Add(s)
	}
	known := []string{"user", "user.name"}
	f.Fuzz(func(t *testing.T, s string) {
		once := fromVelocity(s, known)
		if twice := fromVelocity(once, known); twice != once {
			t.Errorf("%q became %q and then %q", s, once, twice)
		}
		have := template.Compile(once, template.Plain).Names()
		for _, name := range template.Compile(s, template.Plain).Names() {
			if !slices.Contains(have, name) {
				t.Errorf("%q lost ${%s}: %q", s, name, once)
			}
		}
	})
}

func TestStandardTemplatesUseTheirVariablesAndNoOthers(t *testing.T) {
	if !slices.IsSortedFunc(standards, func(a, b standard) int { return strings.Compare(a.key, b.key) }) {
		t.Error("they are not sorted by key")
	}
	for _, s := range standards {
		used := slices.Concat(template.Compile(s.subject, template.Header).Names(), template.Compile(s.body, template.HTML).Names())
		for _, name := range used {
			if !slices.Contains(s.names(), name) {
				t.Errorf("%s uses %s, which nobody describes", s.key, name)
			}
		}
		for _, v := range s.variables {
			if !slices.Contains(used, v.Key) {
				t.Errorf("%s does not use %s", s.key, v.Key)
			}
		}
		if dropped := template.Compile(s.body, template.HTML).Dropped(); len(dropped) > 0 {
			t.Errorf("%s: %v stand where no value is safe", s.key, dropped)
		}
		if got := fromVelocity(s.body, s.names()); got != s.body || noDirectives("body", s.body) != nil {
			t.Errorf("%s is written for another language", s.key)
		}
	}
}

func TestOwnsItsPathsAndNobodyElses(t *testing.T) {
	for path, want := range map[string]bool{
		"/oauth/token": true, "/oauth/info": true, "/v2024": true, "/v2026/anything": true, "/beta/x": true, "/verified-domains/v1": true, "/Verified-Domains": true, "/v3/x": true,
		"/v1": false, "/v1/messages": false, "/v1/token": false, "/v1/environments": false, "/pingid/v1/accounts": false, "/healthz": false, "/": false, "": false, "/confirm/x": false,
		"/0197a000-0000-7000-8000-000000000001/as/token": false, "/v2027/x": false, "/verified-domainsx": false, "/v4/x": false,
	} {
		if got := Owns(path); got != want {
			t.Errorf("Owns(%q) is %v", path, got)
		}
	}
}

// What is located is owned, lies below a resource, and has lost its release alone.
func FuzzLocate(f *testing.F) {
	for _, s := range []string{"/v2024/verified-domains", "//verified-domains/v1/x", "/oauth/token", "/v2026/oauth/token", "/beta//verified-domains", "/verified-domains/v1/", "/%76"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		version, rest, ok := locate(s)
		if !ok {
			return
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
		if version != login && !slices.Contains(resources, first) || version == login && first != "oauth" {
			t.Errorf("%q is %q of %q", s, rest, version)
		}
		if !strings.HasPrefix(rest, "/") || !Owns(path.Clean("/"+s)) && path.Clean("/"+s) == s {
			t.Errorf("%q is %q, and not owned", s, rest)
		}
	})
}

// No filter that the parser takes has an operator that the evaluator lacks.
func TestEveryOperatorOfEveryListIsEvaluated(t *testing.T) {
	b := bodyOf(standards[0], standards[0].template("x@example.org"))
	b.ID = "0197a000-0000-7000-8000-000000000001"
	for name, fields := range map[string]api.Fields{"templates": templateFields, "defaults": defaultFields, "preferences": preferenceFields} {
		for field, f := range fields {
			var entry fielder = b
			if name == "preferences" {
				entry = preference{Key: b.Key}
			}
			for _, op := range f.Ops {
				value := strings.ToUpper(fmt.Sprintf("%q", entry.field(field)))
				if op == sender.In {
					value = `("x", ` + value + `)`
				}
				e, err := api.ParseFilters(field+" "+string(op)+" "+value, fields)
				if err != nil || !holds(e, entry) {
					t.Errorf("%s: %s %s %s does not hold: %v", name, field, op, value, err)
				}
				if not, err := api.ParseFilters("not ("+field+" "+string(op)+" "+value+" or "+field+" "+string(op)+" "+value+")", fields); err != nil || holds(not, entry) {
					t.Errorf("%s: not %s %s %s holds: %v", name, field, op, value, err)
				}
			}
		}
	}
	r := httptest.NewRequest("GET", "/?sorters=-key,name", nil)
	q, err := collection(templateFields)(r)
	if err != nil {
		t.Fatal(err)
	}
	l := choose([]templateBody{{Key: "b", Name: "2"}, {Key: "A"}, {Key: "b", Name: "1"}}, q)
	if got := fmt.Sprint(l.items[0].Name, l.items[1].Name, l.items[2].Key); got != "12A" {
		t.Errorf("sorted to %s", got)
	}
}
