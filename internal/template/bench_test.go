package template

import (
	"strings"
	"testing"
)

const benchSubject = "${shop}: your code is ${OTP}"

// benchHTML is a mail of 1.5 kB as shops send it: conditional comments, styles,
// a button, five placeholders.
var benchHTML = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${shop}</title>
<style>body{margin:0;font-family:Arial,sans-serif}.b{background:#0a7;color:#fff;padding:12px 24px}</style></head>
<body style="background:#f4f4f4"><!--[if mso]><table width="600" align="center"><tr><td><![endif]-->
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"><tr><td align="center" style="padding:24px">
<h1 style="font-size:22px">Hello ${name},</h1>
<p>your code is</p><p style="font-size:32px;letter-spacing:6px"><b>${OTP}</b></p>
<p>It is good for ${minutes} minutes. You can also press the button:</p>
<p><a class="b" href="${url}" title="Confirm">Confirm</a></p>
` + strings.Repeat(`<p style="color:#777">If you did not ask for it, do nothing, and tell nobody the code.</p>`+"\n", 8) + `
</td></tr></table><!--[if mso]></td></tr></table><![endif]--></body></html>`

var benchValues = map[string]string{
	"shop": "Example & Sons", "name": "Zoë Example", "otp": "493817", "minutes": "10",
	"url": "https://example.org/confirm?token=6f1c2a9d4e5b&lang=en",
}

func benchCompile() (subject, body, text *Template) {
	return Compile(benchSubject, Header), Compile(benchHTML, HTML), Compile(PlainText(benchHTML), Plain)
}

// One mail: the subject, the HTML body and its text alternative.
func BenchmarkExecute(b *testing.B) {
	subject, body, text := benchCompile()
	b.ReportAllocs()
	for b.Loop() {
		subject.Execute(benchValues)
		body.Execute(benchValues)
		text.Execute(benchValues)
	}
}

func BenchmarkCompileAndExecute(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		subject, body, text := benchCompile()
		subject.Execute(benchValues)
		body.Execute(benchValues)
		text.Execute(benchValues)
	}
}
