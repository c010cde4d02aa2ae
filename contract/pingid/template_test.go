package pingid_test

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// builtin is a sender that counts as verified for every account (section 3.1).
const builtin = "noreply@pingidentity.com"

// seed is the template of the seed's samples, as it is answered.
func seed() obj {
	return obj{
		"fromAddress": builtin, "emailSubject": "subject!", "emailBody": "mail body ${OTP}", "replyToAddress": builtin,
		"contentType": "text/html", "characterSet": "utf-8", "locale": "en", "type": "authentication", "emailBodyEncoding": "RAW",
	}
}

// asSent is how the samples send it.
func asSent() obj {
	return with(seed(), obj{
		"fromAddress": "noreply%40pingidentity.com", "replyToAddress": "noreply%40pingidentity.com",
		"emailBody": "bWFpbCBib2R5ICR7T1RQfQ==", "characterSet": "UTF-8", "emailBodyEncoding": "base64",
	})
}

func (c *client) templates(app string, more ...string) string {
	return c.at(append([]string{"applications", app, "emailconfigurations"}, more...)...)
}

func TestTemplateIsCreatedReadReplacedAndDeleted(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		app := c.application(t)
		created := c.post(t, c.templates(app), asSent())
		template := id(t, created)
		want := with(seed(), obj{"id": template})
		same(t, "POST", want, created)
		same(t, "GET", want, c.get(t, c.templates(app, template)))
		same(t, "GET with the ids in capitals", want, c.get(t, c.templates(strings.ToUpper(app), strings.ToUpper(template))))
		same(t, "GET of the list", obj{"emailconfigurations": list{want}}, c.get(t, c.templates(app)))
		same(t, "GET with expand", want, c.get(t, c.templates(app, template)+"?expand=account"))

		// The second sample of the seed: placeholders, raw.
		placeholders := with(seed(), obj{"emailSubject": "${greeting} ${user}!", "emailBody": "Hi ${USR}, your OTP is ${OTP}.", "emailBodyEncoding": "raw"})
		want = with(placeholders, obj{"emailBodyEncoding": "RAW", "id": template})
		same(t, "PUT", want, c.put(t, c.templates(app, template), placeholders))
		same(t, "GET after PUT", want, c.get(t, c.templates(app, template)))

		// PUT replaces the whole, and an id in a body is ignored.
		less := obj{"fromAddress": builtin, "emailBody": "[${otp}]", "type": "another", "id": newUUID()}
		same(t, "PUT of less", defaults(less, template), noEmpty(c.put(t, c.templates(app, template), less)))
		same(t, "GET after PUT of less", defaults(less, template), noEmpty(c.get(t, c.templates(app, template))))

		c.delete(t, c.templates(app, template))
		const gone = "404 NOT_FOUND emailConfiguration NOT_FOUND"
		c.refused(t, gone, newRequest("GET", c.templates(app, template), nil))
		c.refused(t, gone, newRequest("PUT", c.templates(app, template), seed()))
		c.refused(t, gone, newRequest("DELETE", c.templates(app, template), nil))
		c.refused(t, gone, newRequest("GET", c.templates(app, "nonsense"), nil))
		same(t, "GET of the empty list", obj{"emailconfigurations": list{}}, c.get(t, c.templates(app)))

		const noApp = "404 NOT_FOUND application NOT_FOUND"
		c.refused(t, noApp, newRequest("GET", c.templates(newUUID()), nil))
		c.refused(t, noApp, newRequest("POST", c.templates(newUUID()), seed()))
		c.refused(t, noApp, newRequest("GET", c.templates(newUUID(), template), nil))

		// Another application's template is none of this one.
		elsewhere := id(t, c.post(t, c.templates(c.application(t)), seed()))
		c.refused(t, gone, newRequest("GET", c.templates(app, elsewhere), nil))
		c.refused(t, gone, newRequest("DELETE", c.templates(app, elsewhere), nil))
	})
}

// defaults is what a template is answered as that left things out.
func defaults(sent obj, id string) obj {
	return with(with(obj{"contentType": "text/plain", "characterSet": "utf-8", "locale": "en"}, sent), obj{"emailBodyEncoding": "RAW", "id": id})
}

// noEmpty leaves out empty subjects and bodies: whether they are answered as "" or
// not at all is open.
func noEmpty(o obj) obj {
	for _, name := range []string{"emailSubject", "emailBody"} {
		if o[name] == "" {
			delete(o, name)
		}
	}
	return o
}

func TestTemplateDefaults(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		app := c.application(t)
		for _, sent := range []obj{
			{"fromAddress": builtin, "emailBody": "only a body"},
			{"fromAddress": builtin, "emailSubject": "only a subject"},
			{"fromAddress": builtin, "emailSubject": "s", "emailBody": ""},
		} {
			sent["type"] = unique("defaults")
			created := c.post(t, c.templates(app), sent)
			same(t, "POST", noEmpty(defaults(sent, id(t, created))), noEmpty(created))
		}
	})
}

