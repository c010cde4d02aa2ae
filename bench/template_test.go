package bench

import (
	"bytes"
	htmltemplate "html/template"
	"strings"
	"testing"
	texttemplate "text/template"
	"time"

	"github.com/postseal/postseal/internal/template"
)

// mailHTML is a mail of some 1.5 kB with five placeholders.
var mailHTML = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${shop}</title></head>
<body style="margin:0;background:#f4f5f7"><table role="presentation" width="100%" cellpadding="0" cellspacing="0"><tr><td align="center">
<table role="presentation" width="600" cellpadding="24" style="background:#ffffff;border:1px solid #d9dde3"><tr><td>
<h1 style="font-family:sans-serif;font-size:22px">Hello ${name},</h1>
` + strings.Repeat(`<p style="font-family:sans-serif;font-size:15px;line-height:1.5">Somebody wants to sign in to your account.</p>
`, 6) + `<p style="font-size:28px;letter-spacing:6px"><b>${OTP}</b></p>
<p style="font-family:sans-serif">If it was not you, <a href="https://shop.example.org/report?session=${session}">tell us</a>. ${footer}</p>
</td></tr></table></td></tr></table></body></html>`

var mailValues = map[string]string{
	"shop": "Käse & Söhne", "name": "Ann <ann@example.org>", "otp": "123456", "session": "a b/c?d", "footer": "It's \"ours\".",
}

// BenchmarkRender fills subject, HTML and text alternative of a mail in, on one core.
// Beside it: the standard library's contextual html/template with text/template for the
// other two, which is what a Go programmer would take instead.
func BenchmarkRender(b *testing.B) {
	const subject = "${shop}: your code is ${OTP}"
	ours := []*template.Template{
		template.Compile(subject, template.Header), template.Compile(mailHTML, template.HTML), template.Compile(template.PlainText(mailHTML), template.Plain),
	}
	standard := strings.NewReplacer("${OTP}", "{{.otp}}", "${shop}", "{{.shop}}", "${name}", "{{.name}}", "${session}", "{{.session}}", "${footer}", "{{.footer}}")
	html := htmltemplate.Must(htmltemplate.New("").Parse(standard.Replace(mailHTML)))
	texts := []*texttemplate.Template{
		texttemplate.Must(texttemplate.New("").Parse(standard.Replace(subject))),
		texttemplate.Must(texttemplate.New("").Parse(standard.Replace(template.PlainText(mailHTML)))),
	}
	perSecond := func(render func()) float64 {
		began, n := time.Now(), 0
		for time.Since(began) < each {
			for range 100 {
				render()
			}
			n += 100
		}
		return float64(n) / time.Since(began).Seconds()
	}
	var a, z []float64
	for b.Loop() {
		for range rounds {
			a = append(a, perSecond(func() {
				for _, t := range ours {
					_ = t.Execute(mailValues)
				}
			}))
			z = append(z, perSecond(func() {
				var out bytes.Buffer
				if err := html.Execute(&out, mailValues); err != nil {
					b.Fatal(err)
				}
				for _, t := range texts {
					out.Reset()
					if err := t.Execute(&out, mailValues); err != nil {
						b.Fatal(err)
					}
				}
			}))
		}
	}
	report(b, a, z, load{})
}
