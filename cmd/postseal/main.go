// Command postseal is the only binary of Postseal: the server, its development
// instance with everything embedded, and the tools around it.
//
//	serve       run the server
//	migrate     bring the database to this program's schema
//	dev         run everything embedded on loopback, with a demo tenant
//	demo        run the whole journey once and show each step
//	check       look at the DNS of a domain, or at records, without a server
//	keygen      make a key-encryption key
//	credential  make, list, rotate and revoke credentials, straight on the database
//	reseal      seal all secrets again with the first key
//	guard       see and release what the mass guard holds back
//	version     say which version this is
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// streams are what a command may touch of the process it runs in.
type streams struct {
	ctx    context.Context
	env    []string
	in     io.Reader
	out    io.Writer
	errOut io.Writer
}

type cli struct {
	Serve      serveCmd      `cmd:"" help:"Run the server."`
	Migrate    migrateCmd    `cmd:"" help:"Bring the database to this program's schema."`
	Dev        devCmd        `cmd:"" help:"Run everything embedded on loopback, with a demo tenant; or change what such an instance holds."`
	Demo       demoCmd       `cmd:"" help:"Run the whole journey once against an instance of its own, and show each step."`
	Check      checkCmd      `cmd:"" help:"Look at the DNS of domains, or at the records that a file lists, without a server."`
	Keygen     keygenCmd     `cmd:"" help:"Make a key-encryption key."`
	Credential credentialCmd `cmd:"" help:"Make, list, rotate and revoke credentials, straight on the database."`
	Reseal     resealCmd     `cmd:"" help:"Seal all secrets of the database again with the first of the keys, so that the others can go."`
	Guard      guardCmd      `cmd:"" help:"See and release what the mass guard holds back."`
	Version    versionCmd    `cmd:"" help:"Say which version this is."`
}

// ended is the end of a command that has said what there is to say.
type ended int

func (e ended) Error() string { return fmt.Sprintf("ended with %d", int(e)) }

// exitUsage is for a command that was called in a way that cannot work (EX_USAGE of sysexits.h): a
// code that no command gives another meaning.
const exitUsage = 64

// exit is how kong asks for the end of the program, carried as a panic to run.
type exit int

// run is main without the process: 0 is success, 1 a failure, 64 wrong usage. A command may
// end with a code of its own meaning, which its help tells.
func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	defer func() {
		if e, ok := recover().(exit); ok {
			code = int(e)
		}
	}()
	var c cli
	parser, err := kong.New(&c, kong.Name("postseal"),
		kong.Description("Postseal lets every tenant of a platform send mail from the tenant's own domain, and from no other."),
		kong.Writers(stdout, stderr), kong.Exit(func(n int) { panic(exit(n)) }), kong.UsageOnError())
	if err != nil {
		fmt.Fprintln(stderr, "postseal:", err)
		return 1
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if flag := blankFlag(args); flag != "" {
		err = fmt.Errorf("%s is empty: give it a value, or leave it out", flag)
	}
	if err != nil {
		fmt.Fprintf(stderr, "postseal: %v\nRun postseal --help for what there is.\n", err)
		return exitUsage
	}
	if err := parsed.Run(&streams{ctx: ctx, env: env, in: stdin, out: stdout, errOut: stderr}); err != nil {
		if e, ok := errors.AsType[ended](err); ok {
			return int(e)
		}
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			return 0
		}
		fmt.Fprintln(stderr, "postseal:", err)
		return 1
	}
	return 0
}

// blankFlag finds a flag with nothing for its value, as a script makes it of a variable that is
// not set. The parser takes it for one that was left out, which means something else.
func blankFlag(args []string) string {
	for i, arg := range args {
		flag, value, assigned := strings.Cut(arg, "=")
		if !assigned && i+1 < len(args) {
			value, assigned = args[i+1], true
		}
		if assigned && strings.HasPrefix(flag, "--") && strings.TrimSpace(value) == "" {
			return flag
		}
	}
	return ""
}

// getenv looks a variable up in the environment that run was given.
func (s *streams) getenv(name string) string {
	for i := len(s.env) - 1; i >= 0; i-- {
		if n := len(name); len(s.env[i]) > n && s.env[i][n] == '=' && s.env[i][:n] == name {
			return s.env[i][n+1:]
		}
	}
	return ""
}

// logger writes to standard error, as JSON or as text.
func (s *streams) logger(level slog.Level, format string) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "text" {
		return slog.New(slog.NewTextHandler(s.errOut, o))
	}
	return slog.New(slog.NewJSONHandler(s.errOut, o))
}
