package pingone_test

import (
	"net/http"
	"testing"

	"github.com/patrickcping/pingone-go-sdk-v2/management"
)

// TestTheVendorsClientKeepsTemplatesAndSettings walks through every call that the
// client has for templates, their contents and the notification settings.
func TestTheVendorsClientKeepsTemplatesAndSettings(t *testing.T) {
	for name, connect := range map[string]func(*testing.T) *client{"straight over http": straight, "over https through the forward proxy": proxied} {
		t.Run(name, func(t *testing.T) {
			c := connect(t)
			c.templatesAreRead(t)
			c.contentsAreKept(t)
			c.settingsAreKept(t)
			c.environmentsAreTheOperators(t)
		})
	}
}

func (c *client) templatesAreRead(t *testing.T) {
	found := map[string]bool{}
	c.wants(t, 4, "templates, in pages of five", func() {
		for page, err := range c.NotificationsTemplatesApi.ReadAllTemplates(t.Context(), c.env).Limit(5).Execute() {
			succeeded(t, "a page of templates", http.StatusOK, page.HTTPResponse, err)
			for _, one := range page.EntityArray.Embedded.GetTemplates() {
				if found[one.GetId()] = true; one.DisplayName == "" || len(one.DeliveryMethods) != 1 || one.DeliveryMethods[0] != "Email" || len(one.Variables) == 0 {
					t.Errorf("a template: %s", show(one))
				}
			}
		}
	})
	for _, name := range management.AllowedEnumTemplateNameEnumValues {
		if name != "UNKNOWN" && !found[string(name)] {
			t.Errorf("the template %s is not there", name)
		}
	}
	c.wants(t, 1, "one template", func() {
		one, resp, err := c.NotificationsTemplatesApi.ReadOneTemplate(t.Context(), c.env, management.ENUMTEMPLATENAME_DEVICE_PAIRING).Execute()
		succeeded(t, "one template", http.StatusOK, resp, err)
		if one.GetId() != "device_pairing" {
			t.Errorf("one template: %s", show(one))
		}
	})
}

func (c *client) contentsAreKept(t *testing.T) {
	api := c.NotificationsTemplatesApi
	const general = management.ENUMTEMPLATENAME_GENERAL
	sent := management.NewTemplateContentEmail("en", management.ENUMTEMPLATECONTENTDELIVERYMETHOD_EMAIL, " <p>Hello ${user.name.given}</p>\n")
	sent.SetVariant("Spring")
	sent.SetSubject("Hello ${user.name.given}")
	from := management.NewTemplateContentEmailAllOfFrom()
	from.SetAddress("noreply@pingidentity.com")
	from.SetName("PingOne")
	sent.SetFrom(*from)
	body := management.TemplateContent{TemplateContentEmail: sent}
	same := func(what string, got *management.TemplateContent) {
		t.Helper()
		e := got.TemplateContentEmail
		if e == nil || e.GetBody() != sent.GetBody() || e.GetVariant() != sent.GetVariant() || e.GetSubject() != sent.GetSubject() || e.GetCharset() != "UTF-8" ||
			e.GetEmailContentType() != "text/html" || e.GetLocale() != "en" || e.From == nil || e.From.GetAddress() != "noreply@pingidentity.com" || e.From.GetName() != "PingOne" ||
			e.ReplyTo != nil || e.GetDefault() || !uuid.MatchString(e.GetId()) {
			t.Errorf("%s: %s", what, show(got))
		}
	}
	var id string
	c.wants(t, 4, "a content is made, read, written and refused", func() {
		made, resp, err := api.CreateContent(t.Context(), c.env, general).TemplateContent(body).Execute()
		succeeded(t, "a content", http.StatusCreated, resp, err)
		same("made", made)
		id = made.TemplateContentEmail.GetId()
		read, resp, err := api.ReadOneContent(t.Context(), c.env, general, id).Execute()
		succeeded(t, "reading it", http.StatusOK, resp, err)
		same("read", read)
		written, resp, err := api.UpdateContent(t.Context(), c.env, general, id).TemplateContent(body).Execute()
		succeeded(t, "writing it anew", http.StatusOK, resp, err)
		same("written", written)
		_, resp, err = api.CreateContent(t.Context(), c.env, general).TemplateContent(body).Execute()
		refused(t, "the same again", http.StatusBadRequest, "INVALID_DATA", "UNIQUENESS_VIOLATION/variant", resp, err)
	})
	c.wants(t, 2, "contents that are refused", func() {
		sms := management.NewTemplateContentSMS("en", management.ENUMTEMPLATECONTENTDELIVERYMETHOD_SMS, "x")
		_, resp, err := api.CreateContent(t.Context(), c.env, general).TemplateContent(management.TemplateContent{TemplateContentSMS: sms}).Execute()
		refused(t, "an SMS", http.StatusBadRequest, "INVALID_DATA", "INVALID_VALUE/deliveryMethod", resp, err)
		_, resp, err = api.CreateContent(t.Context(), c.env, management.ENUMTEMPLATENAME_DEVICE_PAIRING).TemplateContent(body).Execute()
		refused(t, "a pairing without its code", http.StatusBadRequest, "INVALID_DATA", "REQUIRED_VALUE/body", resp, err)
	})
	list := func(filter string) (n int) {
		for page, err := range api.ReadAllTemplateContents(t.Context(), c.env, general).Execute() {
			succeeded(t, "contents", http.StatusOK, page.HTTPResponse, err)
			for _, one := range page.EntityArray.Embedded.GetContents() {
				if e := one.TemplateContentEmail; e == nil {
					t.Errorf("not an email: %s", show(one))
				} else if e.GetVariant() == filter {
					n++
				}
			}
		}
		return n
	}
	c.wants(t, 5, "a variant is renamed, and deleted", func() {
		_, resp, err := api.PatchBulkVariantContents(t.Context(), c.env, general).Filter(`variant eq "spring"`).Body(map[string]any{"variant": "Summer"}).ExecuteInitialPage()
		succeeded(t, "renaming", http.StatusOK, resp, err)
		if list("Summer") != 1 || list("Spring") != 0 {
			t.Error("it was not renamed")
		}
		resp, err = api.DeleteBulkVariantContents(t.Context(), c.env, general).Filter(`variant eq "summer"`).Execute()
		succeeded(t, "deleting", http.StatusNoContent, resp, err)
		_, resp, err = api.ReadOneContent(t.Context(), c.env, general, id).Execute()
		refused(t, "what is gone", http.StatusNotFound, "NOT_FOUND", "", resp, err)
	})
	c.wants(t, 2, "deleting one", func() {
		made, resp, err := api.CreateContent(t.Context(), c.env, general).TemplateContent(body).Execute()
		succeeded(t, "a content", http.StatusCreated, resp, err)
		resp, err = api.DeleteContent(t.Context(), c.env, general, made.TemplateContentEmail.GetId()).Execute()
		succeeded(t, "deleting it", http.StatusNoContent, resp, err)
	})
}

