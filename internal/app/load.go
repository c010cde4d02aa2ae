package app

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
)

// clientVariables are read by Postseal's clients, written by `postseal dev`, or
// belong to its tests: they share the prefix and configure no server.
var clientVariables = []string{
	"POSTSEAL_URL", "POSTSEAL_TLS_URL", "POSTSEAL_CA_FILE", "POSTSEAL_OPERATOR_KEY", "POSTSEAL_DNS", "POSTSEAL_INBOX", "POSTSEAL_DEV_DIR", "POSTSEAL_PINGONE_PROXY", "POSTSEAL_ALLOW_PRIVATE_NS",
	"POSTSEAL_CONFIG", "POSTSEAL_ALLOW_PRIVATE_NS",
}

// LoadConfig reads the configuration of a server: defaults, then the file (none
// when path is empty), the environment in the form NAME=value, and settings in
// the form key=value. The error names every problem.
func LoadConfig(path string, environ, settings []string) (Config, error) {
	return load(path, environ, settings, Config.problems)
}

// LoadDatabaseConfig is LoadConfig for commands that need no more than the
// database and the keys.
func LoadDatabaseConfig(path string, environ, settings []string) (Config, error) {
	return load(path, environ, settings, Config.databaseProblems)
}

func load(path string, environ, settings []string, check func(Config) []error) (Config, error) {
	k := koanf.NewWithConf(koanf.Conf{Delim: ".", StrictMerge: false})
	if path != "" {
		if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
			return Config{}, fmt.Errorf("configuration file %s: %w", path, err)
		}
	}
	var problems []error
	overrides := map[string]any{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "POSTSEAL_") && !isClientVariable(name) {
			overrides[strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, "POSTSEAL_")), "__", ".")] = value
		}
	}
	for _, s := range settings {
		key, value, ok := strings.Cut(s, "=")
		if !ok || key == "" {
			problems = append(problems, fmt.Errorf("--set %s: write it as key=value", s))
			continue
		}
		overrides[key] = value
	}
	if err := k.Load(confmap.Provider(overrides, "."), nil); err != nil {
		problems = append(problems, err)
	}
	c := DefaultConfig()
	if k.Exists("geographies") {
		c.Geographies = nil // given ones replace the defaults, they don't mix
	}
	if k.Exists("templates.builtin_senders") {
		c.Template.BuiltinSenders = nil
	}
	err := k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result: &c, ErrorUnused: true, WeaklyTypedInput: true, TagName: "koanf",
		DecodeHook: mapstructure.ComposeDecodeHookFunc(mapstructure.StringToTimeDurationHookFunc(), commaList),
	}})
	if err != nil {
		problems = append(problems, decodeProblems(err)...)
	}
	problems = append(problems, check(c)...)
	return c, errors.Join(problems...)
}

func isClientVariable(name string) bool {
	return slices.Contains(clientVariables, name) || strings.HasPrefix(name, "POSTSEAL_TEST_")
}

// commaList lets a list be given in one environment variable.
func commaList(from, to reflect.Type, v any) (any, error) {
	s, ok := v.(string)
	if !ok || to != reflect.TypeFor[[]string]() {
		return v, nil
	}
	var list []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list, nil
}

// decodeProblems takes mapstructure's list apart into lines of our own form.
func decodeProblems(err error) []error {
	var multi interface{ Unwrap() []error }
	if errors.As(err, &multi) {
		var all []error
		for _, e := range multi.Unwrap() {
			all = append(all, decodeProblems(e)...)
		}
		return all
	}
	text := strings.TrimSpace(err.Error())
	if at, keys, ok := strings.Cut(text, " has invalid keys: "); ok {
		var all []error
		for key := range strings.SplitSeq(keys, ", ") {
			all = append(all, fmt.Errorf("unknown setting %s", strings.TrimPrefix(strings.Trim(at, "'")+"."+key, ".")))
		}
		return all
	}
	return []error{errors.New(strings.ReplaceAll(text, "time: invalid duration", "is not a duration; write it like 72h, 15m or 30s"))}
}
