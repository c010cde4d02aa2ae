package api

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"

	"github.com/postseal/postseal/internal/sender"
)

// Entries on one page of a list.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

// Page is the part of a list that a request asks for.
type Page struct {
	After sender.ID
	Limit int
}

// ReadPage reads limit and cursor of the query. A limit over MaxPage is cut to
// it; other limits that are no positive number, and cursors that are not ours,
// are Invalid.
func ReadPage(q url.Values) (p Page, err error) {
	p.Limit = DefaultPage
	if q.Has("limit") {
		n, err := strconv.ParseUint(q.Get("limit"), 10, 31)
		if err != nil || n == 0 {
			return p, sender.Errorf(sender.Invalid, "limit", "limit must be a number from 1 to %d.", MaxPage)
		}
		p.Limit = int(min(n, MaxPage))
	}
	if q.Has("cursor") {
		p.After, err = parseCursor(q.Get("cursor"))
	}
	return p, err
}

// NewPage is ReadPage for a limit that was checked elsewhere; an empty cursor is
// an absent one.
func NewPage(limit int, cursor string) (p Page, err error) {
	p.Limit = limit
	if cursor != "" {
		p.After, err = parseCursor(cursor)
	}
	return p, err
}

func parseCursor(s string) (sender.ID, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != 16 {
		return "", sender.Errorf(sender.Invalid, "cursor", "cursor is not one that this list has given out; start again without it.")
	}
	return sender.IDFromBytes([16]byte(b)), nil
}

// ReadQuery parses the query, all of it.
func ReadQuery(r *http.Request) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, sender.Errorf(Malformed, "", "The query of the URL is not well-formed.")
	}
	return q, nil
}

// Ask is what to ask the core for: one entry more than the page has, to know
// whether there is a next one.
func (p Page) Ask() sender.Page { return sender.Page{After: p.After, Limit: p.Limit + 1} }

// Cut takes the entry more away again. next is the cursor of the next page,
// empty on the last.
func Cut[T any](p Page, found []T, id func(T) sender.ID) (page []T, next string) {
	if len(found) <= p.Limit {
		return found, ""
	}
	page = found[:p.Limit]
	b := id(page[p.Limit-1]).Bytes()
	return page, base64.RawURLEncoding.EncodeToString(b[:])
}
