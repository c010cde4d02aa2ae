package pingone_test

import (
	"net/http"
	"testing"

	"github.com/patrickcping/pingone-go-sdk-v2/management"
)

// TestTheVendorsClientKeepsDeliverySettings reads, sets and resets the SMTP server of an
// environment, as the Terraform provider does: a password goes in and none comes out.
func TestTheVendorsClientKeepsDeliverySettings(t *testing.T) {
	for name, connect := range map[string]func(*testing.T) *client{"straight over http": straight, "over https through the forward proxy": proxied} {
		t.Run(name, func(t *testing.T) {
			c := connect(t)
			api := c.NotificationsSettingsSMTPApi
			none := func(what string) {
				t.Helper()
				c.wants(t, 1, what, func() {
					got, resp, err := api.ReadEmailNotificationsSettings(t.Context(), c.env).Execute()
					succeeded(t, what, http.StatusOK, resp, err)
					if got == nil || got.NotificationsSettingsEmailDeliverySettingsSMTP != nil || got.NotificationsSettingsEmailDeliverySettingsCustom != nil {
						t.Errorf("%s: %s", what, show(got))
					}
				})
			}
			none("settings that nobody made")

			s := management.NewNotificationsSettingsEmailDeliverySettingsSMTP()
			s.SetHost("SMTP.example.org")
			s.SetPort(2525)
			s.SetUsername("postseal")
			s.SetPassword("hunter2")
			from := management.NewNotificationsSettingsEmailDeliverySettingsSMTPAllOfFrom("noreply@pingidentity.com")
			from.SetName("PingOne")
			s.SetFrom(*from)
			body := management.NotificationsSettingsEmailDeliverySettings{NotificationsSettingsEmailDeliverySettingsSMTP: s}
			same := func(what string, got *management.NotificationsSettingsEmailDeliverySettings) {
				t.Helper()
				g := got.NotificationsSettingsEmailDeliverySettingsSMTP
				if g == nil || g.GetHost() != "SMTP.example.org" || g.GetPort() != s.GetPort() || g.GetUsername() != "postseal" || g.HasPassword() || g.UpdatedAt == nil ||
					g.From == nil || g.From.GetAddress() != "noreply@pingidentity.com" || g.From.GetName() != "PingOne" || g.ReplyTo != nil || g.Environment.GetId() != c.env {
					t.Fatalf("%s: %s", what, show(got))
				}
				want := management.ENUMNOTIFICATIONSSETTINGSEMAILDELIVERYSETTINGSPROTOCOL_SMTP
				if s.GetPort() == 465 {
					want = management.ENUMNOTIFICATIONSSETTINGSEMAILDELIVERYSETTINGSPROTOCOL_SMTPS
				}
				if g.GetProtocol() != want {
					t.Errorf("%s: %s, want %s", what, g.GetProtocol(), want)
				}
			}
			c.wants(t, 1, "settings", func() {
				got, resp, err := api.UpdateEmailNotificationsSettings(t.Context(), c.env).NotificationsSettingsEmailDeliverySettings(body).Execute()
				succeeded(t, "settings", http.StatusOK, resp, err)
				same("what was set", got)
			})
			c.wants(t, 1, "settings again", func() {
				got, resp, err := api.ReadEmailNotificationsSettings(t.Context(), c.env).Execute()
				succeeded(t, "settings again", http.StatusOK, resp, err)
				same("what was kept", got)
			})
			s.Password, s.Port = nil, nil
			s.SetPort(465)
			c.wants(t, 1, "without a password", func() {
				got, resp, err := api.UpdateEmailNotificationsSettings(t.Context(), c.env).NotificationsSettingsEmailDeliverySettings(body).Execute()
				succeeded(t, "without a password", http.StatusOK, resp, err)
				same("what was changed", got)
			})
			s.SetHost("smtp.thief.example")
			c.wants(t, 1, "the password for another host", func() {
				_, resp, err := api.UpdateEmailNotificationsSettings(t.Context(), c.env).NotificationsSettingsEmailDeliverySettings(body).Execute()
				refused(t, "the password for another host", http.StatusBadRequest, "INVALID_DATA", "REQUIRED_VALUE/password", resp, err)
			})
			for range 2 { // a reset of what is reset is one
				c.wants(t, 1, "a reset", func() {
					resp, err := api.DeleteEmailDeliverySettings(t.Context(), c.env).Execute()
					succeeded(t, "a reset", http.StatusNoContent, resp, err)
				})
			}
			none("settings that were reset")
		})
	}
}

