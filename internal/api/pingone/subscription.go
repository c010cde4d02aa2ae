package pingone

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

// ActivityFormat is that of the dialect's subscriptions: what is posted is made by
// [Activities].
const ActivityFormat sender.WebhookFormat = "pingone-activity"

// subscriptionText is a subscription, in and out, but for what only goes out.
type subscriptionText struct {
	Name              string               `json:"name"`
	Enabled           *bool                `json:"enabled,omitzero"`
	Format            string               `json:"format,omitzero"`
	Protocol          string               `json:"protocol,omitzero"`
	FilterOptions     *subscriptionFilter  `json:"filterOptions,omitzero"`
	HTTPEndpoint      *subscriptionTarget  `json:"httpEndpoint,omitzero"`
	ConnectionDetails *subscriptionTarget  `json:"connectionDetails,omitzero"` // newer clients' name for it
	VerifyTLS         *bool                `json:"verifyTlsCertificates,omitzero"`
	ClientKey         *subscriptionKey     `json:"tlsClientAuthKeyPair,omitzero"`
	PayloadOptions    *subscriptionPayload `json:"payloadOptions,omitzero"`
}

type subscriptionTarget struct {
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers,omitempty"`
}

type subscriptionKey struct {
	ID string `json:"id,omitzero"`
}

type subscriptionFilter struct {
	ActionTypes  []string          `json:"includedActionTypes"`
	Applications []subscriptionKey `json:"includedApplications,omitempty"`
	Populations  []subscriptionKey `json:"includedPopulations,omitempty"`
	Tags         []string          `json:"includedTags,omitempty"`
	IPAddress    *bool             `json:"ipAddressExposed,omitzero"`
	UserAgent    *bool             `json:"userAgentExposed,omitzero"`
}

type subscriptionPayload struct {
	Limit *struct {
		Type string `json:"type,omitzero"`
		Size *int   `json:"size,omitzero"`
	} `json:"maximumPayloadLimit,omitzero"`
	Format *struct {
		TCP   jsontext.Value `json:"tcp,omitzero"`
		HTTPS *struct {
			Format      string `json:"format,omitzero"`
			PrettyPrint *bool  `json:"prettyPrint,omitzero"`
		} `json:"https,omitzero"`
	} `json:"payloadFormat,omitzero"`
}

// kept is what the core has no place for: the webhook's document.
type kept struct {
	Filter  *subscriptionFilter  `json:"filter"`
	Payload *subscriptionPayload `json:"payload,omitzero"`
	Newer   bool                 `json:"newer,omitzero"` // it was sent with connectionDetails
}

var actionType = regexp.MustCompile(`^[A-Z0-9_]{1,60}\.[A-Z0-9_]{1,60}$`)

// webhook reads what a client says as the core's.
func (s subscriptionText) webhook() (sender.NewWebhook, error) {
	target := s.HTTPEndpoint
	if target == nil {
		target = s.ConnectionDetails
	}
	missing := func(member string) (sender.NewWebhook, error) {
		return sender.NewWebhook{}, sender.Errorf(sender.Required, member, "%s is missing.", member)
	}
	invalid := func(member, format string, args ...any) (sender.NewWebhook, error) {
		return sender.NewWebhook{}, sender.Errorf(sender.Invalid, member, format, args...)
	}
	f := s.FilterOptions
	switch {
	case s.Name == "":
		return missing("name")
	case s.Enabled == nil:
		return missing("enabled")
	case s.VerifyTLS == nil:
		return missing("verifyTlsCertificates")
	case target == nil || target.URL == "":
		return missing("httpEndpoint.url")
	case s.HTTPEndpoint != nil && s.ConnectionDetails != nil && s.HTTPEndpoint.URL != s.ConnectionDetails.URL:
		return invalid("connectionDetails.url", "httpEndpoint and connectionDetails name different URLs.")
	case f == nil || len(f.ActionTypes) == 0:
		return missing("filterOptions.includedActionTypes")
	case s.Format != "" && s.Format != "ACTIVITY":
		return invalid("format", "The format can be ACTIVITY here, and not %q.", api.Short(s.Format))
	case s.Protocol != "" && s.Protocol != "HTTPS":
		return invalid("protocol", "The protocol can be HTTPS here, and not %q.", api.Short(s.Protocol))
	case !*s.VerifyTLS:
		return invalid("verifyTlsCertificates", "Certificates are always verified here: it must be true.")
	case s.ClientKey != nil && s.ClientKey.ID != "":
		return invalid("tlsClientAuthKeyPair", "There are no key pairs here: leave tlsClientAuthKeyPair out. What is posted is signed, see webhook-signature.")
	case len(f.Applications) > 0:
		return invalid("filterOptions.includedApplications", "Events are of no application here: leave includedApplications out.")
	case len(f.Populations) > 0:
		return invalid("filterOptions.includedPopulations", "There are no populations here: leave includedPopulations out.")
	case len(f.Tags) > 0:
		return invalid("filterOptions.includedTags", "Events have no tags here: leave includedTags out.")
	case s.PayloadOptions != nil && s.PayloadOptions.Format != nil && len(s.PayloadOptions.Format.TCP) > 0:
		return invalid("payloadOptions.payloadFormat.tcp", "The protocol is HTTPS: leave tcp out.")
	case s.PayloadOptions != nil && s.PayloadOptions.Format != nil && s.PayloadOptions.Format.HTTPS != nil &&
		s.PayloadOptions.Format.HTTPS.Format != "" && s.PayloadOptions.Format.HTTPS.Format != "JSON_ARRAY":
		return invalid("payloadOptions.payloadFormat.https.format", "The format of payloads can be JSON_ARRAY here, and not %q.", api.Short(s.PayloadOptions.Format.HTTPS.Format))
	}
	for _, t := range f.ActionTypes {
		if !actionType.MatchString(t) {
			return invalid("filterOptions.includedActionTypes", "%q is no action type: write it like EMAIL_DOMAIN.CREATED.", api.Short(t))
		}
	}
	document, err := json.Marshal(kept{f, s.PayloadOptions, s.ConnectionDetails != nil}, json.Deterministic(true))
	if err != nil {
		return sender.NewWebhook{}, err
	}
	n := sender.NewWebhook{
		URL: target.URL, Description: s.Name, Types: typesOf(f.ActionTypes), Format: ActivityFormat, Enabled: *s.Enabled, Document: string(document),
	}
	for name, value := range target.Headers {
		if n.Headers == nil {
			n.Headers = make(map[string]sender.Password)
		}
		n.Headers[name] = sender.Password(value)
	}
	return n, nil
}

