package sailpoint_test

import (
	"testing"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/sender"
)

// Other APIs know variants of a template; this one could not tell them from it.
func TestVariantsOfOtherAPIsAreLeftAlone(t *testing.T) {
	h := newHarness(t)
	variant, err := h.Service.CreateTemplate(t.Context(), apitest.Operator, h.tenant.ID, sender.NewTemplate{Type: "password_changed", Variant: "spring", Subject: "x"})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "listed", list(h.call("GET", templates, ""), "id"), []string{})
	h.call("GET", templates+"/"+string(variant.ID), "").Want(404)
	made := h.call("POST", templates, `{"key":"password_changed","medium":"EMAIL","locale":"en"}`).Want(200)
	if made.String("id") == string(variant.ID) {
		t.Error("the variant was written anew")
	}
	h.call("POST", templates+"/bulk-delete", `[{"key":"password_changed"}]`).Want(204)
	if _, err := h.Service.Template(t.Context(), apitest.Operator, h.tenant.ID, "", variant.ID); err != nil {
		t.Errorf("the variant: %v", err)
	}
}
