package native_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postseal/postseal/internal/api/apitest"
)

// document is what /v1/openapi.json says. Every call of every test is held
// against it: what is answered must be documented, and so must what is accepted.
type document struct {
	root map[string]any
}

func readDocument(r apitest.Reply) *document {
	d := &document{}
	if err := json.Unmarshal(r.Want(200).Body, &d.root); err != nil {
		r.T.Fatal(err)
	}
	return d
}

func member(v any, path ...string) any {
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// operation finds what is documented for a request; nil where nothing is.
func (d *document) operation(method, path string) map[string]any {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(path, "/")
	for template, item := range member(d.root, "paths").(map[string]any) {
		names := strings.Split(template, "/")
		matches := len(names) == len(parts)
		for i, name := range names {
			matches = matches && (name == parts[i] || strings.HasPrefix(name, "{"))
		}
		if matches {
			op, _ := member(item, strings.ToLower(method)).(map[string]any)
			return op
		}
	}
	return nil
}

// check fails the test where an exchange is not as documented.
func (d *document) check(t testing.TB, method, path, body string, r apitest.Reply) {
	t.Helper()
	op := d.operation(method, path)
	if op == nil {
		if r.Status != 404 && r.Status != 405 && !strings.HasPrefix(path, "/v1/openapi") {
			t.Errorf("%s %s is answered with %d and not documented", method, path, r.Status)
		}
		return
	}
	answer, ok := member(op, "responses", fmt.Sprint(r.Status)).(map[string]any)
	if !ok {
		t.Errorf("%s %s: the status %d is not documented; body %.300s", method, path, r.Status, r.Body)
		return
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if content, _ := answer["content"].(map[string]any); content[media] == nil && (media != "" || content != nil) {
		t.Errorf("%s %s: %d is documented with %v, not with %s", method, path, r.Status, content, media)
	}
	if strings.HasSuffix(media, "json") {
		var v any
		if err := json.Unmarshal(r.Body, &v); err != nil {
			t.Errorf("%s %s: %d with broken JSON: %v", method, path, r.Status, err)
		} else if problem := d.against(member(answer, "content", media, "schema"), v, "$"); problem != "" {
			t.Errorf("%s %s: %d is not as documented: %s in %.500s", method, path, r.Status, problem, r.Body)
		}
	}
	if schema := member(op, "requestBody", "content", "application/json", "schema"); schema != nil && r.Status < 300 {
		var v any
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			t.Errorf("%s %s took %q", method, path, body)
		} else if problem := d.against(schema, v, "$"); problem != "" {
			t.Errorf("%s %s took what is not documented: %s in %.300s", method, path, problem, body)
		}
	}
}

// against compares a value with as much of JSON Schema as the document uses, and
// says what is wrong.
func (d *document) against(schema, v any, at string) string {
	s, ok := schema.(map[string]any)
	if !ok {
		return at + " has no schema"
	}
	for key := range s {
		if !slices.Contains([]string{"$ref", "oneOf", "type", "properties", "required", "additionalProperties", "items", "format", "description", "enum", "minimum", "maximum", "default"}, key) {
			return at + " uses " + key + ", which this test does not know"
		}
	}
	if ref, ok := s["$ref"].(string); ok {
		return d.against(member(d.root, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...), v, at)
	}
	if all, ok := s["oneOf"].([]any); ok {
		for _, one := range all {
			if d.against(one, v, at) == "" {
				return ""
			}
		}
		return at + " is none of its schemas"
	}
	if types := fmt.Sprint(s["type"]); s["type"] != nil && !strings.Contains(types, typeOf(v)) && (typeOf(v) != "integer" || !strings.Contains(types, "number")) {
		return fmt.Sprintf("%s is %s, not %s", at, typeOf(v), types)
	}
	switch v := v.(type) {
	case string:
		if _, err := time.Parse(time.RFC3339, v); s["format"] == "date-time" && err != nil {
			return at + " is no date"
		}
	case []any:
		for i, x := range v {
			if problem := d.against(s["items"], x, fmt.Sprintf("%s[%d]", at, i)); problem != "" {
				return problem
			}
		}
	case map[string]any:
		required, _ := s["required"].([]any)
		for _, name := range required {
			if _, ok := v[name.(string)]; !ok {
				return fmt.Sprintf("%s has no %s", at, name)
			}
		}
		for name, x := range v {
			property := member(s["properties"], name)
			if property == nil {
				property = s["additionalProperties"] // false is no schema
			}
			if problem := d.against(property, x, at+"."+name); problem != "" {
				return problem
			}
		}
	}
	return ""
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case bool:
		return "boolean"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	default:
		return "object"
	}
}

// Generators of clients refuse a document with a hole in it.
func TestDocumentIsWhole(t *testing.T) {
	h := newHarness(t)
	schemas, _ := member(h.document.root, "components", "schemas").(map[string]any)
	name := regexp.MustCompile(`^[a-zA-Z0-9._-]+$`) // OpenAPI 3.1, section 4.8.7.1
	for n := range schemas {
		if !name.MatchString(n) {
			t.Errorf("a schema is called %q", n)
		}
	}
	ids := make(map[any]bool)
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case []any:
			for i, x := range v {
				walk(fmt.Sprintf("%s[%d]", at, i), x)
			}
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok && member(h.document.root, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...) == nil {
				t.Errorf("%s refers to %s, which is not there", at, ref)
			}
			if id, ok := v["operationId"]; ok {
				if ids[id] {
					t.Errorf("two operations are called %s", id)
				}
				ids[id] = true
			}
			for name, x := range v {
				walk(at+"."+name, x)
			}
		}
	}
	walk("$", h.document.root)
	if len(ids) < 15 {
		t.Errorf("only %d operations are documented", len(ids))
	}
}