// TestTheVendorsClientKeepsAnHTTPProvider sends the form of HTTP providers and reads it
// back in the vendor's model, all but the secret, and goes to SMTP's and away.
func TestTheVendorsClientKeepsAnHTTPProvider(t *testing.T) {
	c := straight(t)
	api := c.NotificationsSettingsSMTPApi
	auth := management.NewNotificationsSettingsEmailDeliverySettingsCustomAllOfAuthentication(management.ENUMNOTIFICATIONSSETTINGSEMAILDELIVERYSETTINGSCUSTOMAUTHENTICATIONMETHOD_BEARER)
	auth.SetAuthToken("hunter2")
	request := management.NewNotificationsSettingsEmailDeliverySettingsCustomAllOfRequests(
		management.ENUMNOTIFICATIONSSETTINGSEMAILDELIVERYSETTINGSCUSTOMREQUESTSDELIVERYMETHOD_EMAIL,
		management.ENUMNOTIFICATIONSSETTINGSEMAILDELIVERYSETTINGSCUSTOMREQUESTSMETHOD_POST, "https://API.example.org/email?k=v&l=${to}")
	request.SetHeaders(map[string]string{"content-type": "application/json", "X-Key": "k"})
	request.SetBody(`{"From": "${from}", "To": "${to}", "message2": "<b>${message}</b>"}`)
	s := management.NewNotificationsSettingsEmailDeliverySettingsCustom(
		management.ENUMNOTIFICATIONSSETTINGSEMAILDELIVERYSETTINGSPROTOCOL_HTTP, *auth, "Example",
		[]management.NotificationsSettingsEmailDeliverySettingsCustomAllOfRequests{*request})
	s.SetProvider(management.ENUMNOTIFICATIONSSETTINGSEMAILDELIVERYSETTINGSCUSTOMPROVIDER_CUSTOM_PROVIDER)
	from := management.NewNotificationsSettingsEmailDeliverySettingsCustomAllOfFrom()
	from.SetName("")
	from.SetAddress("noreply@pingidentity.com")
	s.SetFrom(*from)
	put := func(what string, body management.NotificationsSettingsEmailDeliverySettings) (got *management.NotificationsSettingsEmailDeliverySettings) {
		t.Helper()
		c.wants(t, 1, what, func() {
			var resp *http.Response
			var err error
			got, resp, err = api.UpdateEmailNotificationsSettings(t.Context(), c.env).NotificationsSettingsEmailDeliverySettings(body).Execute()
			succeeded(t, what, http.StatusOK, resp, err)
		})
		return got
	}
	same := func(what string, got *management.NotificationsSettingsEmailDeliverySettings) {
		t.Helper()
		g := got.NotificationsSettingsEmailDeliverySettingsCustom
		if g == nil || g.UpdatedAt == nil || g.Environment.GetId() != c.env || got.NotificationsSettingsEmailDeliverySettingsSMTP != nil {
			t.Fatalf("%s: %s", what, show(got))
		}
		want := *s
		want.Authentication.AuthToken = nil // which goes in, and never comes out
		plain := *g
		plain.Links, plain.Environment, plain.UpdatedAt = nil, nil, nil
		if show(plain) != show(want) {
			t.Errorf("%s: %s, want %s", what, show(plain), show(want))
		}
	}
	custom := management.NotificationsSettingsEmailDeliverySettings{NotificationsSettingsEmailDeliverySettingsCustom: s}
	read := func(what string) (got *management.NotificationsSettingsEmailDeliverySettings) {
		t.Helper()
		c.wants(t, 1, what, func() {
			var resp *http.Response
			var err error
			got, resp, err = api.ReadEmailNotificationsSettings(t.Context(), c.env).Execute()
			succeeded(t, what, http.StatusOK, resp, err)
		})
		return got
	}
	same("what was set", put("an HTTP provider", custom))
	same("what was kept", read("the HTTP provider again"))

	smtp := management.NewNotificationsSettingsEmailDeliverySettingsSMTP()
	smtp.SetHost("smtp.example.org")
	if got := put("an SMTP server instead", management.NotificationsSettingsEmailDeliverySettings{NotificationsSettingsEmailDeliverySettingsSMTP: smtp}); got.NotificationsSettingsEmailDeliverySettingsSMTP == nil {
		t.Errorf("an SMTP server instead: %s", show(got))
	}
	s.Authentication.AuthToken = nil
	c.wants(t, 1, "a token of before that is gone", func() {
		_, resp, err := api.UpdateEmailNotificationsSettings(t.Context(), c.env).NotificationsSettingsEmailDeliverySettings(custom).Execute()
		refused(t, "a token of before that is gone", http.StatusBadRequest, "INVALID_DATA", "REQUIRED_VALUE/authentication.authToken", resp, err)
	})
	s.Authentication.SetAuthToken("hunter2")
	same("what was set again", put("the HTTP provider again", custom))
	c.wants(t, 1, "a reset", func() {
		resp, err := api.DeleteEmailDeliverySettings(t.Context(), c.env).Execute()
		succeeded(t, "a reset", http.StatusNoContent, resp, err)
	})
	if got := read("settings that were reset"); got.NotificationsSettingsEmailDeliverySettingsCustom != nil {
		t.Errorf("settings that were reset: %s", show(got))
	}
}
