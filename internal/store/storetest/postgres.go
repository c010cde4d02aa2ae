package storetest

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Postgres makes an empty database that lives as long as the test, and returns its
// URL. The server is that of POSTSEAL_TEST_POSTGRES, the URL of a database whose
// user may make others; or else a private one, started once in the process, which
// listens on a Unix socket only and ends with the process.
func Postgres(t testing.TB) (dsn string) {
	t.Helper()
	admin, err := postgres()
	if err != nil {
		t.Fatal(err)
	}
	name := "postseal_test_" + strings.ToLower(rand.Text())
	if err := command(admin, "CREATE DATABASE "+name); err != nil {
		t.Fatalf("a test database can't be made: %v", err)
	}
	t.Cleanup(func() {
		if keepRunning != nil {
			return // it goes with the server, and dropping it takes longer than the test
		}
		if err := command(admin, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("the test database can't be dropped: %v", err)
		}
	})
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatalf("POSTSEAL_TEST_POSTGRES must be a postgres:// URL: %v", err)
	}
	u.Path = "/" + name
	return u.String()
}

func command(dsn, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, sql)
	return err
}

// postgres returns the URL of a database from which others can be made.
var postgres = sync.OnceValues(func() (string, error) {
	if dsn := os.Getenv("POSTSEAL_TEST_POSTGRES"); dsn != "" {
		return dsn, nil
	}
	return startPostgres()
})

// server makes a cluster, serves it until its standard input ends, which is when
// the test process does, however that ends, and leaves nothing behind.
const server = `
PATH="$1:$PATH"; dir="$2"
initdb --pgdata "$dir/data" --username postgres --auth trust --encoding UTF8 --locale C.UTF-8 --no-sync > "$dir/log" 2>&1 &&
pg_ctl --pgdata "$dir/data" --log "$dir/log" --wait --timeout 60 --options "-k $dir -c listen_addresses='' -c fsync=off -c full_page_writes=off -c max_connections=200 -c shared_buffers=64MB -c wal_level=minimal -c max_wal_senders=0 -c deadlock_timeout=50ms" start >> "$dir/log" 2>&1 &&
echo ready || { tail -n 5 "$dir/log"; exit 1; }
cat > /dev/null
pg_ctl --pgdata "$dir/data" --mode immediate stop >> "$dir/log" 2>&1
rm -rf "$dir"
`

// keepRunning is the end of a pipe that the server reads; it closes with the process.
var keepRunning *os.File

func startPostgres() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is right
	if p, err := exec.LookPath("initdb"); err == nil {
		found = append(found, p)
	}
	if len(found) == 0 {
		return "", fmt.Errorf("PostgreSQL's server is not installed: install Debian's package postgresql, or set POSTSEAL_TEST_POSTGRES to the URL of a server")
	}
	slices.Sort(found)
	bin := filepath.Dir(found[len(found)-1])
	dir, err := os.MkdirTemp("", "postseal-postgres-")
	if err != nil {
		return "", err
	}
	in, out, err := pipes()
	if err != nil {
		return "", err
	}
	cmd := exec.Command("/bin/sh", "-c", server, "sh", bin, dir)
	cmd.Dir = dir
	cmd.Stdin, cmd.Stdout = in.r, out.w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is the test's affair
	if os.Geteuid() == 0 {                                // initdb refuses to run as root
		who, err := unprivileged()
		if err != nil {
			return "", err
		}
		if err := os.Chown(dir, int(who.Uid), int(who.Gid)); err != nil {
			return "", err
		}
		cmd.SysProcAttr.Credential = who
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	_ = in.r.Close()
	_ = out.w.Close()
	keepRunning = in.w
	defer func() { _ = out.r.Close() }()
	_ = out.r.SetReadDeadline(time.Now().Add(2 * time.Minute))
	r := bufio.NewReader(out.r)
	if line, err := r.ReadString('\n'); err != nil || line != "ready\n" {
		rest, _ := io.ReadAll(io.LimitReader(r, 4096))
		return "", fmt.Errorf("a private PostgreSQL server did not start: %v %s%s", err, line, rest)
	}
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/postgres", RawQuery: url.Values{"host": {dir}, "sslmode": {"disable"}}.Encode()}
	return u.String(), nil
}

type pipe struct{ r, w *os.File }

func pipes() (in, out pipe, err error) {
	if in.r, in.w, err = os.Pipe(); err == nil {
		out.r, out.w, err = os.Pipe()
	}
	return in, out, err
}

func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
}