func (c *client) settingsAreKept(t *testing.T) {
	api := c.NotificationsSettingsApi
	c.wants(t, 4, "settings are read, written, refused and reset", func() {
		read, resp, err := api.ReadNotificationsSettings(t.Context(), c.env).Execute()
		succeeded(t, "settings", http.StatusOK, resp, err)
		if read.Environment == nil || read.Environment.GetId() != c.env || read.From == nil || read.UpdatedAt == nil || read.GetDeliveryMode() != management.ENUMNOTIFICATIONSSETTINGSDELIVERYMODE_ALL {
			t.Errorf("at first: %s", show(read))
		}
		builtin := read.From.GetAddress()
		var set management.NotificationsSettings
		from := management.NewNotificationsSettingsFrom()
		from.SetAddress("noreply@pingidentity.com")
		from.SetName("PingOne")
		set.SetFrom(*from)
		written, resp, err := api.UpdateNotificationsSettings(t.Context(), c.env).NotificationsSettings(set).Execute()
		succeeded(t, "writing them", http.StatusOK, resp, err)
		if written.From.GetAddress() != "noreply@pingidentity.com" || written.From.GetName() != "PingOne" || written.ReplyTo != nil {
			t.Errorf("written: %s", show(written))
		}
		from.SetAddress("nobody@elsewhere.example")
		set.SetFrom(*from)
		_, resp, err = api.UpdateNotificationsSettings(t.Context(), c.env).NotificationsSettings(set).Execute()
		refused(t, "a sender that is not trusted", http.StatusBadRequest, "INVALID_DATA", "INVALID_VALUE/from", resp, err)
		reset, resp, err := api.DeleteNotificationsSettings(t.Context(), c.env).Execute()
		succeeded(t, "resetting them", http.StatusOK, resp, err)
		if reset.From.GetAddress() != builtin {
			t.Errorf("reset: %s", show(reset))
		}
	})
}

func (c *client) environmentsAreTheOperators(t *testing.T) {
	c.wants(t, 2, "a worker of one environment makes and deletes none", func() {
		region := management.ENUMREGIONCODE_NA
		x := management.Environment{Name: "x", Type: management.ENUMENVIRONMENTTYPE_SANDBOX, Region: management.EnvironmentRegion{EnumRegionCode: &region}}
		_, resp, err := c.EnvironmentsApi.CreateEnvironmentActiveLicense(t.Context()).Environment(x).Execute()
		refused(t, "making one", http.StatusForbidden, "ACCESS_FAILED", "INSUFFICIENT_PERMISSIONS/", resp, err)
		resp, err = c.EnvironmentsApi.DeleteEnvironment(t.Context(), c.env).Execute()
		refused(t, "deleting one", http.StatusForbidden, "ACCESS_FAILED", "INSUFFICIENT_PERMISSIONS/", resp, err)
	})
}
