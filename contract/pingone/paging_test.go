package pingone_test

import (
	"encoding/json"
	"net/url"
	"os"
	"testing"

	"github.com/patrickcping/pingone-go-sdk-v2/management"
)

// pages collects what the client's own iterator finds. The iterator does not
// survive an answer without a body, hence the break.
func pages(t *testing.T, what string, all management.EntityArrayPagedIterator) (found []management.EntityArray) {
	t.Helper()
	for page, err := range all {
		status := 0
		if page.HTTPResponse != nil {
			status = page.HTTPResponse.StatusCode
		}
		if err != nil || status != 200 || page.EntityArray == nil || page.EntityArray.Embedded == nil {
			t.Fatalf("%s: page %d: status %d, %s, %v", what, len(found)+1, status, show(page.EntityArray), err)
		}
		if found = append(found, *page.EntityArray); len(found) > 100 {
			t.Fatalf("%s: the pages do not end", what)
		}
	}
	return found
}

// follow reads a page at a link as the iterator does, for lists where the
// client has no way to ask for short pages.
func (c *client) follow(t *testing.T, at management.LinksHATEOASValue) (page management.EntityArray) {
	t.Helper()
	body, resp, err := c.HALApi.ReadHALLink(t.Context(), at).Execute()
	succeeded(t, at.Href, 200, resp, err)
	raw, err := json.Marshal(body)
	if err == nil {
		err = json.Unmarshal(raw, &page)
	}
	if err != nil || page.Embedded == nil {
		t.Fatalf("%s: %v, %s", at.Href, err, raw)
	}
	return page
}

// links demands that each link is there and absolute, on the host that the
// client used.
func links(t *testing.T, what string, got *map[string]management.LinksHATEOASValue, want map[string]string) {
	t.Helper()
	if got == nil {
		t.Errorf("%s: no links", what)
		return
	}
	for name, href := range want {
		if (*got)[name].Href != href {
			t.Errorf("%s: link %s is %q, want %q", what, name, (*got)[name].Href, href)
		}
	}
}

// TestIteratorFollowsPagesVerbatim pages through all environments with the
// operator's key as token, as the only one who sees several. Through the proxy a
// link to any other host or scheme would lead nowhere.
func TestIteratorFollowsPagesVerbatim(t *testing.T) {
	for _, connect := range []func(*testing.T) *client{straight, proxied} {
		c := connect(t)
		operator := c.as(os.Getenv("POSTSEAL_OPERATOR_KEY"))
		seen := map[string]bool{}
		c.wants(t, 2, "two environments, one a page", func() {
			for _, page := range pages(t, "E2", operator.EnvironmentsApi.ReadAllEnvironments(t.Context()).Limit(1).Filter(`name sw "Demo"`).Execute()) {
				if page.GetCount() != 2 || page.GetSize() != 1 || len(page.Embedded.Environments) != 1 {
					t.Fatalf("a page of one: count %v, size %v", page.GetCount(), page.GetSize())
				}
				seen[page.Embedded.Environments[0].GetId()] = true
				next := page.GetPaginationNextLink()
				if u, err := url.Parse(next.Href); err != nil || next.Href != "" && (u.Scheme+"://"+u.Host != c.base || u.Query().Get("filter") == "" || u.Query().Get("limit") != "1") {
					t.Errorf("the next page is at %q: %v", next.Href, err)
				}
			}
		})
		if !seen[c.env] || !seen[c.other] {
			t.Errorf("the pages hold %v, want %s and %s", seen, c.env, c.other)
		}
	}
}