// typesOf are the core's names of action types; those of things that are not here have
// none.
func typesOf(actions []string) (types []sender.EventType) {
	for t, name := range EventNames {
		if slices.Contains(actions, name) {
			types = append(types, t)
		}
	}
	slices.Sort(types)
	return types
}

type subscriptionRequest struct {
	thing
	id      sender.ID
	webhook sender.NewWebhook
}

func subscriptionRef(r *http.Request) (in subscriptionRequest, err error) {
	if in.thing, err = readThing(r, false, false); err != nil {
		return in, err
	}
	var ok bool
	if in.id, ok = sender.ParseID(r.PathValue("subscription")); !ok {
		return in, sender.Errorf(sender.NotFound, "", "")
	}
	return in, nil
}

func newSubscription(r *http.Request) (in subscriptionRequest, err error) {
	if in.thing, err = readThing(r, false, false); err != nil {
		return in, err
	}
	var text subscriptionText
	if err := api.ReadJSON(r, &text); err != nil {
		return in, err
	}
	in.webhook, err = text.webhook()
	return in, err
}

func changedSubscription(r *http.Request) (subscriptionRequest, error) {
	at, err := subscriptionRef(r)
	if err != nil {
		return at, err
	}
	in, err := newSubscription(r)
	in.id = at.id
	return in, err
}

// subscriptionError puts the dialect's names of members in.
func subscriptionError(err error) error {
	names := map[string]string{"url": "httpEndpoint.url", "headers": "httpEndpoint.headers", "description": "name", "webhooks": "subscriptions", "document": "payloadOptions"}
	if e, ok := asError(err); ok && names[e.Field] != "" {
		renamed := *e
		renamed.Field = names[e.Field]
		return &renamed
	}
	return err
}

// POST subscriptions.
func (e edge) createSubscription(ctx context.Context, p sender.Principal, in subscriptionRequest) (sender.Webhook, error) {
	w, _, err := e.service.CreateWebhook(ctx, p, in.env, in.webhook)
	return w, subscriptionError(err)
}

// GET subscriptions. Webhooks of the native API are none: their form is another.
func (e edge) subscriptions(ctx context.Context, p sender.Principal, l listing) (listed[sender.Webhook], error) {
	all, err := e.service.Webhooks(ctx, p, l.env, sender.Page{})
	if err != nil {
		return listed[sender.Webhook]{}, err
	}
	all = slices.DeleteFunc(all, func(w sender.Webhook) bool { return w.Format != ActivityFormat })
	found := slices.DeleteFunc(slices.Clone(all), func(w sender.Webhook) bool { return w.ID <= l.page.After })
	return cut(l, found[:min(len(found), l.page.Ask().Limit)], len(all), func(w sender.Webhook) sender.ID { return w.ID }), nil
}

// GET one subscription.
func (e edge) subscription(ctx context.Context, p sender.Principal, in subscriptionRequest) (sender.Webhook, error) {
	w, err := e.service.Webhook(ctx, p, in.env, in.id)
	if err == nil && w.Format != ActivityFormat {
		err = sender.Errorf(sender.NotFound, "", "")
	}
	return w, err
}

