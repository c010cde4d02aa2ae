package store

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postseal/postseal/internal/store/storetest"
)

// generated returns the queries that sqlc made, by name.
func generated(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("db/*.sql.go")
	if err != nil {
		t.Fatal(err)
	}
	query := regexp.MustCompile("(?s)= `-- name: (\\w+) [^\n]*\n(.*?)`")
	found := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range query.FindAllStringSubmatch(string(text), -1) {
			found[m[1]] = m[2]
		}
	}
	return found
}

var parameter = regexp.MustCompile(`\$\d+`)

func parameters(query string) int {
	numbers := parameter.FindAllString(query, -1)
	slices.Sort(numbers)
	return len(slices.Compact(numbers))
}

// explain returns the steps of SQLite's plan.
func explain(t *testing.T, s *Store, query string) (steps []string) {
	t.Helper()
	args := make([]any, parameters(query))
	for i := range args {
		args[i] = 1
	}
	rows, err := s.Writer().QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Errorf("%s: %v", query, err)
		return nil
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id, parent, unused int
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step)
	}
	if err := rows.Err(); err != nil {
		t.Errorf("%s: %v", query, err)
	}
	return steps
}

func planned(t *testing.T, dsn string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{DSN: dsn, SealKeys: ring(t, GenerateKey()), Log: slog.New(slog.DiscardHandler), Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// Every query that sqlc made for PostgreSQL is also one of SQLite's, and none reads
// a table from end to end.
func TestQueriesUseAnIndexOnSQLite(t *testing.T) {
	s := planned(t, filepath.Join(t.TempDir(), "x.db"))
	// These read a whole partial index: of the mail in the queue, or being sent, of the
	// domains of which something is absent, and of those that hold something, which are
	// counted while many are absent.
	indexScan := regexp.MustCompile(`^SCAN (messages USING (COVERING )?INDEX messages_(next|leased)|domains USING COVERING INDEX domains_(holding|absent_of))$`)
	queries := generated(t)
	for name, query := range queries {
		for _, step := range explain(t, s, query) {
			table, scans := strings.CutPrefix(step, "SCAN ")
			if scans && table != "part" && table != "walk" && table != "CONSTANT ROW" && !indexScan.MatchString(step) || strings.Contains(step, "TEMP B-TREE") {
				t.Errorf("%s: %s", name, step)
			}
		}
	}
	if len(queries) < 75 {
		t.Errorf("only %d queries were found", len(queries))
	}
}

// crowd is one tenant with much of what tells two indexes apart: among few rows,
// PostgreSQL takes either.
const crowd = `
INSERT INTO tenants SELECT 't', id, '', '', '', '[]', '', '', 0, 0, 0, 0, 0 FROM organizations;
INSERT INTO users SELECT 't', 'u' || n, 'name' || n, '', '', 0, '{}', 0, 0 FROM generate_series(1, 100) n;
INSERT INTO pairings SELECT 't', 'p' || n, 'u' || 1 + n % 100, 'a', '', '', '', '{}', '', 0, 0, n FROM generate_series(1, 2000) n;
INSERT INTO authentications SELECT 't', 'a' || n, 'u' || 1 + n % 100, 'a', '', '', '{}', 0, 0, n FROM generate_series(1, 2000) n;
ANALYZE users, pairings, authentications`

// What every signed request, every filled mail and every code asks is one seek, in
// an index that has all that is asked for.
func TestHotQueriesSeekOneRowOnBothEngines(t *testing.T) {
	lite, pg := planned(t, filepath.Join(t.TempDir(), "x.db")), planned(t, storetest.Postgres(t))
	conn, err := pg.Pool().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(t.Context(), crowd); err != nil {
		t.Fatal(err)
	}
	queries := generated(t)
	for _, c := range []struct{ query, lite, pg, cond string }{
		{"CredentialByToken", "SEARCH credentials USING INDEX credentials_token (token=?)", "credentials_token", "(token = $2)"},
		{"TemplateFor", "SEARCH templates USING INDEX sqlite_autoindex_templates_2 (tenant_id=? AND application_id=? AND type=? AND locale=? AND variant=?)",
			"templates_tenant_id_application_id_type_locale_variant_key", "((tenant_id = $1) AND (application_id = $2) AND (type = $3) AND (locale = $4) AND (variant = $5))"},
		{"Application", "SEARCH applications USING INDEX sqlite_autoindex_applications_1 (tenant_id=? AND id=?)", "applications_pkey", "((tenant_id = $1) AND (id = $2))"},
		{"User", "SEARCH users USING INDEX sqlite_autoindex_users_2 (tenant_id=? AND username=?)", "users_tenant_id_username_key", "((tenant_id = $1) AND (username = $2))"},
		{"Devices", "SEARCH devices USING INDEX devices_user (tenant_id=? AND user_id=?)", "devices_user", "((tenant_id = $1) AND (user_id = $2))"},
		{"Pairing", "SEARCH pairings USING PRIMARY KEY (tenant_id=? AND id=?)", "pairings_pkey", "((tenant_id = $1) AND (id = $2))"},
		{"Authentication", "SEARCH authentications USING PRIMARY KEY (tenant_id=? AND id=?)", "authentications_pkey", "((tenant_id = $1) AND (id = $2))"},
	} {
		if got := explain(t, lite, queries[c.query]); !slices.Equal(got, []string{c.lite}) {
			t.Errorf("%s on SQLite: %q, want %q", c.query, got, c.lite)
		}
		// Planned for any arguments, without the ways that are taken for few rows.
		nulls := strings.Join(slices.Repeat([]string{"NULL"}, parameters(queries[c.query])), ", ")
		rs, err := conn.Conn().PgConn().Exec(t.Context(), "SET enable_seqscan = off; SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan; "+
			"PREPARE hot"+c.query+" AS "+strings.TrimSpace(queries[c.query])+"; EXPLAIN (COSTS OFF) EXECUTE hot"+c.query+" ("+nulls+")").ReadAll()
		if err != nil {
			t.Errorf("%s on PostgreSQL: %v", c.query, err)
			continue
		}
		var got []string
		for _, row := range rs[len(rs)-1].Rows {
			got = append(got, strings.TrimSpace(string(row[0])))
		}
		plan := strings.Join(got, "; ")
		if !strings.HasPrefix(plan, "Index Scan using "+c.pg+" on ") || !strings.Contains(plan, "; Index Cond: "+c.cond) || strings.Contains(plan, "Sort") {
			t.Errorf("%s on PostgreSQL: %s", c.query, plan)
		}
	}
}
