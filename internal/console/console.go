// Package console is what people see in a browser. So far that is one page: where the
// link in a verification mail leads.
//
//	mail -> GET /confirm/{token}: says what it is about, and changes nothing
//	                 |
//	            button -> POST: proves the address, says so
//
// It is no API, keeps no session and sets no cookie: whoever has the link has the
// mailbox. Scanners of mail open links, which is why opening the page does nothing.
// The page works without script, loads nothing from elsewhere, and its address goes
// nowhere (no referrer), since the token is in it.
package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strings"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

//go:embed style.css page.html
var files embed.FS

var (
	style = mustRead("style.css")
	page  = template.Must(template.ParseFS(files, "page.html"))
	// policy allows our own style, and forms that come back here.
	policy = "default-src 'none'; style-src 'sha256-" + sum(style) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

func mustRead(name string) template.CSS {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err) // it is embedded
	}
	return template.CSS(b) //nolint:gosec // ours
}

func sum(s template.CSS) string {
	h := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(h[:])
}

// Config is what the console is made of.
type Config struct {
	Service *sender.Service
	Log     *slog.Logger
}

// Owns reports whether a path belongs to the console.
func Owns(path string) bool { return path == "/confirm" || strings.HasPrefix(path, "/confirm/") }

// New returns the handler of everything that Owns says is the console's.
func New(c Config) http.Handler {
	d := &api.Dialect{Name: "console", Log: c.Log, WriteError: writeError}
	m := api.NewMux(d)
	m.Handle("GET /confirm/{token}", d.Wrap(func(w http.ResponseWriter, r *http.Request) error {
		state, address, err := c.Service.Link(r.Context(), r.PathValue("token"))
		if err != nil {
			return err
		}
		return write(w, linkPage(state, address, false))
	}))
	m.Handle("POST /confirm/{token}", d.Wrap(func(w http.ResponseWriter, r *http.Request) error {
		state, address, err := c.Service.ConfirmLink(r.Context(), r.PathValue("token"))
		if err != nil {
			return err
		}
		return write(w, linkPage(state, address, true))
	}))
	return m
}

// view is what a page says.
type view struct {
	Status  int
	Title   string
	Address string
	Text    string
	Button  string // empty: there is none
	Good    bool
	Style   template.CSS
}

// linkPage is pure: what to say about a link, before or after the button.
func linkPage(state sender.LinkState, address string, pressed bool) view {
	v := view{Status: http.StatusOK, Address: address}
	switch {
	case state == sender.LinkGood && !pressed:
		v.Title, v.Button = "Confirm this address", "Confirm"
		v.Text = "Somebody asked to send mail from it. Confirm only if you know who. If you did not expect this, close the page: nothing will be sent in your name."
	case state == sender.LinkGood, state == sender.LinkUsed && pressed:
		v.Title, v.Good = "The address is confirmed", true
		v.Text = "Mail may be sent from it now. You can close this page."
	case state == sender.LinkUsed:
		v.Title, v.Good = "The address was confirmed already", true
		v.Text = "There is nothing left to do. You can close this page."
	case state == sender.LinkExpired:
		v.Status, v.Title = http.StatusGone, "This link is too old"
		v.Text = "Ask whoever wants to send mail from this address to have a new mail sent to you, and use the link in that one."
	default:
		v.Status, v.Title, v.Address = http.StatusNotFound, "This link is not known", ""
		v.Text = "If there is a newer mail, use the link in that one: it replaces the older. Otherwise check that the link was copied whole, or ask for a new mail."
	}
	return v
}

func write(w http.ResponseWriter, v view) error {
	v.Style = style
	var b bytes.Buffer
	if err := page.Execute(&b, v); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Robots-Tag", "noindex")
	w.WriteHeader(v.Status)
	_, err := w.Write(b.Bytes())
	return err
}

// writeError is for people: what failed, and what to do.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	v := view{Status: http.StatusInternalServerError, Title: "Something went wrong", Text: "Nothing was changed. Try again in a minute; if it stays, tell the operator the id " + api.RequestID(r.Context()) + "."}
	if e, ok := errors.AsType[*sender.Error](err); ok {
		switch e.Kind {
		case api.NoRoute:
			v.Status, v.Title, v.Text = http.StatusNotFound, "There is nothing here", "Check that the link was copied whole."
		case api.WrongMethod:
			v.Status, v.Title, v.Text = http.StatusMethodNotAllowed, "This can't be done here", "Open the link from the mail in a browser."
		case api.Malformed:
			v.Status, v.Title, v.Text = http.StatusBadRequest, "The request can't be read", "Open the link from the mail in a browser."
		}
	}
	if err := write(w, v); err != nil {
		w.WriteHeader(http.StatusInternalServerError)
	}
}