// PUT one subscription. One that is enabled again gets what happened meanwhile.
func (e edge) updateSubscription(ctx context.Context, p sender.Principal, in subscriptionRequest) (sender.Webhook, error) {
	if _, err := e.subscription(ctx, p, in); err != nil {
		return sender.Webhook{}, err
	}
	w, err := e.service.ChangeWebhook(ctx, p, in.env, in.id, true, func(sender.Webhook) sender.NewWebhook { return in.webhook })
	return w, subscriptionError(err)
}

// DELETE one subscription.
func (e edge) deleteSubscription(ctx context.Context, p sender.Principal, in subscriptionRequest) (struct{}, error) {
	if _, err := e.subscription(ctx, p, in); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, e.service.DeleteWebhook(ctx, p, in.env, in.id)
}

type subscriptionBody struct {
	Links       links     `json:"_links"`
	ID          sender.ID `json:"id"`
	Environment idRef     `json:"environment"`
	subscriptionText
	CreatedAt string `json:"createdAt"`
	UpdatedAt string `json:"updatedAt"`
}

func subscriptionOf(base string, w sender.Webhook) subscriptionBody {
	var k kept
	_ = json.Unmarshal([]byte(w.Document), &k) // it was written here
	env := environmentURL(base, w.Tenant)
	target := &subscriptionTarget{URL: w.URL}
	for name, value := range w.Headers {
		if target.Headers == nil {
			target.Headers = make(map[string]string)
		}
		target.Headers[name] = string(value)
	}
	verify := true
	b := subscriptionBody{
		Links: links{"self": {env + "/subscriptions/" + string(w.ID)}, "environment": {env}},
		ID:    w.ID, Environment: idRef{w.Tenant},
		subscriptionText: subscriptionText{
			Name: w.Description, Enabled: &w.Enabled, Format: "ACTIVITY", Protocol: "HTTPS", FilterOptions: k.Filter, HTTPEndpoint: target,
			VerifyTLS: &verify, PayloadOptions: k.Payload,
		},
		CreatedAt: timestamp(w.CreatedAt), UpdatedAt: timestamp(w.UpdatedAt),
	}
	if k.Newer {
		b.ConnectionDetails = target
	}
	return b
}

func (e edge) writeSubscription(status int) func(http.ResponseWriter, *http.Request, sender.Webhook) error {
	return func(w http.ResponseWriter, r *http.Request, x sender.Webhook) error {
		return api.WriteJSON(w, status, subscriptionOf(e.origin.Base(r), x))
	}
}

func (e edge) writeSubscriptions(w http.ResponseWriter, r *http.Request, l listed[sender.Webhook]) error {
	return writeList(e, w, r, "subscriptions", l, func(base string, x sender.Webhook) any { return subscriptionOf(base, x) })
}

type activity struct {
	ID            sender.ID          `json:"id"`
	RecordedAt    string             `json:"recordedAt"`
	CreatedAt     string             `json:"createdAt"`
	CorrelationID sender.ID          `json:"correlationId"`
	Actors        map[string]actor   `json:"actors"`
	Action        action             `json:"action"`
	Resources     []activityResource `json:"resources"`
	Result        result             `json:"result"`
}

type actor struct {
	ID          sender.ID `json:"id"`
	Environment idRef     `json:"environment"`
	Type        string    `json:"type"`
}

type action struct {
	Type        string `json:"type"`
	Description string `json:"description"`
}

type activityResource struct {
	Type        string    `json:"type"`
	ID          sender.ID `json:"id"`
	Name        string    `json:"name,omitzero"`
	Environment idRef     `json:"environment"`
}

type result struct {
	Status      string `json:"status"`
	Description string `json:"description"`
}

// Activities is the body of [ActivityFormat]: an array of one entry in the form of the
// vendor's audit log.
func Activities(_ sender.Webhook, e sender.Event) ([]byte, error) {
	name, ok := EventNames[e.Type]
	if !ok { // a test, or a replay of what was not asked for
		noun, verb, _ := strings.Cut(strings.ToUpper(strings.ReplaceAll(string(e.Type), "-", "_")), ".")
		name = noun + "." + strings.ReplaceAll(verb, ".", "_")
	}
	noun, verb, _ := strings.Cut(name, ".")
	at := timestamp(e.At)
	words := strings.ToLower(strings.ReplaceAll(noun+" "+verb, "_", " "))
	a := activity{
		ID: e.ID, RecordedAt: at, CreatedAt: at, CorrelationID: e.ID, Actors: map[string]actor{},
		Action:    action{name, strings.ToUpper(words[:1]) + words[1:]},
		Resources: []activityResource{{noun, e.Object, e.Data["domainName"], idRef{e.Tenant}}},
		Result:    result{"SUCCESS", strings.ToUpper(words[:1]) + words[1:]},
	}
	if e.Actor != "" {
		a.Actors["client"] = actor{e.Actor, idRef{e.Tenant}, "CLIENT"}
	}
	if verb == "REJECTED" {
		a.Result.Status = "FAILED"
	}
	return json.Marshal([]activity{a}, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
}