func TestTemplateFieldsAreJudged(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		app := c.application(t)
		existing := id(t, c.post(t, c.templates(app), with(seed(), obj{"type": "existing"})))
		for _, r := range []struct {
			changes obj
			detail  string
		}{
			{obj{"fromAddress": nil}, "REQUIRED_VALUE/fromAddress"},
			{obj{"fromAddress": ""}, "EMPTY_VALUE"},
			{obj{"fromAddress": "not an address"}, "INVALID_VALUE/fromAddress"},
			{obj{"fromAddress": "unverified@example.com"}, "INVALID_VALUE/fromAddress"},
			{obj{"fromAddress": `"Name" <unverified@example.com>`}, "INVALID_VALUE/fromAddress"},
			{obj{"fromAddress": `"noreply@pingidentity.com" <unverified@example.com>`}, "INVALID_VALUE/fromAddress"},
			{obj{"fromAddress": builtin + ", " + builtin}, "INVALID_VALUE/fromAddress"},
			{obj{"fromAddress": "Group: " + builtin + ";"}, "INVALID_VALUE/fromAddress"},
			{obj{"fromAddress": "Name\r\nBcc: x@example.com <" + builtin + ">"}, "INVALID_VALUE/fromAddress"},
			{obj{"fromAddress": "\"Name\r\nBcc: x@example.com\" <" + builtin + ">"}, "INVALID_VALUE/fromAddress"},
			{obj{"fromAddress": "\"Na\x00me\" <" + builtin + ">"}, "INVALID_VALUE/fromAddress"},
			{obj{"fromAddress": "\"Na\tme\x1b\" <" + builtin + ">"}, "INVALID_VALUE/fromAddress"},
			{obj{"fromAddress": `'"Name" <` + builtin + `>'`}, "INVALID_VALUE/fromAddress"},
			{obj{"replyToAddress": "unverified@example.com"}, "INVALID_VALUE/replyToAddress"},
			{obj{"replyToAddress": "not an address"}, "INVALID_VALUE/replyToAddress"},
			{obj{"replyToAddress": builtin + ", " + builtin}, "INVALID_VALUE/replyToAddress"},
			{obj{"emailSubject": nil, "emailBody": nil}, "EMPTY_VALUE"},
			{obj{"emailSubject": "", "emailBody": ""}, "EMPTY_VALUE"},
			{obj{"type": nil}, "REQUIRED_VALUE/type"},
			{obj{"type": ""}, "EMPTY_VALUE"},
			{obj{"type": strings.Repeat("x", 101)}, "INVALID_VALUE/type|SIZE_LIMIT_EXCEEDED/type"},
			{obj{"contentType": "image/png"}, "INVALID_VALUE/contentType"},
			{obj{"contentType": "text/html\r\nBcc: x@example.com"}, "INVALID_VALUE/contentType"},
			{obj{"characterSet": "nonsense"}, "INVALID_VALUE/characterSet"},
			{obj{"characterSet": "utf-8\r\nBcc: x@example.com"}, "INVALID_VALUE/characterSet"},
			{obj{"emailBodyEncoding": "gzip"}, "INVALID_VALUE/emailBodyEncoding"},
			{obj{"emailBodyEncoding": "base64", "emailBody": "?!"}, "INVALID_VALUE/emailBody"},
			{obj{"emailBodyEncoding": "base64", "emailBody": "bWFpbCBib2R5ICR7T1RQf"}, "INVALID_VALUE/emailBody"},
			{obj{"emailBodyEncoding": "base64", "emailBody": "8J-YgA=="}, "INVALID_VALUE/emailBody"}, // the alphabet of URLs
			{obj{"emailBodyEncoding": "base64", "emailBody": "/w=="}, "INVALID_VALUE/emailBody"},     // no UTF-8
			// Whether the text or the charset is at fault is open.
			{obj{"characterSet": "ISO-8859-1", "emailBody": "日本 ${OTP}", "emailBodyEncoding": "raw"}, "INVALID_VALUE/emailBody|INVALID_VALUE/characterSet"},
			{obj{"characterSet": "US-ASCII", "emailBody": "é ${OTP}", "emailBodyEncoding": "raw"}, "INVALID_VALUE/emailBody|INVALID_VALUE/characterSet"},
			// The limits are the PingOne twin's.
			{obj{"emailSubject": strings.Repeat("s", 257)}, "SIZE_LIMIT_EXCEEDED|INVALID_VALUE"},
			{obj{"emailBody": strings.Repeat("b", 100<<10+1)}, "SIZE_LIMIT_EXCEEDED|INVALID_VALUE"},
			{obj{"type": "existing"}, "UNIQUE_VALUE_REQUIRED"},
		} {
			bad := with(with(seed(), obj{"type": "judged"}), r.changes)
			// How an exceeded size is called at the top is open.
			want := "400 INVALID_DATA|REQUEST_FAILED emailConfiguration " + r.detail
			if !strings.Contains(r.detail, "SIZE_LIMIT") {
				want = "400 INVALID_DATA emailConfiguration " + r.detail
			}
			c.refused(t, want, newRequest("POST", c.templates(app), bad))
			if r.detail != "UNIQUE_VALUE_REQUIRED" { // PUT validates as POST does
				c.refused(t, want, newRequest("PUT", c.templates(app, existing), bad))
			}
		}
		same(t, "the template that was there", with(seed(), obj{"type": "existing", "id": existing}), c.get(t, c.templates(app, existing)))
	})
}

