package bench

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"crypto"

	_ "modernc.org/sqlite" // the driver under the limit, as under the product
)

// bareServer is the limit of durable creation and of reading: net/http in front
// of SQLite and nothing else, one process of its own. POST stores a row of 1 KiB
// with a secondary index, fsynced, commits shared by requests that wait
// together; GET reads one of 100,000 rows by its key.
func bareServer(dir string) error {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "bare.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, k TEXT, v TEXT); CREATE INDEX i ON t (k)"); err != nil {
		return err
	}
	value := strings.Repeat("x", 1024)
	if _, err := db.Exec("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 100000) INSERT INTO t (k, v) SELECT 'k'||i, ? FROM n", value); err != nil {
		return err
	}
	readers, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "bare.db")+"?mode=ro")
	if err != nil {
		return err
	}
	readers.SetMaxOpenConns(4)
	readers.SetMaxIdleConns(4)
	read, err := readers.Prepare("SELECT k, v FROM t WHERE id = ?")
	if err != nil {
		return err
	}
	waiting := make(chan chan error, 1024)
	go func() {
		insert, err := db.Prepare("INSERT INTO t (k, v) VALUES (?, ?)")
		for first := range waiting {
			batch := []chan error{first}
			tx, beginErr := db.Begin()
			if err == nil {
				err = beginErr
			}
			for i := 0; i < len(batch) && err == nil; i++ {
				_, err = tx.Stmt(insert).Exec("k", value)
				if i == len(batch)-1 && len(batch) < 128 {
					select {
					case next := <-waiting:
						batch = append(batch, next)
					default:
					}
				}
			}
			if err == nil {
				err = tx.Commit()
			}
			for _, done := range batch {
				done <- err
			}
		}
	}()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr()) // the parent waits for it
	var id atomic.Int64
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // on loopback, for seconds
		if r.Method == http.MethodGet {
			var k, v string
			if err := read.QueryRow(id.Add(7919)%100000+1).Scan(&k, &v); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, v)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		done := make(chan error, 1)
		waiting <- done
		if err := <-done; err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"ok":true}`)
	}))
}

// rsaLimit is how many RSA-2048 signatures a second all cores make with nothing
// else to do: what bounds any sender of signed mail in pure Go.
func rsaLimit(b *testing.B, d time.Duration) float64 {
	b.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256([]byte("bench"))
	ctx, cancel := context.WithTimeout(b.Context(), d)
	defer cancel()
	var n atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:]); err != nil {
					b.Error(err)
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(began).Seconds()
}

const bareVariable = "POSTSEAL_TEST_BARE_SERVER" // set: this process is the limit's server

func TestMain(m *testing.M) {
	if dir := os.Getenv(bareVariable); dir != "" {
		fmt.Fprintln(os.Stderr, bareServer(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}
