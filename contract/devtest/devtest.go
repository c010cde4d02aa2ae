// Package devtest runs a real `postseal dev` for the contract tests, as a user would:
// built, started, stopped by a signal. It knows nothing of Postseal's packages.
package devtest

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

// Instance is the `postseal dev` that all tests of a package share.
type Instance struct {
	Env map[string]string // what its env file says, once it is started

	cmd    *exec.Cmd
	ended  chan error
	stderr bytes.Buffer // to be read after ended
}

// Start builds the binary and runs `postseal dev` with two tenants and its state in
// the directory tmp, until it has written its env file. The tests of a package two
// folders below the module's root call it.
func (d *Instance) Start(tmp string) error {
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
			if d.Env, err = parseEnv(string(text)); err != nil {
				return errors.Join(err, d.Stop(nil))
			}
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, d.Stop(nil))
		}
		select {
		case err := <-d.ended:
			return fmt.Errorf("ended before it was ready: %v\n%s", err, d.stderr.String())
		case <-late:
			return errors.Join(errors.New("wrote no env file within 30 s"), d.Stop(nil))
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

// Stop ends the instance as a service manager would, and returns whatever was not
// as it should be: exit code 0, and none of the secrets, by name, in its log.
func (d *Instance) Stop(secrets map[string]string) error {
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
	if log := strings.TrimSpace(d.stderr.String()); log != "" && testing.Verbose() {
		fmt.Fprintf(os.Stderr, "postseal dev logged:\n%s\n", log)
	}
	for name, v := range secrets {
		if v == "" || strings.Contains(d.stderr.String(), v) {
			return fmt.Errorf("%s is empty, or in the log:\n%s", name, d.stderr.String())
		}
	}
	return nil
}
