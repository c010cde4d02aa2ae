package sailpoint

import (
	"context"
	"crypto/sha256"
	"net/http"
	"slices"

	"github.com/postseal/postseal/internal/api"
	"github.com/postseal/postseal/internal/sender"
)

// email is the one medium that there is here.
const email = "EMAIL"

// standard is a default template: what a notification says unless the tenant has its
// own words. The words are ours; none are copied from the vendor's.
type standard struct {
	key, name, description string
	subject, body          string
	variables              []variable
}

type variable struct {
	Key         string `json:"key"`
	Type        string `json:"type"`
	Description string `json:"description"`
	Example     string `json:"example"`
}

func text(key, description, example string) variable {
	return variable{key, "string", description, example}
}

// globals are the variables of all templates.
var globals = []variable{
	text("__global.emailFromAddress", "Address of the service's own no-reply.", "noreply@mail.example.org"),
	text("__global.productName", "Name of the tenant.", "Example"),
	text("__global.productUrl", "Where the service is reached.", "https://mail.example.org"),
}

var recipientName = text("recipientName", "Who the mail is for.", "Ada Lovelace")

// standards are sorted by key.
var standards = []standard{
	{
		"access_request_decided", "Access Request Decided", "Tells somebody what became of a request for access.",
		"Your request for ${accessName}: ${decision}",
		"<p>Hello ${recipientName},</p>\n<p>${deciderName} has decided on your request for <b>${accessName}</b>: ${decision}.</p>\n<p>${comment}</p>\n<p>${__global.productName}</p>\n",
		[]variable{
			text("accessName", "What was asked for.", "Payroll reports"), text("comment", "What the decider wrote; may be empty.", "For this quarter."),
			text("deciderName", "Who decided.", "Charles Babbage"), text("decision", "What was decided.", "approved"), recipientName,
		},
	}, {
		"access_request_submitted", "Access Request Submitted", "Tells an approver that somebody asks for access.",
		"${requesterName} asks for ${accessName}",
		"<p>Hello ${recipientName},</p>\n<p>${requesterName} asks for <b>${accessName}</b>. Please decide on it:</p>\n<p><a href=\"${requestUrl}\">Open the request</a></p>\n<p>${__global.productName}</p>\n",
		[]variable{
			text("accessName", "What is asked for.", "Payroll reports"), recipientName,
			text("requesterName", "Who asks.", "Grace Hopper"), text("requestUrl", "Where to decide.", "https://id.example.org/requests/17"),
		},
	}, {
		"approval_reminder", "Approval Reminder", "Reminds an approver of a request that waits.",
		"Still waiting for you: ${accessName}",
		"<p>Hello ${recipientName},</p>\n<p>The request of ${requesterName} for <b>${accessName}</b> has been waiting for ${daysOpen} days.</p>\n<p><a href=\"${requestUrl}\">Open the request</a></p>\n<p>${__global.productName}</p>\n",
		[]variable{
			text("accessName", "What is asked for.", "Payroll reports"), {"daysOpen", "integer", "How long it has been waiting.", "3"}, recipientName,
			text("requesterName", "Who asks.", "Grace Hopper"), text("requestUrl", "Where to decide.", "https://id.example.org/requests/17"),
		},
	}, {
		"certification_started", "Certification Started", "Tells a reviewer that a review of access has begun.",
		"Please review access: ${campaignName}",
		"<p>Hello ${recipientName},</p>\n<p>The review <b>${campaignName}</b> has begun. It is open until ${deadline}.</p>\n<p><a href=\"${campaignUrl}\">Begin with it</a></p>\n<p>${__global.productName}</p>\n",
		[]variable{
			text("campaignName", "Name of the review.", "Finance, third quarter"), text("campaignUrl", "Where to review.", "https://id.example.org/reviews/4"),
			text("deadline", "Until when.", "30 September 2026"), recipientName,
		},
	}, {
		"cloud_manual_work_item_summary", "Work Item Summary", "Lists how many tasks wait for somebody.",
		"${numberOfWorkItems} tasks are waiting for you",
		"<p>Hello ${recipientName},</p>\n<p>${numberOfWorkItems} tasks are waiting for you, the oldest since ${oldest}.</p>\n<p><a href=\"${workItemsUrl}\">See them all</a></p>\n<p>${__global.productName}</p>\n",
		[]variable{
			{"numberOfWorkItems", "integer", "How many there are.", "5"}, text("oldest", "Date of the oldest.", "1 September 2026"), recipientName,
			text("workItemsUrl", "Where they are.", "https://id.example.org/tasks"),
		},
	}, {
		"password_changed", "Password Changed", "Tells somebody that their password was changed.",
		"Your password was changed",
		"<p>Hello ${recipientName},</p>\n<p>Your password for ${sourceName} was changed at ${changedAt}. If that was not you, tell your help desk at once.</p>\n<p>${__global.productName}</p>\n",
		[]variable{text("changedAt", "When.", "1 September 2026, 09:30 UTC"), recipientName, text("sourceName", "Where it is used.", "Example directory")},
	},
}