func TestTemplateValuesAreNormalised(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		app := c.application(t)
		for _, r := range []struct{ sent, answered obj }{
			{obj{"fromAddress": "  " + builtin + " "}, obj{"fromAddress": builtin}},
			{obj{"fromAddress": "noreply%40pingidentity.com"}, obj{"fromAddress": builtin}},
			{obj{"replyToAddress": " noreply%40pingidentity.com"}, obj{"replyToAddress": builtin}},
			{obj{"characterSet": "ISO-8859-1"}, obj{"characterSet": "iso-8859-1"}},
			{obj{"characterSet": "Latin1"}, obj{"characterSet": "latin1"}}, // an alias stays one
			{obj{"characterSet": "windows-1252"}, obj{}},
			{obj{"characterSet": "Shift_JIS"}, obj{"characterSet": "shift_jis"}},
			{obj{"emailBodyEncoding": "RaW", "emailBody": "x"}, obj{"emailBodyEncoding": "RAW"}},
			{obj{"emailBodyEncoding": "BASE64", "emailBody": "bWFpbA=="}, obj{"emailBody": "mail", "emailBodyEncoding": "RAW"}},
			{obj{"emailBodyEncoding": "base64", "emailBody": "bWFpbA"}, obj{"emailBody": "mail", "emailBodyEncoding": "RAW"}},
			{obj{"emailBodyEncoding": "base64", "emailBody": "ZOlq4A==", "characterSet": "iso-8859-1"}, obj{"emailBody": "déjà", "emailBodyEncoding": "RAW"}},
			{obj{"emailBodyEncoding": "base64", "emailBody": "8J+YgA=="}, obj{"emailBody": "😀", "emailBodyEncoding": "RAW"}},
			// These are taken as they are.
			{obj{"emailSubject": "50%40 off", "emailBody": " 50%40\r\n", "emailBodyEncoding": "raw"}, obj{"emailBodyEncoding": "RAW"}},
			{obj{"type": "a%40b C"}, obj{}},
			{obj{"type": strings.Repeat("ü", 100)}, obj{}},
			{obj{"emailBody": strings.Repeat("b", 100<<10-1)}, obj{}},
			{obj{"emailSubject": strings.Repeat("é", 256)}, obj{}},
		} {
			sent := with(with(seed(), obj{"type": unique("type")}), r.sent)
			created := c.post(t, c.templates(app), sent)
			same(t, "POST", with(with(sent, r.answered), obj{"id": id(t, created)}), created)
			if sent["type"] == r.sent["type"] {
				c.delete(t, c.templates(app, id(t, created))) // so that there is room for it again
			}
		}
		// In what case a content type comes back is open.
		created := c.post(t, c.templates(app), with(seed(), obj{"contentType": "TEXT/Plain", "type": unique("type")}))
		if got := text(t, created, "contentType"); !strings.EqualFold(got, "text/plain") {
			t.Errorf("content type TEXT/Plain comes back as %q", got)
		}
	})
}

func TestTemplateLocales(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		app := c.application(t)
		for _, locale := range []string{"en", "DE", "pt-BR", "pt_PT", "zh-cn", "FR_ca", "fil", "fil-PH", "Es-mx"} {
			sent := with(seed(), obj{"locale": locale, "type": "locales"})
			created := c.post(t, c.templates(app), sent)
			same(t, "locale "+locale, with(sent, obj{"id": id(t, created)}), created)
		}
		for _, locale := range []string{"e", "english", "xx", "en-ZZ", "en-", "-US", "en--US", "en US", "en-US-x", "en.UTF-8", "en-840", "1n", "*", "en\r\n"} {
			c.refused(t, "400 INVALID_DATA emailConfiguration INVALID_VALUE/locale", newRequest("POST", c.templates(app), with(seed(), obj{"locale": locale, "type": "locales"})))
		}
		// Which of these codes an empty one gets, if it is not the default, is open.
		if a := c.call(t, newRequest("POST", c.templates(app), with(seed(), obj{"locale": "", "type": "empty"}))); a.status != 201 {
			if err := a.refusal("400 INVALID_DATA emailConfiguration EMPTY_VALUE|INVALID_VALUE"); err != nil {
				t.Errorf("%v\n\t%v", a, err)
			}
		}
	})
}

