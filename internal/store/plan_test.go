package store

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every query that sqlc made for PostgreSQL is also one of SQLite's, and none reads
// a table from end to end.
func TestQueriesUseAnIndexOnSQLite(t *testing.T) {
	s, err := Open(t.Context(), Config{DSN: filepath.Join(t.TempDir(), "x.db"), SealKeys: ring(t, GenerateKey()), Log: slog.New(slog.DiscardHandler), Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	files, err := filepath.Glob("db/*.sql.go")
	if err != nil {
		t.Fatal(err)
	}
	query := regexp.MustCompile("(?s)= `-- name: (\\w+) [^\n]*\n(.*?)`")
	parameter := regexp.MustCompile(`\$\d+`)
	// These read a whole partial index: of the mail in the queue, or being sent.
	indexScan := regexp.MustCompile(`^SCAN messages USING (COVERING )?INDEX messages_(next|leased)$`)
	found := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range query.FindAllStringSubmatch(string(text), -1) {
			found++
			numbers := parameter.FindAllString(m[2], -1)
			slices.Sort(numbers)
			args := make([]any, len(slices.Compact(numbers)))
			for i := range args {
				args[i] = 1
			}
			rows, err := s.Writer().QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+m[2], args...)
			if err != nil {
				t.Errorf("%s: %v", m[1], err)
				continue
			}
			for rows.Next() {
				var id, parent, unused int
				var step string
				if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
					t.Fatal(err)
				}
				table, scans := strings.CutPrefix(step, "SCAN ")
				if scans && table != "part" && table != "walk" && table != "CONSTANT ROW" && !indexScan.MatchString(step) || strings.Contains(step, "TEMP B-TREE") {
					t.Errorf("%s: %s", m[1], step)
				}
			}
			if err := rows.Err(); err != nil {
				t.Errorf("%s: %v", m[1], err)
			}
			_ = rows.Close()
		}
	}
	if found < 40 {
		t.Errorf("only %d queries were found", found)
	}
}
