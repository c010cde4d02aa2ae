// Package postseal_test keeps the rules of the house: who may import whom, what
// every package must say of itself, and how few packages there are. It tests
// no behaviour.
//
//	cmd -> app -> everything        edges: api/*, console, smtpd, webhook
//	                                           |
//	     store, jobs, provider/*, auth ---> sender, otp ---> dnscheck, template
//	     provider/* -> mail, outbound       leaves import nothing of ours
//
// The rules are one function over a list of packages, so that each of them is
// seen failing here on a list made for it.
package postseal_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/postseal/postseal"

// pkg is what `go list` tells of a package.
type pkg struct {
	ImportPath string
	Name       string
	Doc        string   // first sentence of the package comment
	GoFiles    []string // without tests
	Imports    []string // of GoFiles
}

// house lists every package below the module and what of ours its production
// files may import. A pattern that ends in /... means the package and all below it.
var house = map[string][]string{
	// The command sees the leaves too, since some of its work needs no server.
	"cmd/postseal": {"internal/app", "internal/auth", "internal/sender", "internal/dnscheck", "internal/mail", "internal/zone"},
	"internal/app": {"internal/..."},

	// Leaves know nothing of us.
	"internal/dnscheck": {},
	"internal/mail":     {},
	"internal/outbound": {},
	"internal/template": {},
	"internal/zone":     {},

	// The cores know values only.
	"internal/sender": {"internal/dnscheck", "internal/template"},
	"internal/otp":    {"internal/sender", "internal/dnscheck", "internal/template"},

	// Adapters know the cores, and the leaf that they wrap.
	"internal/store":            {"internal/store/...", "internal/sender", "internal/otp", "internal/dnscheck", "internal/template"},
	"internal/store/db":         {},
	"internal/jobs":             {"internal/sender", "internal/otp"},
	"internal/auth":             {"internal/sender", "internal/otp"},
	"internal/provider/builtin": {"internal/sender", "internal/dnscheck", "internal/mail", "internal/outbound"},
	"internal/provider/ses":     {"internal/sender", "internal/dnscheck", "internal/mail"},

	// Edges know the cores, who is asking, and what the dialects share.
	"internal/api":           {"internal/sender", "internal/otp", "internal/auth", "internal/dnscheck"},
	"internal/api/native":    {"internal/api", "internal/sender", "internal/otp", "internal/auth", "internal/dnscheck", "internal/template"},
	"internal/api/pingone":   {"internal/api", "internal/sender", "internal/otp", "internal/auth", "internal/dnscheck", "internal/template"},
	"internal/api/pingid":    {"internal/api", "internal/sender", "internal/otp", "internal/auth", "internal/dnscheck", "internal/template"},
	"internal/api/sailpoint": {"internal/api", "internal/sender", "internal/otp", "internal/auth", "internal/dnscheck", "internal/template"},
	"internal/console":       {"internal/api", "internal/sender", "internal/otp", "internal/auth", "internal/dnscheck", "internal/template"},
	"internal/smtpd":         {"internal/sender", "internal/otp", "internal/auth", "internal/dnscheck", "internal/mail"},
	"internal/webhook":       {"internal/sender", "internal/outbound"},

	// Kits are servers and suites for tests; they see what they stand in for.
	"internal/dnscheck/dnstest": {"internal/dnscheck", "internal/zone"},
	"internal/mail/mailtest":    {"internal/mail"},
	"internal/store/storetest":  {"internal/store", "internal/sender", "internal/otp", "internal/dnscheck", "internal/template"},
	"internal/api/apitest":      {"internal/api", "internal/auth", "internal/sender", "internal/otp", "internal/dnscheck/...", "internal/store"},
	"contract/devtest":          {},

	// Measures the whole program, so it may take any part of it.
	"bench": {"internal/..."},
}

const (
	// mostPackages bounds what stands below internal/, generated code and kits aside.
	mostPackages = 21
	generated    = "internal/store/db"
)

