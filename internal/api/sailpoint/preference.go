package sailpoint

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

// preference says by which media a notification goes out, and who gets a copy. It is
// kept and told; nothing is sent by it here but what clients send.
type preference struct {
	Key      string     `json:"key"`
	Mediums  []string   `json:"mediums"` // none: the notification is off
	CCList   []copyBody `json:"ccList,omitempty"`
	BCCList  []copyBody `json:"bccList,omitempty"`
	Modified string     `json:"modified,omitzero"`
}

// copyBody is somebody who gets a copy.
type copyBody struct {
	Type  string `json:"type"`
	ID    string `json:"id,omitzero"`
	Email string `json:"email,omitzero"`
}

var (
	mediums   = []string{email, "SLACK", "TEAMS", "INBOX"}
	copyTypes = []string{"IDENTITY", "MANAGER_OF", "GOVERNANCE_GROUP", "ORG_ADMINS", "STATIC_EMAIL"}
)

const maxCopies = 5 // in each list

var preferenceFields = api.Fields{"key": sorted(texts(sender.Eq, sender.In))}

func (p preference) field(string) string { return p.Key }

// settingOf names where the core keeps a preference.
func settingOf(key string) string { return "sailpoint.preference." + key }

// kept reads the preference for one notification; where there is none, mail is sent.
func (e edge) kept(ctx context.Context, p sender.Principal, key string) (preference, error) {
	found := preference{Key: key, Mediums: []string{email}}
	document, err := e.core.Setting(ctx, p, p.Home, settingOf(key))
	if sender.KindOf(err) == sender.NotFound {
		_, err = e.core.AuthorizeWhole(ctx, p, p.Home, sender.RoleReader) // the tenant itself may be what was not found
		return found, err
	}
	if err != nil {
		return found, err
	}
	return found, json.Unmarshal([]byte(document), &found)
}

// GET notification-preferences.
func (e edge) preferences(ctx context.Context, p sender.Principal, q sender.Query) (listed[preference], error) {
	var all []preference
	for _, s := range standards {
		kept, err := e.kept(ctx, p, s.key)
		if err != nil {
			return listed[preference]{}, err
		}
		all = append(all, kept)
	}
	return choose(all, q), nil
}

// preferenceRequest asks for one preference. Clients of older releases leave the
// placeholder of the path as it is, and two generations of them expect an array.
type preferenceRequest struct {
	key           string // empty: the placeholder
	array         bool   // of that one, or of all where the placeholder names none
	availableOnly bool
}

func readPreference(r *http.Request) (in preferenceRequest, err error) {
	q, err := api.ReadQuery(r)
	if err != nil {
		return in, err
	}
	if s := q.Get("filterUnavailableMediums"); s != "" {
		if in.availableOnly, err = strconv.ParseBool(s); err != nil {
			return in, sender.Errorf(sender.Invalid, "filterUnavailableMediums", "filterUnavailableMediums must be true or false.")
		}
	}
	version := releaseOf(r.Context())
	in.array = version == beta
	if in.key = r.PathValue("key"); in.key == "{key}" {
		in.key = q.Get("key")
		in.array = in.array || version == v2024 && strings.HasPrefix(r.Header.Get("X-SailPoint-SDK"), "typescript-")
	}
	return in, nil
}

// GET one of notification-preferences.
func (e edge) preference(ctx context.Context, p sender.Principal, in preferenceRequest) (any, error) {
	if in.array && in.key == "" {
		l, err := e.preferences(ctx, p, sender.Query{Limit: api.MaxCollection})
		return l.items, err
	}
	if in.key == "" {
		in.key = standards[0].key
	}
	if _, ok := standardOf(in.key); !ok {
		return nil, noPreference()
	}
	kept, err := e.kept(ctx, p, in.key)
	if in.availableOnly {
		kept.Mediums = slices.DeleteFunc(kept.Mediums, func(m string) bool { return m != email })
	}
	if in.array {
		return []preference{kept}, err
	}
	return kept, err
}

func noPreference() error {
	return sender.Errorf(sender.NotFound, "", "The requested notification preference was not found.")
}

func writePreference(w http.ResponseWriter, _ *http.Request, b any) error {
	return api.WriteJSON(w, http.StatusOK, b)
}

func newPreference(r *http.Request) (preference, error) {
	var body struct {
		Key     string     `json:"key"`
		Mediums []string   `json:"mediums"`
		CCList  []copyBody `json:"ccList"`
		BCCList []copyBody `json:"bccList"`
	}
	n := preference{Key: r.PathValue("key")}
	if _, ok := standardOf(n.Key); !ok {
		return n, noPreference()
	}
	if err := api.ReadJSON(r, &body); err != nil {
		return n, err
	}
	if body.Key != "" && body.Key != n.Key {
		return n, sender.Errorf(readOnly, "key", "key is that of another notification than the path names.")
	}
	if body.Mediums == nil {
		return n, sender.Errorf(sender.Required, "mediums", "mediums is missing: send those that the notification goes out by; none switches it off.")
	}
	n.Mediums, n.CCList, n.BCCList, n.Modified = body.Mediums, body.CCList, body.BCCList, timestamp(time.Now())
	return n, n.problem()
}

// problem says what is wrong with a preference; nil: nothing.
func (p preference) problem() error {
	for i, m := range p.Mediums {
		if !slices.Contains(mediums, m) || slices.Contains(p.Mediums[:i], m) {
			return sender.Errorf(sender.Invalid, "mediums", "%q is no medium, or is there twice; use each of %s once.", api.Short(m), strings.Join(mediums, ", "))
		}
	}
	copies := slices.Concat(p.CCList, p.BCCList)
	if len(copies) > 0 && !slices.Contains(p.Mediums, email) {
		return sender.Errorf(sender.Invalid, "mediums", "Copies go out by mail: mediums must have EMAIL, or there must be none.")
	}
	if len(p.CCList) > maxCopies || len(p.BCCList) > maxCopies {
		return sender.Errorf(sender.Limit, "ccList", "ccList and bccList can have %d entries each.", maxCopies)
	}
	for i, c := range copies {
		switch byMail := c.Type == "STATIC_EMAIL"; {
		case !slices.Contains(copyTypes, c.Type):
			return sender.Errorf(sender.Invalid, "ccList", "%q is no type of recipient; use one of %s.", api.Short(c.Type), strings.Join(copyTypes, ", "))
		case byMail:
			if _, _, err := sender.ParseMailbox("email", c.Email); err != nil {
				return err
			}
		case c.Type != "ORG_ADMINS" && c.ID == "":
			return sender.Errorf(sender.Required, "id", "id is missing: recipients of the type %s have one.", c.Type)
		case len(c.ID) > 100:
			return sender.Errorf(sender.Invalid, "id", "%q is too long for an id.", api.Short(c.ID))
		}
		if slices.ContainsFunc(copies[:i], func(o copyBody) bool {
			return o.Type == c.Type && o.ID == c.ID && strings.EqualFold(o.Email, c.Email)
		}) {
			return sender.Errorf(sender.Invalid, "bccList", "A recipient is named twice; each can be in one of the lists, once.")
		}
	}
	return nil
}

// PUT one of notification-preferences.
func (e edge) setPreference(ctx context.Context, p sender.Principal, n preference) (any, error) {
	document, err := json.Marshal(n)
	if err != nil {
		return nil, err
	}
	return n, e.core.PutSetting(ctx, p, p.Home, settingOf(n.Key), string(document))
}
