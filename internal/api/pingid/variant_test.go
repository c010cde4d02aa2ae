package pingid

import (
	"strings"
	"testing"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/sender"
)

// Other APIs know variants of a template; this one could not tell them from it.
func TestVariantsOfOtherAPIsAreLeftAlone(t *testing.T) {
	h := newHarness(t)
	app := h.app()
	id := sender.ID(app[strings.LastIndexByte(app, '/')+1:])
	variant, err := h.Service.CreateTemplate(t.Context(), apitest.Operator, h.tenant.ID, sender.NewTemplate{Application: id, Type: "auth", Variant: "spring", Subject: "x", Charset: "ISO-8859-1"})
	if err != nil {
		t.Fatal(err)
	}
	path := app + "/emailconfigurations/" + string(variant.ID)
	h.call("GET", path, "").Want(404)
	h.call("PUT", path, fields{}.body()).Want(404)
	h.call("DELETE", path, "").Want(404)
	h.mail(app, fields{"characterSet": "UTF-8"})
	r := h.call("GET", app+"/emailconfigurations", "").Want(200)
	if r.At("emailconfigurations.1") != nil || r.String("emailconfigurations.0.characterSet") != "utf-8" {
		t.Errorf("listed: %s", r.Body)
	}
}