// bannedNames say nothing about what is inside.
var bannedNames = []string{"util", "utils", "common", "helper", "helpers", "model", "models", "type", "types", "pkg", "misc", "shared", "base", "lib"}

func isKit(p string) bool { return strings.HasSuffix(path.Base(p), "test") }

func isCore(p string) bool { return p == "internal/sender" || p == "internal/otp" }

func matches(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		below, all := strings.CutSuffix(pattern, "/...")
		return p == pattern || all && (p == below || strings.HasPrefix(p, below+"/"))
	})
}

// violations returns one sentence for every rule that a package breaks: which,
// where, and why there is such a rule.
func violations(pkgs []pkg) []string {
	var found []string
	report := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	count := 0
	for _, p := range pkgs {
		if len(p.GoFiles) == 0 { // tests only
			continue
		}
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		allowed, known := house[name]
		if !known {
			report("%s is not in the table of arch_test.go: say in docs/adr why a file of another package would not do, then add it with what it may import", p.ImportPath)
		}
		if strings.HasPrefix(name, "internal/") && name != generated && !isKit(name) {
			if count++; count == mostPackages+1 {
				report("%s is one package too many: at most %d below internal/, so that a newcomer can hold the house in mind", p.ImportPath, mostPackages)
			}
		}
		for part := range strings.SplitSeq(name, "/") {
			if slices.Contains(bannedNames, part) {
				report("%s: the name %q tells nothing of what is inside, so that everything ends up there; name it after its noun", p.ImportPath, part)
			}
		}
		if p.Doc == "" {
			report("%s has no package comment: say what it is, what it is not, and draw the flow", p.ImportPath)
		}
		for _, imported := range p.Imports {
			ours, ok := strings.CutPrefix(imported, module+"/")
			switch {
			case !ok:
				if why := foreign(name, imported); why != "" {
					report("%s imports %s: %s", p.ImportPath, imported, why)
				}
			case isKit(ours) && !isKit(name):
				report("%s imports %s: a test kit in a production file would ship a server that obeys whoever asks", p.ImportPath, imported)
			case known && !matches(allowed, ours):
				report("%s imports %s: %s", p.ImportPath, imported, why(name, ours))
			}
		}
	}
	return found
}

// why tells the reason for the arrow that is missing between two of our packages.
func why(from, to string) string {
	isEdge := func(p string) bool {
		return matches([]string{"internal/api/...", "internal/console", "internal/smtpd", "internal/webhook"}, p)
	}
	switch {
	case to == "internal/app" || strings.HasPrefix(to, "cmd/"):
		return "parts do not know the whole; app puts them together and is imported by the command only"
	case isCore(from):
		return "the core knows values of dnscheck and template only; whatever else it needs is a port that it declares itself"
	case isEdge(from) && isEdge(to):
		return "edges do not know one another; what they share is a use case of the core, or belongs in api"
	case isEdge(from):
		return "an edge reaches storage, jobs and providers through a method of the core, where the rules are"
	case len(house[from]) == 0:
		return "a leaf knows nothing of ours, so that it can be read, tested and reused alone"
	default:
		return "there is no such arrow in the drawing at the head of arch_test.go; an adapter knows the core and nothing beside it"
	}
}

