package native

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/template"
)

type templateNew struct {
	Application sender.ID `json:"application,omitzero" doc:"Whose users get it; absent: the tenant's own. It stays."`
	Type        string    `json:"type" doc:"What it is for, in your words. There is one template for each application, type, locale and variant."`
	Locale      string    `json:"locale,omitzero" doc:"Such as en or pt-BR; en by default."`
	Variant     string    `json:"variant,omitzero" doc:"Tells it from others of the same type and locale; in any letter case."`
	From        string    `json:"from,omitzero" doc:"Absent: the tenant's default sender. A proven address, also with a display name: \"Name\" <address>."`
	ReplyTo     string    `json:"replyTo,omitzero" doc:"Likewise."`
	Subject     string    `json:"subject,omitzero"`
	Body        string    `json:"body,omitzero" doc:"With placeholders such as ${name}; ${OTP} is the one-time code."`
	ContentType string    `json:"contentType,omitzero" doc:"text/plain (default) or text/html."`
	Charset     string    `json:"charset,omitzero" doc:"What mail is written in; utf-8 by default."`
}

func (n templateNew) core() sender.NewTemplate { return sender.NewTemplate(n) }

// TemplateBody is a template.
type TemplateBody struct {
	ID          sender.ID `json:"id"`
	Application sender.ID `json:"application,omitzero"`
	Type        string    `json:"type"`
	Locale      string    `json:"locale" doc:"In its canonical form."`
	Variant     string    `json:"variant,omitzero"`
	From        string    `json:"from,omitzero" doc:"Absent: the tenant's default sender."`
	ReplyTo     string    `json:"replyTo,omitzero"`
	Subject     string    `json:"subject"`
	Body        string    `json:"body"`
	ContentType string    `json:"contentType"`
	Charset     string    `json:"charset"`
	CreatedAt   time.Time `json:"createdAt"`
	UpdatedAt   time.Time `json:"updatedAt"`
}

func templateOf(t sender.Template) TemplateBody {
	b := TemplateBody{
		ID: t.ID, Application: t.Application, Type: t.Type, Locale: string(t.Locale), Variant: t.VariantSpelling, From: t.From, ReplyTo: t.ReplyTo, Subject: t.Subject,
		Body: t.Body, ContentType: "text/plain", Charset: strings.ToLower(t.Charset), CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
	}
	if t.HTML {
		b.ContentType = "text/html"
	}
	return b
}

// templateUse is a template in a message to be sent.
type templateUse struct {
	Application sender.ID         `json:"application,omitzero"`
	Type        string            `json:"type" doc:"Of the fixed types of PingOne there is a default content where the tenant has no template."`
	Locale      string            `json:"locale,omitzero" doc:"en by default; where there is none in this locale, that of its language is taken, then the instance's last resort."`
	Variant     string            `json:"variant,omitzero" doc:"Taken where there is one in a locale, and else the template without."`
	Values      map[string]string `json:"values,omitzero" doc:"By the names of placeholders."`
	Code        string            `json:"code,omitzero" maxLength:"100" doc:"What ${otp} stands for. Mail with one is never sent twice, and counts for its recipient, who gets so many codes a day."`
}

type templatePreview struct {
	Subject  string           `json:"subject"`
	Text     string           `json:"text,omitzero"`
	HTML     string           `json:"html,omitzero"`
	Warnings []warningPreview `json:"warnings" doc:"What looks wrong with the template."`
}

type warningPreview struct {
	Code   string `json:"code"`
	Where  string `json:"where"`
	Detail string `json:"detail"`
}

