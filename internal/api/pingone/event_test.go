package pingone

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestEventNamesAreDottedAndDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../../docs/dialects/pingone.md")
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^[A-Z_]+\.[A-Z_]+$`)
	for event, name := range EventNames {
		if !form.MatchString(name) || strings.Count(name, ".") != 1 {
			t.Errorf("%s is called %q", event, name)
		}
		if row := "| `" + string(event) + "` | `" + name + "` |"; !strings.Contains(string(docs), row) {
			t.Errorf("docs/dialects/pingone.md has no row %s", row)
		}
	}
}