func TestTemplateIsUniqueAndFoundByTypeAndLocale(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		app := c.application(t)
		post := func(locale, kind string) string {
			return id(t, c.post(t, c.templates(app), with(seed(), obj{"locale": locale, "type": kind})))
		}
		en, brazil, capital, spaced := post("en", "auth"), post("pt_br", "auth"), post("en", "Auth"), post("en", "a b&c=ü")

		const taken = "400 INVALID_DATA emailConfiguration UNIQUE_VALUE_REQUIRED"
		for _, r := range [][2]string{{"en", "auth"}, {"EN", "auth"}, {"pt-BR", "auth"}, {"PT_BR", "auth"}} {
			c.refused(t, taken, newRequest("POST", c.templates(app), with(seed(), obj{"locale": r[0], "type": r[1]})))
		}
		c.refused(t, taken, newRequest("PUT", c.templates(app, capital), with(seed(), obj{"locale": "Pt-Br", "type": "auth"})))
		c.put(t, c.templates(app, en), with(seed(), obj{"locale": "EN", "type": "auth"})) // its own place
		post("en", "pt")                                                                  // neither of them is the other

		for query, want := range map[string][]string{
			"type=auth":                      {en, brazil},
			"type=Auth":                      {capital},
			"type=AUTH":                      {},
			"type=auth&locale=en":            {en},
			"locale=eN&type=auth":            {en},
			"type=auth&locale=pt-BR":         {brazil},
			"type=auth&locale=PT_br":         {brazil},
			"type=auth&locale=pt":            {}, // no fallback here
			"type=auth&locale=en-US":         {},
			"locale=pt-br":                   {brazil},
			"type=a%20b%26c%3D%C3%BC":        {spaced},
			"type=a+b%26c%3d%c3%bc":          {spaced},
			"type=nothing":                   {},
			"type=auth&locale=en&other=what": {en},
		} {
			got := c.get(t, c.templates(app)+"?"+query)
			all, _ := got["emailconfigurations"].(list)
			same(t, query, obj{"emailconfigurations": all}, got)
			ids := []string{}
			for _, e := range all {
				o, ok := e.(obj)
				if !ok {
					t.Fatalf("%s: %v", query, e)
				}
				same(t, query, with(seed(), obj{"type": o["type"], "locale": o["locale"], "id": o["id"]}), o)
				ids = append(ids, id(t, o))
			}
			slices.Sort(ids)
			slices.Sort(want)
			same(t, query, want, ids)
		}

		// The same pair in another application is free, and so is one that was deleted.
		c.post(t, c.templates(c.application(t)), with(seed(), obj{"type": "auth"}))
		c.delete(t, c.templates(app, en))
		post("en", "auth")
	})
}

func TestNamesAreTakenOnceEvenAtTheSameTime(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		app := c.application(t)
		domain, name := c.domain(t)
		username := unique("user")
		for _, r := range []struct {
			path   string
			body   obj
			target string
		}{
			{c.at("emaildomains"), obj{"domainName": unique("once") + ".example.org"}, "emailDomain"},
			{c.at("emaildomains", domain, "trustedemails"), obj{"emailAddress": "once@" + name}, "trustedEmail"},
			{c.templates(app), with(seed(), obj{"type": "once"}), "emailConfiguration"},
			{c.at("applications"), obj{"id": newUUID(), "name": unique("App")}, "application"},
			{c.at("users"), obj{"username": username}, "User"},
		} {
			one := only(t, c.rush(t, 12, func() request { return newRequest("POST", r.path, r.body) }), 201,
				"400 INVALID_DATA "+r.target+" UNIQUE_VALUE_REQUIRED|RESOURCE_ALREADY_EXISTS")
			if r.target == "emailDomain" && one.status == 201 {
				c.later(t, r.path+"/"+id(t, one.object(t)))
			}
		}
	})
}

func TestTemplateAliasOfTheSamplesDelete(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		app := c.application(t)
		template := id(t, c.post(t, c.templates(app), seed()))
		// An alias or unknown, both are right.
		a := c.wants(t, newRequest("DELETE", c.templates(app, "emailconfigurations", template), nil), 204, 404)
		c.wants(t, newRequest("GET", c.templates(app, template), nil), map[int]int{204: 404, 404: 200}[a.status])
		if a := c.call(t, newRequest("GET", c.templates(app, "emailconfigurations", template), nil)); a.status != 404 && a.status != 405 {
			t.Errorf("%v\n\tthe alias is for DELETE only", a)
		}
	})
}

// desk is an application whose one user reads what its templates become.
type desk struct {
	*client
	app, user string
	box       *mailbox
}

func (c *client) desk(t *testing.T) desk {
	t.Helper()
	d := desk{client: c, app: c.application(t), user: c.user(t), box: newMailbox()}
	c.pair(t, d.app, d.user, obj{"recipient": d.box.address, "automaticPairing": true})
	return d
}

// template makes one of a new type, with a code that the tests find.
func (d desk) template(t *testing.T, changes obj) (kind, id string) {
	t.Helper()
	kind = unique("desk")
	created := d.post(t, d.templates(d.app), with(obj{"fromAddress": builtin, "emailSubject": "Your code", "emailBody": "[${OTP}]", "type": kind}, changes))
	return kind, text(t, created, "id")
}

// letter starts an authentication with that template and reads the mail.
func (d desk) letter(t *testing.T, kind string, call obj) letter {
	t.Helper()
	a := d.authenticate(t, d.app, d.user, with(obj{"emailConfigurationType": kind}, call))
	if a.Status != "OTP" {
		t.Fatalf("the authentication is %+v, want OTP", a)
	}
	return d.box.next(t)
}

