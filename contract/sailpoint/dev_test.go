package sailpoint_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// instance is the `postseal dev` that all tests share.
type instance struct {
	cmd    *exec.Cmd
	ended  chan error
	stderr bytes.Buffer      // to be read after ended
	env    map[string]string // what its env file says
}

var (
	dev     instance
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
	if err := dev.start(tmp); err != nil {
		complain(fmt.Errorf("postseal dev: %w", err))
		return
	}
	code = m.Run()
	complain(dev.stop())
	return code
}

func (d *instance) start(tmp string) error {
	binary, envFile := filepath.Join(tmp, "postseal"), filepath.Join(tmp, "env")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // with no build cache, on a small machine
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/postseal")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}

	// The fast clock makes the grace of lost domains, and the time until a code may be
	// sent again, seconds.
	d.cmd = exec.Command(binary, "dev", "--fast-clock", "--tenants", "2", "--env-file", envFile, "--dir", filepath.Join(tmp, "state"))
	d.cmd.Stderr = &d.stderr
	if err := d.cmd.Start(); err != nil {
		return err
	}
	d.ended = make(chan error, 1)
	go func() { d.ended <- d.cmd.Wait() }()

	late := time.After(30 * time.Second)
	for {
		text, err := os.ReadFile(envFile)
		if err == nil {
			if d.env, err = parseEnv(string(text)); err != nil {
				return errors.Join(err, d.stop())
			}
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, d.stop())
		}
		select {
		case err := <-d.ended:
			return fmt.Errorf("ended before it was ready: %v\n%s", err, d.stderr.String())
		case <-late:
			return errors.Join(errors.New("wrote no env file within 30 s"), d.stop())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// envLine is one NAME='value' of the env file; no value of ours needs escaping.
var envLine = regexp.MustCompile(`^([A-Z][A-Z0-9_]*)='([^']*)'\n$`)

func parseEnv(text string) (map[string]string, error) {
	env := map[string]string{}
	for line := range strings.Lines(text) {
		parts := envLine.FindStringSubmatch(line)
		if parts == nil {
			return nil, fmt.Errorf("the env file holds %q, which is no NAME='value'", line)
		}
		env[parts[1]] = parts[2]
	}
	return env, nil
}

// stop ends the instance as a service manager would, and returns whatever was
// not as it should be: exit code 0, and no secret in its log.
func (d *instance) stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("postseal dev had ended by itself: %w", err)
	}
	select {
	case err := <-d.ended:
		if err != nil {
			return fmt.Errorf("postseal dev after SIGTERM: %w\n%s", err, d.stderr.String())
		}
	case <-time.After(15 * time.Second):
		return errors.Join(errors.New("postseal dev is still there 15 s after SIGTERM"), d.cmd.Process.Kill(), <-d.ended)
	}
	for _, name := range []string{"POSTSEAL_OPERATOR_KEY", "SAIL_CLIENT_SECRET", "SAIL_CLIENT_SECRET_2"} {
		if v := d.env[name]; v == "" || strings.Contains(d.stderr.String(), v) {
			return fmt.Errorf("%s is empty, or in the log of postseal dev:\n%s", name, d.stderr.String())
		}
	}
	return nil
}