func (e *edge) templates() {
	const path = "/v1/tenants/{tenant}/templates"
	tags := []string{"Templates"}
	register(e, huma.Operation{
		OperationID: "create-template", Method: http.MethodPost, Path: path, DefaultStatus: http.StatusCreated, Tags: tags, Summary: "Make a template", Errors: []int{http.StatusConflict},
		Description: "The sender must pass the trust rule now; where it does not any more when mail is sent, the built-in no-reply stands for it.",
	}, func(ctx context.Context, p sender.Principal, in *struct {
		TenantIn
		Body templateNew
	},
	) (*body[TemplateBody], error) {
		tenant, err := in.tenant()
		if err != nil {
			return nil, err
		}
		if in.Body.Application != "" {
			if _, err := parseID(string(in.Body.Application), "application"); err != nil {
				return nil, err
			}
		}
		t, err := e.service.CreateTemplate(ctx, p, tenant, in.Body.core())
		return &body[TemplateBody]{templateOf(t)}, err
	})
	register(e, huma.Operation{
		OperationID: "list-templates", Method: http.MethodGet, Path: path, Tags: tags, Summary: "List templates",
	}, func(ctx context.Context, p sender.Principal, in *struct {
		TenantIn
		PageIn
		Application string `query:"application" doc:"Only of this application."`
		Type        string `query:"type" doc:"Only of this type."`
		Locale      string `query:"locale" doc:"Only of this locale, in any form."`
	},
	) (*listOut[TemplateBody], error) {
		tenant, err := in.tenant()
		if err != nil {
			return nil, err
		}
		filter := sender.TemplateFilter{Application: sender.ID(in.Application), AnyApplication: in.Application == "", Type: in.Type}
		if in.Locale != "" {
			if filter.Locale, err = template.ParseLocale(in.Locale); err != nil {
				return nil, sender.Errorf(sender.Invalid, "locale", "%s", err.Error())
			}
		}
		ask := func(page sender.Page) ([]sender.Template, error) {
			return e.service.Templates(ctx, p, tenant, filter, page)
		}
		return paged(in.PageIn, ask, func(t sender.Template) sender.ID { return t.ID }, templateOf)
	})
	// OneTemplateIn names one. (huma reads exported embedded structs only.)
	type OneTemplateIn struct {
		TenantIn
		Template string `path:"template"`
	}
	one := func(in OneTemplateIn) (tenant, id sender.ID, err error) {
		if tenant, err = in.tenant(); err == nil {
			id, err = parseID(in.Template, "template")
		}
		return tenant, id, err
	}
	register(e, huma.Operation{
		OperationID: "get-template", Method: http.MethodGet, Path: path + "/{template}", Tags: tags, Summary: "Get a template",
	}, func(ctx context.Context, p sender.Principal, in *OneTemplateIn) (*body[TemplateBody], error) {
		tenant, id, err := one(*in)
		if err != nil {
			return nil, err
		}
		t, err := e.service.Template(ctx, p, tenant, "", id)
		return &body[TemplateBody]{templateOf(t)}, err
	})
	register(e, huma.Operation{
		OperationID: "replace-template", Method: http.MethodPut, Path: path + "/{template}", Tags: tags, Summary: "Write a template anew, as a whole",
		Errors: []int{http.StatusConflict},
	}, func(ctx context.Context, p sender.Principal, in *struct {
		OneTemplateIn
		Body templateNew
	},
	) (*body[TemplateBody], error) {
		tenant, id, err := one(in.OneTemplateIn)
		if err != nil {
			return nil, err
		}
		t, err := e.service.ReplaceTemplate(ctx, p, tenant, in.Body.Application, id, in.Body.core())
		return &body[TemplateBody]{templateOf(t)}, err
	})
	register(e, huma.Operation{
		OperationID: "delete-template", Method: http.MethodDelete, Path: path + "/{template}", DefaultStatus: http.StatusNoContent, Tags: tags, Summary: "Delete a template",
	}, func(ctx context.Context, p sender.Principal, in *OneTemplateIn) (*struct{}, error) {
		tenant, id, err := one(*in)
		if err != nil {
			return nil, err
		}
		return nil, e.service.DeleteTemplate(ctx, p, tenant, "", id)
	})
	register(e, huma.Operation{
		OperationID: "preview-template", Method: http.MethodPost, Path: path + "/{template}/preview", Tags: tags,
		Summary: "Fill a template in without sending it, and say what looks wrong with it",
	}, func(ctx context.Context, p sender.Principal, in *struct {
		OneTemplateIn
		Body struct {
			Values map[string]string `json:"values,omitzero"`
		}
	},
	) (*body[templatePreview], error) {
		tenant, id, err := one(in.OneTemplateIn)
		if err != nil {
			return nil, err
		}
		r, warnings, err := e.service.Preview(ctx, p, tenant, id, in.Body.Values)
		if err != nil {
			return nil, err
		}
		b := templatePreview{Subject: r.Subject, Text: r.Text, HTML: r.HTML, Warnings: make([]warningPreview, len(warnings))}
		for i, w := range warnings {
			b.Warnings[i] = warningPreview(w)
		}
		return &body[templatePreview]{b}, nil
	})
}