func TestMailIsInTheCharsetOfItsTemplate(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		d := c.desk(t)
		for _, r := range []struct {
			charset, body, encoding string
			value, want             string // want is in the charset
		}{
			{"ISO-8859-1", "Ihr Schlüssel, ${name}: [${OTP}] déjà", "raw", "Zoë", "Ihr Schl\xfcssel, Zo\xeb: ["},
			{"iso-8859-1", base64.StdEncoding.EncodeToString([]byte("Schl\xfcssel ${name} [${OTP}] d\xe9j\xe0")), "base64", "Zoë", "Schl\xfcssel Zo\xeb ["},
			{"UTF-8", "Ключ ${name} [${OTP}] déjà", "raw", "日本", "Ключ 日本 ["},
		} {
			kind, _ := d.template(t, obj{"characterSet": r.charset, "emailBody": r.body, "emailBodyEncoding": r.encoding, "emailSubject": "Überprüfung ${name}"})
			l := d.letter(t, kind, obj{"emailParameters": obj{"name": r.value}})
			if l.charset != strings.ToLower(r.charset) || l.media != "text/plain" {
				t.Errorf("the mail is %s in %q, want text/plain in %q", l.media, l.charset, r.charset)
			}
			if !strings.HasPrefix(string(l.body), r.want) {
				t.Errorf("the mail begins with %q, want %q", l.body, r.want)
			}
			if !strings.HasSuffix(l.text(t), "] déjà") {
				t.Errorf("the mail is %q", l.text(t))
			}
			same(t, "Subject", "Überprüfung "+r.value, l.field(t, "Subject"))
			l.otp(t)
		}

		for charset, want := range map[string]string{"ISO-2022-JP": "\x1b$BF|K\\\x1b(B [", "Shift_JIS": "\x93\xfa\x96\x7b [", "EUC-JP": "\xc6\xfc\xcb\xdc [", "windows-1251": "\xc4\xe0 ["} {
			name := "日本"
			if charset == "windows-1251" {
				name = "Да"
			}
			kind, _ := d.template(t, obj{"characterSet": charset, "emailBody": name + " [${OTP}]"})
			if l := d.letter(t, kind, nil); l.charset != strings.ToLower(charset) || !strings.HasPrefix(string(l.body), want) {
				t.Errorf("the mail is in %q and begins with %q, want %q", l.charset, l.body, want)
			}
		}

		// What becomes of values that the charset lacks, of controls and of very long
		// ones is open, but not that the server fails.
		kind, _ := d.template(t, obj{"characterSet": "ISO-8859-1", "emailBody": "[${OTP}] ${name}", "emailSubject": "${name}"})
		for _, value := range []string{"日本", "\x00\x1b", "\ufffd\U0010ffff", strings.Repeat("x", 200_000)} {
			a := c.wants(t, newRequest("POST", c.authentications(d.app, d.user), obj{"emailConfigurationType": kind, "emailParameters": obj{"name": value}}), 201, 400, 413)
			if a.status == 201 {
				d.box.next(t).otp(t)
			}
		}
	})
}

func TestMailHasTheNamesAndAddressesOfItsTemplate(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		d := c.desk(t)
		for _, r := range []struct{ from, name string }{
			{builtin, ""},
			{`"Example From Display Name" <` + builtin + ">", "Example From Display Name"},
			{`"Bücher, Müller & Söhne" <` + builtin + ">", "Bücher, Müller & Söhne"},
			{`"日本語の名前" <` + builtin + ">", "日本語の名前"},
			{`"say \"hi\"" <` + builtin + ">", `say "hi"`},
			{"Example Help <" + builtin + ">", "Example Help"},
			{"<" + builtin + ">", ""},
			{`"${name}" <` + builtin + ">", "${name}"}, // placeholders count in subject and body only
		} {
			kind, template := d.template(t, obj{"fromAddress": r.from, "replyToAddress": r.from})
			got := c.get(t, c.templates(d.app, template))
			same(t, "fromAddress", r.from, text(t, got, "fromAddress"))
			same(t, "replyToAddress", r.from, text(t, got, "replyToAddress"))
			l := d.letter(t, kind, obj{"emailParameters": obj{"name": "Mallory"}})
			// The deployment may put an address of its own in the place of the built-in one.
			if from := l.address(t, "From"); from.Name != r.name {
				t.Errorf("From %q has the name %q, want %q", l.header.Get("From"), from.Name, r.name)
			}
			if reply := l.address(t, "Reply-To"); reply.Name != r.name {
				t.Errorf("Reply-To %q has the name %q, want %q", l.header.Get("Reply-To"), reply.Name, r.name)
			}
			if to := l.address(t, "To"); to.Address != d.box.address {
				t.Errorf("To is %q, want %q", to.Address, d.box.address)
			}
		}
		// Whatever stands there for the built-in one is built in, too.
		kind, _ := d.template(t, nil)
		own := d.letter(t, kind, nil).address(t, "From").Address
		kind, _ = d.template(t, obj{"fromAddress": own, "replyToAddress": own})
		same(t, "From", own, d.letter(t, kind, nil).address(t, "From").Address)

		kind, _ = d.template(t, obj{"emailSubject": ""})
		if l := d.letter(t, kind, nil); l.field(t, "Subject") != "" || len(l.header["Reply-To"]) != 0 {
			t.Errorf("without a subject and a replyToAddress the mail has Subject %q and Reply-To %q", l.header["Subject"], l.header["Reply-To"])
		}
		kind, _ = d.template(t, obj{"emailBody": "", "emailSubject": "[${OTP}]"})
		if l := d.letter(t, kind, nil); l.text(t) != "" || !sixDigits.MatchString(l.field(t, "Subject")) {
			t.Errorf("without a body the mail has Subject %q and body %q", l.header["Subject"], l.body)
		}
	})
}

