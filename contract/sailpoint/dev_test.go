package sailpoint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/postseal/postseal/contract/devtest"
)

var (
	dev     devtest.Instance
	scripts string // where they are beside the client
)

// TestMain installs the client, builds the binary, runs one instance for all tests,
// and demands that it ends well when told to.
func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) (code int) {
	complain := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "contract with SailPoint's client:", err)
			code = 1
		}
	}
	tmp, err := os.MkdirTemp("", "postseal-contract-")
	if err != nil {
		complain(err)
		return
	}
	defer func() { complain(os.RemoveAll(tmp)) }()
	scripts = filepath.Join(tmp, "scripts")
	if err := install(scripts); err != nil {
		complain(err)
		return
	}
	if err := dev.Start(tmp); err != nil {
		complain(fmt.Errorf("postseal dev: %w", err))
		return
	}
	code = m.Run()
	secrets := map[string]string{}
	for _, name := range []string{"POSTSEAL_OPERATOR_KEY", "SAIL_CLIENT_SECRET", "SAIL_CLIENT_SECRET_2"} {
		secrets[name] = dev.Env[name]
	}
	complain(dev.Stop(secrets))
	return code
}
