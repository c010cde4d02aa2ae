package pingone_test

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
	binary string
	dir    string // of its state
	cmd    *exec.Cmd
	ended  chan error
	stderr bytes.Buffer // to be read after ended
}

var dev instance

// TestMain builds the binary, runs one instance for all tests, and demands that
// it ends well when told to. What the env file says is put into this process's
// environment, as a shell that sources it would; nothing here has used TLS before,
// so that SSL_CERT_FILE still counts.
func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) (code int) {
	complain := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "postseal dev:", err)
			code = 1
		}
	}
	tmp, err := os.MkdirTemp("", "postseal-contract-")
	if err != nil {
		complain(err)
		return
	}
	defer func() { complain(os.RemoveAll(tmp)) }()
	if err := dev.start(tmp); err != nil {
		complain(err)
		return
	}
	code = m.Run()
	complain(dev.stop())
	return code
}

func (d *instance) start(tmp string) error {
	d.binary, d.dir = filepath.Join(tmp, "postseal"), filepath.Join(tmp, "state")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // with no build cache, on a small machine
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", d.binary, "./cmd/postseal")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}

	envFile := filepath.Join(tmp, "env")
	// The fast clock lets a code be resent after a second instead of a minute.
	d.cmd = exec.Command(d.binary, "dev", "--fast-clock", "--tenants", "2", "--env-file", envFile, "--pingone-proxy", "127.0.0.1:0", "--dir", d.dir)
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
			if err := setenv(string(text)); err != nil {
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

func setenv(text string) error {
	for line := range strings.Lines(text) {
		parts := envLine.FindStringSubmatch(line)
		if parts == nil {
			return fmt.Errorf("the env file holds %q, which is no NAME='value'", line)
		}
		if err := os.Setenv(parts[1], parts[2]); err != nil {
			return err
		}
	}
	return nil
}

// stop ends the instance as a service manager would, and returns whatever was
// not as it should be: exit code 0, and no secret in its log.
func (d *instance) stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("it had ended by itself: %w", err)
	}
	select {
	case err := <-d.ended:
		if err != nil {
			return fmt.Errorf("after SIGTERM: %w\n%s", err, d.stderr.String())
		}
	case <-time.After(15 * time.Second):
		return errors.Join(errors.New("still there 15 s after SIGTERM"), d.cmd.Process.Kill(), <-d.ended)
	}
	for _, name := range []string{"POSTSEAL_OPERATOR_KEY", "PINGONE_CLIENT_SECRET", "PINGONE_CLIENT_SECRET_2"} {
		if v := os.Getenv(name); v == "" || strings.Contains(d.stderr.String(), v) {
			return fmt.Errorf("%s is empty, or in the log:\n%s", name, d.stderr.String())
		}
	}
	return nil
}

// run is a `postseal dev` subcommand as a process of its own; where the
// directory is not given it finds the instance through the environment.
func (d *instance) run(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.binary, append([]string{"dev"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("postseal dev %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// until repeats a look for 15 seconds at most.
func until(t *testing.T, what string, look func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	for !look() {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