// TestWhatIsAcceptedCanBeSent takes a name that some mail programs would not show
// as one: whether a template may have it is open (section 3.2 does not forbid it), but
// not whether a template that was accepted works.
func TestWhatIsAcceptedCanBeSent(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		d := c.desk(t)
		for i, name := range []string{"a@example.com", builtin, "www.example.com", "=?utf-8?q?x?=", strings.Repeat("long ", 60), "\u202eesrever", "<b>", "a;b:c"} {
			kind := fmt.Sprint("sent", i)
			a := c.wants(t, newRequest("POST", c.templates(d.app), obj{
				"fromAddress": `"` + name + `" <` + builtin + ">", "emailBody": "[${OTP}]", "type": kind,
			}), 201, 400)
			if a.status == 400 {
				if err := a.refusal("400 INVALID_DATA emailConfiguration INVALID_VALUE/fromAddress"); err != nil {
					t.Errorf("%v\n\t%v", a, err)
				}
				continue
			}
			a = c.call(t, newRequest("POST", c.authentications(d.app, d.user), obj{"emailConfigurationType": kind}))
			if a.status != 201 {
				t.Errorf("%v\n\tthough a template from %q was accepted", a, name)
				continue
			}
			d.box.next(t).otp(t)
		}

		// The same goes for a recipient that is taken without a mail.
		for _, recipient := range []string{"a=?b@inbox.example.net", "o'brien+x@inbox.example.net", "jo@bücher.example"} {
			username := c.user(t)
			a := c.wants(t, newRequest("POST", c.pairings(d.app, username), obj{"recipient": recipient, "automaticPairing": true}), 201, 400)
			if a.status == 400 {
				if err := a.refusal("400 INVALID_DATA * INVALID_VALUE/recipient"); err != nil {
					t.Errorf("%v\n\t%v", a, err)
				}
				continue
			}
			kind, _ := d.template(t, nil)
			if a := c.call(t, newRequest("POST", c.authentications(d.app, username), obj{"emailConfigurationType": kind})); a.status != 201 {
				t.Errorf("%v\n\tthough the recipient %q was accepted", a, recipient)
			}
		}
	})
}

func TestMailKeepsItsText(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		d := c.desk(t)
		body := "[${OTP}]\n.\n..\n.x\nFrom here\n\ttab, blanks   \n" + strings.Repeat("long ", 1000) + "é=3D=\n\n" + strings.Repeat("日本語", 500) + "\nend"
		for _, end := range []string{"\n", "\r\n"} {
			subject := strings.Repeat("Überlänge ", 25)
			kind, _ := d.template(t, obj{"emailBody": strings.ReplaceAll(body, "\n", end), "emailSubject": subject})
			l := d.letter(t, kind, nil)
			same(t, "the body", strings.Replace(body, "${OTP}", l.otp(t), 1), l.text(t))
			same(t, "Subject", strings.TrimSpace(subject), strings.TrimSpace(l.field(t, "Subject")))
			for line := range strings.Lines(l.raw) {
				if len(line) > 1000 {
					t.Errorf("the mail has a line of %d octets (RFC 5322, section 2.1.1)", len(line))
				}
			}
		}
	})
}

func TestPlaceholdersAreFilled(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		d := c.desk(t)
		six := regexp.MustCompile(`\d{6}`)
		for _, r := range []struct {
			body, want string // in want, 000000 is the code
			parameters obj
		}{
			{"[${OTP}]", "[000000]", nil},
			{"[${otp}] ${Otp} ${oTP}", "[000000] 000000 000000", nil},
			{"[${OTP}] ${transfer} of ${product}.", "[000000] $50 of a book.", obj{"transfer": "$50", "product": "a book"}},
			{"[${OTP}] ${missing}.", "[000000] .", obj{"other": "x"}},
			{"[${OTP}] ${Product}.", "[000000] .", obj{"product": "x"}}, // other names are exact
			{"[${OTP}] ${a}${b}", "[000000] ${b}${OTP}${a}", obj{"a": "${b}${OTP}", "b": "${a}"}},
			{"[${OTP}] ${n} ${f} ${b}", "[000000] 5 1.5 true", obj{"n": 5, "f": 1.5, "b": true}},
			{"[${OTP}] ${v}", "[000000] <b>&\"'</b>", obj{"v": "<b>&\"'</b>"}}, // plain text is not escaped
			{"[${OTP}] ${v}|", "[000000] one\ntwo|", obj{"v": "one\ntwo"}},
			{"no code at all", "no code at all", nil},
		} {
			kind, _ := d.template(t, obj{"emailBody": r.body, "emailSubject": "${greeting} ${user}!"})
			call := obj{}
			if r.parameters != nil {
				call["emailParameters"] = r.parameters
			}
			l := d.letter(t, kind, call)
			same(t, r.body, r.want, six.ReplaceAllString(l.text(t), "000000"))
			same(t, "Subject", "!", strings.TrimSpace(l.field(t, "Subject")))
		}
		kind, _ := d.template(t, obj{"emailSubject": "${greeting} ${user}: ${otp}"})
		l := d.letter(t, kind, obj{"emailParameters": obj{"greeting": "Hi", "user": "Zoë & Co"}})
		same(t, "Subject", "Hi Zoë & Co: "+l.otp(t), l.field(t, "Subject"))

		for _, parameters := range []obj{{"otp": "1"}, {"OTP": "1"}, {"oTp": "1"}, {"pingid_x": "1"}, {"pingid_": "1"}} {
			c.refused(t, "400 INVALID_DATA * INVALID_VALUE/emailParameters",
				newRequest("POST", c.at("applications", d.app, "users", d.user, "authentications"), obj{"emailConfigurationType": kind, "emailParameters": parameters}))
			c.refused(t, "400 INVALID_DATA * INVALID_VALUE/emailParameters",
				newRequest("POST", c.at("applications", d.app, "users", d.user, "emailpairings"), obj{"recipient": "x@inbox.example.net", "type": kind, "emailParameters": parameters}))
		}
		for _, parameters := range []any{obj{"x": obj{}}, obj{"x": list{"y"}}, list{}, "text"} { // neither strings nor to be made into some
			c.refused(t, "400 INVALID_DATA|INVALID_REQUEST",
				newRequest("POST", c.at("applications", d.app, "users", d.user, "authentications"), obj{"emailConfigurationType": kind, "emailParameters": parameters}))
		}
		d.box.silent(t)
	})
}