func standardOf(key string) (standard, bool) {
	i := slices.IndexFunc(standards, func(s standard) bool { return s.key == key })
	if i < 0 {
		return standard{}, false
	}
	return standards[i], true
}

// names are those of all variables that the template can have.
func (s standard) names() (all []string) {
	for _, v := range slices.Concat(globals, s.variables) {
		all = append(all, v.Key)
	}
	return all
}

// template is what the core fills in where the tenant has none of its own. Its id
// names the text, as the core wants it.
func (s standard) template(from string) sender.Template {
	sum := sha256.Sum256([]byte(s.key + "\x00" + s.subject + "\x00" + s.body))
	return sender.Template{
		ID: sender.IDFromBytes([16]byte(sum[:16])), Type: s.key, Locale: sender.DefaultLocale, Spelling: string(sender.DefaultLocale),
		From: from, Subject: s.subject, Body: s.body, HTML: true, Charset: "utf-8",
	}
}

// GET notification-template-defaults.
func (e edge) defaults(ctx context.Context, p sender.Principal, q sender.Query) (listed[templateBody], error) {
	if _, err := e.core.AuthorizeWhole(ctx, p, p.Home, sender.RoleReader); err != nil {
		return listed[templateBody]{}, err
	}
	var all []templateBody
	for _, s := range standards {
		all = append(all, bodyOf(s, s.template(e.core.SystemSender().Address)))
	}
	return choose(all, q), nil
}

type contextBody struct {
	Attributes map[string]any `json:"attributes"`
	Created    string         `json:"created"`
	Modified   string         `json:"modified"`
}

// GET notification-template-context.
func (e edge) context(ctx context.Context, p sender.Principal, base string) (contextBody, error) {
	t, err := e.core.AuthorizeWhole(ctx, p, p.Home, sender.RoleReader)
	if err != nil {
		return contextBody{}, err
	}
	return contextBody{
		Attributes: map[string]any{
			"productUrl": base,
			"brandingConfigs": map[string]any{
				"default": map[string]any{"productName": t.Name, "emailFromAddress": e.core.SystemSender().Address},
			},
		},
		Created: timestamp(t.CreatedAt), Modified: timestamp(t.UpdatedAt),
	}, nil
}

func writeContext(w http.ResponseWriter, _ *http.Request, b contextBody) error {
	return api.WriteJSON(w, http.StatusOK, b)
}

type variablesBody struct {
	Key               string     `json:"key"`
	Medium            string     `json:"medium"`
	GlobalVariables   []variable `json:"globalVariables"`
	TemplateVariables []variable `json:"templateVariables"`
}

type variablesRequest struct {
	key, medium string
	query       sender.Query
}

var variableFields = api.Fields{"key": sorted(texts()), "type": sorted(texts()), "description": sorted(texts())}

func (v variable) field(name string) string {
	return map[string]string{"key": v.Key, "type": v.Type, "description": v.Description}[name]
}

func readVariables(r *http.Request) (in variablesRequest, err error) {
	in.key, in.medium = r.PathValue("key"), r.PathValue("medium")
	in.query, err = collection(variableFields)(r)
	return in, err
}

// GET notification-template-variables of a key and a medium.
func (e edge) variables(ctx context.Context, p sender.Principal, in variablesRequest) (variablesBody, error) {
	none := variablesBody{}
	if _, err := e.core.AuthorizeWhole(ctx, p, p.Home, sender.RoleReader); err != nil {
		return none, err
	}
	s, ok := standardOf(in.key)
	if !ok || in.medium != email {
		return none, sender.Errorf(sender.NotFound, "", "The requested notification template was not found.")
	}
	order := sender.Query{Sort: in.query.Sort, Limit: len(globals) + len(s.variables)}
	if order.Sort == nil {
		order.Sort = []sender.Sort{{Field: "key"}}
	}
	return variablesBody{in.key, in.medium, choose(globals, order).items, choose(s.variables, order).items}, nil
}

func writeVariables(w http.ResponseWriter, _ *http.Request, b variablesBody) error {
	return api.WriteJSON(w, http.StatusOK, b)
}