// foreign tells why a package may not import something that is not ours; empty:
// it may.
func foreign(name, imported string) string {
	is := func(paths ...string) bool {
		return slices.ContainsFunc(paths, func(p string) bool { return matches([]string{p + "/..."}, imported) })
	}
	standard := !strings.Contains(strings.Split(imported, "/")[0], ".")
	switch {
	case isCore(name) && is("database/sql", "net/http", "net/smtp", "net/rpc", "os/exec") || isCore(name) && imported == "net":
		return "the core speaks no SQL, no HTTP and no network; it declares a port and an adapter speaks"
	case isCore(name) && !standard && !is("github.com/google/uuid", "golang.org/x/sync", "golang.org/x/text", "golang.org/x/net/idna", "golang.org/x/net/publicsuffix"):
		return "the core carries no SDK, driver or framework; it declares a port and an adapter carries it"
	case is("database/sql", "github.com/jackc/pgx/v5", "modernc.org/sqlite", "github.com/pressly/goose/v3") && !matches([]string{"internal/store/...", "internal/jobs"}, name):
		return "SQL lives in store and jobs only; a query elsewhere would escape storetest, which asks every one of them as the wrong tenant"
	case is("encoding/json") && strings.HasPrefix(name, "internal/api"):
		return "encoding/json takes members in the wrong case and lets a duplicate win silently; use go-json-experiment/json on the wire"
	case is("testing") && !isKit(name):
		return "a production file that imports testing brings its flags into the binary; move it to a kit"
	}
	return ""
}

func TestThePackagesKeepTheRulesOfTheHouse(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Name,Doc,GoFiles,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v%s", err, stderr(err))
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		pkgs = append(pkgs, p)
	}
	if !slices.ContainsFunc(pkgs, func(p pkg) bool { return p.ImportPath == module+"/internal/sender" }) {
		t.Fatalf("go list shows %d packages and no internal/sender among them: nothing was tested", len(pkgs))
	}
	for _, v := range violations(pkgs) {
		t.Error(v)
	}
}

func TestTheModuleReplacesNothing(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json").Output()
	if err != nil {
		t.Fatalf("go mod edit: %v%s", err, stderr(err))
	}
	for _, v := range replacements(out) {
		t.Error(v)
	}
}

// replacements reads the output of go mod edit -json.
func replacements(goMod []byte) []string {
	var m struct {
		Module  struct{ Path string }
		Replace []struct{ Old, New struct{ Path string } }
	}
	if err := json.Unmarshal(goMod, &m); err != nil || m.Module.Path != module {
		return []string{fmt.Sprintf("go.mod can't be read as that of %s: %.100q", module, goMod)}
	}
	var found []string
	for _, r := range m.Replace {
		found = append(found, fmt.Sprintf("go.mod replaces %s by %s: `go install` refuses a module with replacements, and nobody else would build what we test", r.Old.Path, r.New.Path))
	}
	return found
}

func stderr(err error) string {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return "\n" + string(e.Stderr)
	}
	return ""
}

// at makes a package that keeps every rule, to be spoilt in one point.
func at(name string, imports ...string) pkg {
	return pkg{ImportPath: module + "/" + name, Doc: "Package x is there for a test.", GoFiles: []string{"x.go"}, Imports: imports}
}