func TestHTMLValuesAreEscaped(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		d := c.desk(t)
		kind, _ := d.template(t, obj{"contentType": "text/html", "emailBody": `<p title="${v}">[${OTP}] ${v}</p>`, "emailSubject": "for ${who}"})
		l := d.letter(t, kind, obj{"emailParameters": obj{"v": `<script>alert("x&y'")</script>`, "who": "Zoë"}})
		if l.media != "text/html" {
			t.Errorf("the mail is %s", l.media)
		}
		body := l.text(t)
		if strings.Contains(body, "<script") || strings.Contains(body, "'") || strings.Count(body, `"`) != 2 || strings.Count(body, "&lt;script&gt;") != 2 || !strings.Contains(body, "x&amp;y") || !strings.HasPrefix(body, `<p title="`) {
			t.Errorf("the values are not escaped: %s", body)
		}
		same(t, "Subject", "for Zoë", l.field(t, "Subject"))
		l.otp(t)
	})
}

func TestValuesInjectNoHeader(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		d := c.desk(t)
		kind, _ := d.template(t, obj{"emailSubject": "Order ${v}"})
		expected := d.letter(t, kind, obj{"emailParameters": obj{"v": "harmless"}})
		check := func(what string, l letter) {
			t.Helper()
			for name := range l.header {
				if _, ok := expected.header[name]; !ok && name != "Content-Transfer-Encoding" {
					t.Errorf("%s put a header field %s into the mail:\n%s", what, name, l.raw)
				}
			}
			if subject := l.field(t, "Subject"); strings.ContainsAny(subject, "\r\n\x00") {
				t.Errorf("%s: the subject is %q", what, subject)
			}
			if len(l.header["Subject"]) != 1 || !sixDigits.MatchString(l.text(t)) || strings.Contains(string(l.body), "injected") {
				t.Errorf("%s: the mail is not as it should be:\n%s", what, l.raw)
			}
		}
		for _, end := range []string{"\r\n", "\n", "\r", "\u2028", "\u0085", "\r\n "} {
			l := d.letter(t, kind, obj{"emailParameters": obj{"v": "x" + end + "Bcc: evil@example.com" + end + "X-Evil: 1" + end + end + "injected"}})
			check(fmt.Sprintf("%q", end), l)
		}
		// A template's own subject is refused, or its ends of lines are not there.
		a := c.wants(t, newRequest("POST", c.templates(d.app), obj{
			"fromAddress": builtin, "emailSubject": "Order\r\nBcc: evil@example.com", "emailBody": "[${OTP}]", "type": "subject",
		}), 201, 400)
		if a.status == 201 {
			check("a template's subject", d.letter(t, "subject", nil))
		}
	})
}

func TestLocaleFallsBack(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		d := c.desk(t)
		for _, locale := range []string{"en", "pt", "pt-BR", "fil-PH"} {
			c.post(t, c.templates(d.app), obj{"fromAddress": builtin, "emailBody": locale + " [${OTP}]", "locale": locale, "type": "fall"})
		}
		c.post(t, c.templates(d.app), obj{"fromAddress": builtin, "emailBody": "[${OTP}]", "locale": "fr", "type": "french"})
		for _, r := range []struct{ asked, want string }{
			{"", "en"}, {"en", "en"}, {"EN-us", "en"}, {"pt", "pt"}, {"pt-BR", "pt-BR"}, {"PT_br", "pt-BR"}, {"pt_PT", "pt"},
			{"fil_ph", "fil-PH"}, {"fil", "en"}, {"de", "en"}, {"de-CH", "en"},
		} {
			call := obj{}
			if r.asked != "" {
				call["locale"] = r.asked
			}
			got, _, _ := strings.Cut(d.letter(t, "fall", call).text(t), " ")
			same(t, "asked for "+r.asked, r.want, got)
		}
		d.letter(t, "french", obj{"locale": "fr-CA"}).otp(t)
		const none = "404 NOT_FOUND emailConfiguration NOT_FOUND"
		path := c.at("applications", d.app, "users", d.user, "authentications")
		c.refused(t, none, newRequest("POST", path, obj{"emailConfigurationType": "french", "locale": "de"}))
		c.refused(t, none, newRequest("POST", path, obj{"emailConfigurationType": "French", "locale": "fr"}))
		c.refused(t, none, newRequest("POST", path, obj{"emailConfigurationType": "nothing"}))
		c.refused(t, none, newRequest("POST", c.at("applications", d.app, "users", d.user, "emailpairings"), obj{"recipient": "x@inbox.example.net", "type": "nothing"}))
		d.box.silent(t)
	})
}

