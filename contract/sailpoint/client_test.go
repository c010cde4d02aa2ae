package sailpoint_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// oldestNode is the major version that the client and these scripts need.
const oldestNode = 18

// bounded is a command that ends by itself, or is ended with what it started.
func bounded(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// tools tells what to do where Node or npm are missing.
func tools() error {
	const advice = "install Node 18 or later and npm (scripts/install-test-deps does so on Debian)"
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := bounded(ctx, "node", "--version").Output()
	if err != nil {
		return fmt.Errorf("node --version: %w: %s", err, advice)
	}
	version := strings.TrimSpace(string(out))
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < oldestNode {
		return fmt.Errorf("node is %s: %s", version, advice)
	}
	if err := bounded(ctx, "npm", "--version").Run(); err != nil {
		return fmt.Errorf("npm --version: %w: %s", err, advice)
	}
	return nil
}

// install puts the scripts into a directory where they find the client. It is
// installed once for each package-lock.json, and whole or not at all.
func install(dir string) error {
	if err := tools(); err != nil {
		return err
	}
	lock, err := os.ReadFile("package-lock.json")
	if err != nil {
		return err
	}
	store, err := filepath.Abs(".npm")
	if err != nil {
		return err
	}
	kept := filepath.Join(store, fmt.Sprintf("%x", sha256.Sum256(lock))[:16])
	if _, err := os.Stat(kept); errors.Is(err, os.ErrNotExist) {
		if err := download(store, kept); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	names, err := filepath.Glob("*.mjs")
	if err != nil || len(names) == 0 {
		return fmt.Errorf("no scripts here: %w", err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return os.Symlink(filepath.Join(kept, "node_modules"), filepath.Join(dir, "node_modules"))
}

// download installs the client beside the place where it is to be kept, and moves it
// there. Another process that does the same may be faster.
func download(store, kept string) error {
	if err := os.MkdirAll(store, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(store, "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc"} {
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(tmp, name), text, 0o600)
		}
		if err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	npm := bounded(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	npm.Dir = tmp
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci, in contract/sailpoint: %w: is npm set up for a registry that can be reached?\n%s", err, out)
	}
	if err := os.Rename(tmp, kept); err != nil {
		if _, there := os.Stat(kept); there != nil {
			return err
		}
	}
	return nil
}

// passed is what Node's reporters say at the end where there were tests.
var passed = regexp.MustCompile(`(?m)^(#|ℹ) pass [1-9]`)

// TestClient runs each script with the environment that the env file makes, and
// with nothing that a proxy or a user's own configuration would add.
func TestClient(t *testing.T) {
	names, err := filepath.Glob("*.mjs")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if name == "lib.mjs" {
			continue
		}
		t.Run(strings.TrimSuffix(name, ".mjs"), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			node := bounded(ctx, "node", name)
			node.Dir = scripts
			node.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + scripts}
			for name, value := range dev.Env {
				node.Env = append(node.Env, name+"="+value)
			}
			out, err := node.CombinedOutput()
			switch {
			case err != nil:
				t.Errorf("node %s: %v\n%s", name, err, out)
			case !passed.Match(out):
				t.Errorf("node %s ran no tests:\n%s", name, out)
			}
		})
	}
}

// TestLockNamesNoHost keeps package-lock.json usable wherever a registry is.
func TestLockNamesNoHost(t *testing.T) {
	lock, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(lock)) {
		if strings.Contains(line, "://") || strings.Contains(line, `"resolved"`) {
			t.Errorf("package-lock.json names a host; make it by npm run lock: %s", line)
		}
	}
	if !bytes.Contains(lock, []byte(`"integrity": "sha512-`)) {
		t.Error("package-lock.json has no hashes")
	}
}
