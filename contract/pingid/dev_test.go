package pingid_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// instance is the `postseal dev` that all tests share.
type instance struct {
	cmd    *exec.Cmd
	ended  chan error
	stderr bytes.Buffer      // to be read after ended
	env    map[string]string // what its env file says
}

var dev instance

// TestMain builds the binary, runs one instance for all tests, and demands that
// it ends well when told to.
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
	if err := connect(dev.env); err != nil {
		complain(errors.Join(err, dev.stop()))
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

	// The fast clock lets a code be resent after a second instead of a minute.
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
	secrets := map[string]string{"POSTSEAL_OPERATOR_KEY": d.env["POSTSEAL_OPERATOR_KEY"]}
	for _, c := range tenants {
		secrets["api_key of "+c.account] = c.apiKey
	}
	for name, v := range secrets {
		if v == "" || strings.Contains(d.stderr.String(), v) {
			return fmt.Errorf("%s is empty, or in the log:\n%s", name, d.stderr.String())
		}
	}
	return nil
}

// control calls a development control with the operator's key.
func (d *instance) control(ctx context.Context, method, path string, body any) (status int, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var in []byte
	if body != nil {
		if in, err = json.Marshal(body); err != nil {
			return 0, nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, d.env["POSTSEAL_URL"]+path, bytes.NewReader(in))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+d.env["POSTSEAL_OPERATOR_KEY"])
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return resp.StatusCode, answer, err
}

// record is one that the world's DNS is to hold, its name absolute.
type record struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Value string `json:"value"`
}

// publish puts a record into the DNS until the test ends.
func publish(t *testing.T, name, rtype, value string) {
	t.Helper()
	r := record{name, rtype, value}
	status, answer, err := dev.control(t.Context(), http.MethodPost, "/dev/dns", r)
	if err != nil || status >= 300 {
		t.Fatalf("%s %s %q is not published: %d %s %v", name, rtype, value, status, answer, err)
	}
	t.Cleanup(func() {
		if status, answer, err := dev.control(context.Background(), http.MethodDelete, "/dev/dns", r); err != nil || status >= 300 {
			t.Errorf("%s %s %q is not removed: %d %s %v", name, rtype, value, status, answer, err)
		}
	})
}

// newestMail is the raw message, "" if there is none.
func newestMail(t *testing.T, address string) string {
	t.Helper()
	status, raw, err := dev.control(t.Context(), http.MethodGet, "/dev/mail/"+url.PathEscape(address), nil)
	if err != nil || status != http.StatusOK && status != http.StatusNoContent {
		t.Fatalf("mail for %s: %d %s %v", address, status, raw, err)
	}
	return string(raw)
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