// TestSenderOfOnesOwn is the whole story: a domain proven by DNS, an address proven
// by its code, and mail that is signed for that domain.
func TestSenderOfOnesOwn(t *testing.T) {
	both(t, func(t *testing.T, c *client) {
		d := c.desk(t)
		domain, name := c.domain(t)
		from := "Orders@" + name
		const refused = "400 INVALID_DATA emailConfiguration INVALID_VALUE/"
		template := obj{"fromAddress": `"Shop" <` + strings.ToLower(from) + ">", "emailBody": "[${OTP}]", "type": unique("own")}
		c.refused(t, refused+"fromAddress", newRequest("POST", c.templates(d.app), template))

		address := c.address(t, domain, from)
		c.refused(t, refused+"fromAddress", newRequest("POST", c.templates(d.app), template))
		c.refused(t, refused+"replyToAddress", newRequest("POST", c.templates(d.app), with(template, obj{"fromAddress": builtin, "replyToAddress": from})))
		box := mailbox{address: from}
		c.act(t, c.at("emaildomains", domain, "trustedemails", address, "activate"), obj{"verificationCode": box.next(t).code(t)})

		// The code is proof enough to write a template, whatever the DNS says.
		created := c.post(t, c.templates(d.app), with(template, obj{"replyToAddress": from}))
		c.refused(t, refused+"fromAddress", newRequest("PUT", c.templates(d.app, id(t, created)), with(template, obj{"fromAddress": "others@" + name})))
		c.other().refused(t, refused+"fromAddress", newRequest("POST", c.other().templates(c.other().app), with(template, obj{"type": unique("theirs")})))

		c.proven(t, domain, name)
		kind := text(t, template, "type")
		l := d.letter(t, kind, nil)
		if got := l.address(t, "From"); !strings.EqualFold(got.Address, from) || got.Name != "Shop" {
			t.Errorf("the mail is from %v, want Shop at %s", got, from)
		}
		if got := l.address(t, "Reply-To"); !strings.EqualFold(got.Address, from) {
			t.Errorf("replies go to %v, want %s", got, from)
		}
		if !l.passes(name) {
			t.Errorf("the mail is not signed for %s: %q, %q", name, l.header["Dkim-Signature"], l.header["Authentication-Results"])
		}
		l.otp(t)

		// Trust is looked at again when mail is sent: without the address it comes from
		// a built-in one, and the reply address is dropped.
		c.delete(t, c.at("emaildomains", domain, "trustedemails", address))
		same(t, "the template when its sender is gone", created, c.get(t, c.templates(d.app, id(t, created))))
		l = d.letter(t, kind, nil)
		if got := l.address(t, "From"); strings.HasSuffix(strings.ToLower(got.Address), "@"+name) {
			t.Errorf("without its address, the mail is still from %v", got)
		}
		if len(l.header["Reply-To"]) != 0 {
			t.Errorf("without its address, replies still go to %q", l.header["Reply-To"])
		}
		l.otp(t)
		c.refused(t, refused+"fromAddress|INVALID_VALUE/replyToAddress", newRequest("PUT", c.templates(d.app, id(t, created)), with(template, obj{"replyToAddress": from})))

		// The same goes for the whole domain.
		again := c.activated(t, domain, "again@"+name)
		second := with(template, obj{"fromAddress": "again@" + name, "type": unique("own")})
		created = c.post(t, c.templates(d.app), second)
		c.delete(t, c.at("emaildomains", domain))
		c.refused(t, "404 NOT_FOUND emailDomain|trustedEmail NOT_FOUND", newRequest("GET", c.at("emaildomains", domain, "trustedemails", again), nil))
		same(t, "the template when its domain is gone", created, c.get(t, c.templates(d.app, id(t, created))))
		if got := d.letter(t, text(t, second, "type"), nil).address(t, "From"); strings.HasSuffix(strings.ToLower(got.Address), "@"+name) {
			t.Errorf("without its domain, the mail is still from %v", got)
		}
	})
}

// TestThousandTemplatesAreAllowed counts over all applications of the account.
func TestThousandTemplatesAreAllowed(t *testing.T) {
	c := tenants[1]
	have := 0
	apps, _ := c.get(t, c.at("applications"))["applications"].(list)
	for _, a := range apps {
		o, ok := a.(obj)
		if !ok {
			t.Fatalf("an application is %v", a)
		}
		all, _ := c.get(t, c.templates(text(t, o, "id")))["emailconfigurations"].(list)
		have += len(all)
	}
	app := c.application(t)
	c.crowd(t, 1000-have, c.templates(app), "400 REQUEST_FAILED emailconfigurations SIZE_LIMIT_EXCEEDED", func() obj {
		return with(seed(), obj{"type": unique("many")})
	})
	// The limit is the account's, not the application's.
	c.refused(t, "400 REQUEST_FAILED emailconfigurations SIZE_LIMIT_EXCEEDED", newRequest("POST", c.templates(c.application(t)), seed()))
	all, _ := c.get(t, c.templates(app))["emailconfigurations"].(list)
	if len(all) != 1000-have {
		t.Errorf("the list has %d templates, want %d", len(all), 1000-have)
	}
}
