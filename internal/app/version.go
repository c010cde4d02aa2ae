package app

import "runtime/debug"

// Version is what the Go tool recorded of this program: the module's version,
// and the commit where it was built from a checkout.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "development"
	}
	for _, set := range info.Settings {
		if set.Key == "vcs.revision" && len(set.Value) >= 12 {
			v += "+" + set.Value[:12]
		}
	}
	return v
}
