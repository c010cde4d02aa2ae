package main

import (
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	_ "modernc.org/sqlite" // registers the driver that databases are tampered with
)

// TestCommandLine runs the stories of testdata/script. Beside testscript's own
// commands they have:
//
//	exits CODE PROGRAM ARG...   runs a program that must end with exactly this code
//	await FILE [TEXT]           waits until a file is there, and has the text in it
//	load FILE                   takes NAME='value' lines into the environment
//	sqlite FILE STATEMENT       changes a database behind the program's back
func TestCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits, "await": await, "load": load, "sqlite": tamper,
		},
	})
}

func need(ts *testscript.TestScript, neg bool, ok bool, usage string) {
	if neg || !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) >= 2, "exits CODE PROGRAM ARG...")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		ended, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = ended.ExitCode()
	}
	if got != want {
		ts.Fatalf("it ended with %d, not %d", got, want)
	}
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) == 1 || len(args) == 2, "await FILE [TEXT]")
	deadline := time.Now().Add(30 * time.Second)
	for {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && (len(args) == 1 || strings.Contains(string(b), args[1])) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("waited 30 s for %s in vain: %s, %v", args, b, err)
		}
		time.Sleep(10 * time.Millisecond) // another process writes it
	}
}

func load(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) == 1, "load FILE")
	for name, value := range envFile(ts.ReadFile(args[0])) {
		ts.Setenv(name, value)
	}
}

// envFile reads NAME='value' lines.
func envFile(text string) map[string]string {
	vars := make(map[string]string)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		vars[name] = strings.Trim(value, "'")
	}
	return vars
}

func tamper(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) == 2, "sqlite FILE STATEMENT")
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = db.Exec(args[1])
	ts.Check(errors.Join(err, db.Close()))
}
