package sender_test

import (
	"strings"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

func TestDomainsAreFoundByNameAndByWhatLiesInThem(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		top, deep := h.domain("example.org"), h.domain("deep.example.org")
		bound := sender.Principal{Credential: "c", Grants: []sender.Grant{{Tenant: h.tenant.ID, Role: sender.RoleReader}}, Domain: deep.ID}
		for _, c := range []struct {
			who      sender.Principal
			identity string
			want     sender.ID
			fails    string
		}{
			{h.admin, "example.org", top.ID, ""}, {h.admin, "EXAMPLE.org.", top.ID, ""}, {h.admin, "a@example.org", top.ID, ""}, {h.admin, "a@other.example.org", top.ID, ""},
			{h.admin, "very.deep.example.org", deep.ID, ""}, {h.admin, "a@deep.example.org", deep.ID, ""}, {bound, "a@deep.example.org", deep.ID, ""},
			{bound, "example.org", "", "not-found "}, {h.admin, "example.com", "", "not-found "}, {h.admin, "", "", "required identity"}, {h.admin, "org", "", "invalid identity"}, {h.admin, "a@b@c", "", "invalid identity"},
			{sender.Principal{}, "example.org", "", "not-found "},
		} {
			d, err := h.DomainOf(t.Context(), c.who, h.tenant.ID, c.identity)
			if err == nil && d.ID != c.want || err != nil && kindAndField(err) != c.fails || err == nil && c.fails != "" {
				t.Errorf("%q: %s, %v; want %s, %q", c.identity, d.ID, err, c.want, c.fails)
			}
		}
		for spelling, want := range map[string]string{"Example.org": "<nil>", "other.example.org": "not-found ", "": "invalid domainName", "a@example.org": "invalid domainName"} {
			if d, err := h.DomainNamed(t.Context(), h.admin, h.tenant.ID, spelling); kindAndField(err) != want || err == nil && d.ID != top.ID {
				t.Errorf("%q: %s, %v; want %s", spelling, d.ID, err, want)
			}
		}
		if _, err := h.DomainNamed(t.Context(), bound, h.tenant.ID, "example.org"); sender.KindOf(err) != sender.NotFound {
			t.Errorf("one that is bound to another domain finds it: %v", err)
		}
	})
}

func TestCheckSomeLooksAtFewOfThoseThatAreNotVerifiedThere(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		done, one, two := h.domain("done.example", dnscheck.DKIM), h.domain("one.example"), h.domain("two.example")
		home := h.tenant.HomeRegion()
		ds := []sender.Domain{done, one, two}
		looked := func(few int) (names []string) {
			t.Helper()
			before := ds
			var err error
			if ds, err = h.CheckSome(t.Context(), h.admin, h.tenant.ID, ds, few, dnscheck.DKIM, home); err != nil || len(ds) != len(before) {
				t.Fatal(ds, err)
			}
			for i, d := range ds {
				if !d.Facet(dnscheck.DKIM, home).CheckedAt.Equal(before[i].Facet(dnscheck.DKIM, home).CheckedAt) {
					names = append(names, d.Spelling)
				}
			}
			return names
		}
		for i, want := range []string{"one.example", "two.example", "one.example two.example"} {
			time.Sleep(h.config.Settings.Verify.Freshness * 2)
			if got := strings.Join(looked(max(1, i)), " "); got != want {
				t.Errorf("look %d was at %q, want %q", i, got, want)
			}
		}
	})
}

func TestSettingsOfEdgesAreKeptForEachTenant(t *testing.T) {
	onFakeTime(t, func(t *testing.T, h *harness) {
		put := func(name, document string) string {
			return kindAndField(h.PutSetting(t.Context(), h.admin, h.tenant.ID, name, document))
		}
		for _, c := range []struct{ name, document, want string }{
			{"a", "one", "<nil>"}, {"a", "two", "<nil>"}, {"b", "", "<nil>"}, {"", "x", "required name"}, {"c", strings.Repeat("x", 16<<10), "<nil>"},
			{"d", strings.Repeat("x", 16<<10+1), "invalid document"}, {"d", "\xff", "invalid document"}, {"d\n", "x", "invalid name"},
		} {
			if got := put(c.name, c.document); got != c.want {
				t.Errorf("%q: %s, want %s", c.name, got, c.want)
			}
		}
		if got, err := h.Setting(t.Context(), h.admin, h.tenant.ID, "a"); err != nil || got != "two" {
			t.Errorf("kept %q, %v", got, err)
		}
		put("a", "")
		if _, err := h.Setting(t.Context(), h.admin, h.tenant.ID, "a"); sender.KindOf(err) != sender.NotFound {
			t.Errorf("removed, and there: %v", err)
		}
		reader := sender.Principal{Grants: []sender.Grant{{Tenant: h.tenant.ID, Role: sender.RoleReader}}}
		if err := h.PutSetting(t.Context(), reader, h.tenant.ID, "a", "x"); sender.KindOf(err) != sender.Denied {
			t.Errorf("a reader writes: %v", err)
		}
		if _, err := h.Setting(t.Context(), sender.Principal{}, h.tenant.ID, "c"); sender.KindOf(err) != sender.NotFound {
			t.Errorf("a stranger reads: %v", err)
		}
	})
}