func TestEachRuleCanFail(t *testing.T) {
	const ours = module + "/internal/"
	undocumented := at("internal/mail")
	undocumented.Doc = ""
	crowd := []pkg{}
	for name := range house {
		crowd = append(crowd, at(name))
	}
	full := len(slices.DeleteFunc(slices.Clone(crowd), func(p pkg) bool {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		return !strings.HasPrefix(name, "internal/") || name == generated || isKit(name)
	}))
	for _, c := range []struct {
		rule string
		pkgs []pkg
		want string // in the one violation; empty: there is none
	}{
		{"the planned house stands", crowd, ""},
		{"what the drawing shows is allowed", []pkg{
			at("cmd/postseal", ours+"app"), at("internal/app", ours+"store", ours+"api/pingone", ours+"sender"), at("internal/sender", "context", "net/netip", ours+"dnscheck"),
			at("internal/store", "database/sql", ours+"store/db", ours+"sender"), at("internal/api/pingone", "net/http", ours+"api", ours+"sender"),
			at("internal/provider/builtin", ours+"mail", ours+"sender"), at("internal/store/storetest", "testing", ours+"store"),
		}, ""},
		{"a folder of tests only is no package", []pkg{{ImportPath: module}}, ""},
		{"leaf imports core", []pkg{at("internal/dnscheck", ours+"sender")}, "a leaf knows nothing of ours"},
		{"leaf imports leaf", []pkg{at("internal/mail", ours+"dnscheck")}, "a leaf knows nothing of ours"},
		{"generated queries import core", []pkg{at("internal/store/db", ours+"sender")}, "a leaf knows nothing of ours"},
		{"core imports store", []pkg{at("internal/sender", ours+"store")}, "is a port that it declares itself"},
		{"core imports mail", []pkg{at("internal/sender", ours+"mail")}, "is a port that it declares itself"},
		{"core imports the other core", []pkg{at("internal/sender", ours+"otp")}, "is a port that it declares itself"},
		{"core speaks SQL", []pkg{at("internal/sender", "database/sql")}, "the core speaks no SQL"},
		{"core speaks HTTP", []pkg{at("internal/sender", "net/http")}, "the core speaks no SQL, no HTTP"},
		{"core opens sockets", []pkg{at("internal/otp", "net")}, "no network"},
		{"core carries an SDK", []pkg{at("internal/sender", "github.com/miekg/dns")}, "carries no SDK"},
		{"core imports app", []pkg{at("internal/sender", ours+"app")}, "parts do not know the whole"},
		{"edge imports store", []pkg{at("internal/api/pingone", ours+"store")}, "an edge reaches storage"},
		{"edge imports jobs", []pkg{at("internal/smtpd", ours+"jobs")}, "an edge reaches storage"},
		{"edge imports provider", []pkg{at("internal/api/native", ours+"provider/builtin")}, "an edge reaches storage"},
		{"edge imports edge", []pkg{at("internal/api/native", ours+"api/pingone")}, "edges do not know one another"},
		{"what edges share imports an edge", []pkg{at("internal/api", ours+"api/pingone")}, "edges do not know one another"},
		{"adapter imports adapter", []pkg{at("internal/jobs", ours+"store")}, "no such arrow"},
		{"command reaches past app", []pkg{at("cmd/postseal", ours+"store")}, "no such arrow"},
		{"SQL outside store", []pkg{at("internal/app", "github.com/jackc/pgx/v5/pgxpool")}, "SQL lives in store and jobs only"},
		{"lax JSON on the wire", []pkg{at("internal/api/pingone", "encoding/json")}, "lets a duplicate win"},
		{"kit in production", []pkg{at("internal/app", ours+"mail/mailtest")}, "a test kit in a production file"},
		{"testing in production", []pkg{at("internal/mail", "testing")}, "brings its flags"},
		{"no package comment", []pkg{undocumented}, "has no package comment"},
		{"package that nobody planned", []pkg{at("internal/quota")}, "is not in the table"},
		{"one package too many", append(slices.Clone(crowd), slices.Repeat([]pkg{at("internal/mail")}, mostPackages+1-full)...), "is one package too many"},
	} {
		got := violations(c.pkgs)
		switch {
		case c.want == "" && len(got) > 0:
			t.Errorf("%s: violations %q, want none", c.rule, got)
		case c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)):
			t.Errorf("%s: violations %q, want one that says %q", c.rule, got, c.want)
		}
	}
	for _, name := range bannedNames {
		if got := strings.Join(violations([]pkg{at("internal/" + name)}), "\n"); !strings.Contains(got, "tells nothing of what is inside") {
			t.Errorf("a package named %s: violations %q, want one about its name", name, got)
		}
	}
	replaced := `{"Module":{"Path":"` + module + `"},"Replace":[{"Old":{"Path":"example.org/a"},"New":{"Path":"../a"}}]}`
	if got := replacements([]byte(replaced)); len(got) != 1 || !strings.Contains(got[0], "example.org/a") {
		t.Errorf("go.mod with a replacement: violations %q, want one that names it", got)
	}
	if got := replacements([]byte(`{"Module":{"Path":"` + module + `"}}`)); len(got) != 0 {
		t.Errorf("go.mod without replacements: violations %q, want none", got)
	}
}
