package store

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/postseal/postseal/internal/sender"
)

// sealed says where sealed values are: a column of a table, the columns of its key
// and others that its place has.
type sealed struct {
	table, column string
	key           []string
	more          []string
	at            func(columns []string) place
}

// sealedColumns must name every column that is sealed.
var sealedColumns = []sealed{
	{"secrets", "value", []string{"name"}, nil, func(c []string) place { return secretPlace(c[0]) }},
	{"signing_keys", "pkcs8", []string{"selector"}, nil, func(c []string) place { return keyPlace(c[0]) }},
	{"credentials", "hmac_key", []string{"id"}, nil, func(c []string) place { return pairPlace(c[0]) }},
	{"relays", "password", []string{"tenant_id"}, []string{"host", "username"}, func(c []string) place {
		return relayPlace(sender.Relay{Tenant: sender.ID(c[0]), Host: c[1], Username: c[2]})
	}},
	{"relays", "http", []string{"tenant_id"}, nil, func(c []string) place { return httpPlace(sender.ID(c[0])) }},
	{"webhooks", "secrets", []string{"tenant_id", "id"}, nil, func(c []string) place { return hookPlace(c[0], c[1]) }},
	{"bodies", "body", []string{"tenant_id", "message_id"}, nil, func(c []string) place { return bodyPlace(c[0], c[1]) }},
}

// Resealed is what Reseal did to one column, and how far it is.
type Resealed struct {
	Column string // TABLE.COLUMN
	Total  int    // sealed values when it began
	Done   int    // looked at so far
	Sealed int    // of them, sealed again
	Lost   int    // of them, such as don't open with any of the keys; they are left as they are
}

// resealPage is how many values one transaction seals.
const resealPage = 100

// Reseal seals again, with the active key, what is sealed with others. A server may be
// running: values that change meanwhile are left to it. Ended half-way and called
// again it goes on with what is left. told gets each column's progress, and lost each
// value that does not open; either may be nil.
func (s *Store) Reseal(ctx context.Context, told func(Resealed), lost func(error)) ([]Resealed, error) {
	var all []Resealed
	for _, c := range sealedColumns {
		r, err := s.reseal(ctx, c, told, lost)
		all = append(all, r)
		if err != nil {
			return all, fmt.Errorf("store: seal %s again: %w", r.Column, err)
		}
	}
	return all, nil
}

type sealedRow struct {
	columns []string
	value   []byte
}

func (s *Store) reseal(ctx context.Context, c sealed, told func(Resealed), lost func(error)) (Resealed, error) {
	r := Resealed{Column: c.table + "." + c.column}
	if err := s.conn.QueryRow(ctx, fmt.Sprintf(`SELECT count(*) FROM %s WHERE %s IS NOT NULL`, c.table, c.column)).Scan(&r.Total); err != nil {
		return r, err
	}
	for after := make([]string, len(c.key)); ; {
		rows, err := s.sealedRows(ctx, c, after)
		if err != nil || len(rows) == 0 {
			return r, err
		}
		fresh, seen := 0, r
		err = s.engine.update(ctx, s, func(t *tx) error {
			fresh, seen = 0, r
			for _, row := range rows {
				seen.Done++
				if s.keys.isActive(row.value) {
					continue
				}
				plain, err := s.keys.open(row.value, c.at(row.columns))
				if err != nil {
					seen.Lost++
					continue
				}
				n, err := t.resealRow(ctx, c, row, plain)
				if err != nil {
					return err
				}
				fresh += n
			}
			return nil
		})
		if err != nil {
			return r, err
		}
		r = seen
		r.Sealed += fresh
		if lost != nil {
			for _, row := range rows {
				if _, err := s.keys.open(row.value, c.at(row.columns)); err != nil {
					lost(err)
				}
			}
		}
		if told != nil {
			told(r)
		}
		after = rows[len(rows)-1].columns[:len(c.key)]
	}
}

// sealedRows reads the page after a key.
func (s *Store) sealedRows(ctx context.Context, c sealed, after []string) ([]sealedRow, error) {
	columns := append(append([]string{}, c.key...), c.more...)
	marks, args := make([]string, len(after)), make([]any, len(after))
	for i, a := range after {
		marks[i], args[i] = fmt.Sprintf("$%d", i+1), a
	}
	key := strings.Join(c.key, ", ")
	rows, err := s.conn.Query(ctx, fmt.Sprintf(`SELECT %s, %s FROM %s WHERE %s IS NOT NULL AND (%s) > (%s) ORDER BY %s LIMIT %d`,
		strings.Join(columns, ", "), c.column, c.table, c.column, key, strings.Join(marks, ", "), key, resealPage), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []sealedRow
	for rows.Next() {
		row := sealedRow{columns: make([]string, len(columns))}
		into := make([]any, 0, len(columns)+1)
		for i := range row.columns {
			into = append(into, &row.columns[i])
		}
		if err := rows.Scan(append(into, &row.value)...); err != nil {
			return nil, err
		}
		page = append(page, row)
	}
	return page, rows.Err()
}

// resealRow writes a value in place of the one that was read.
func (t *tx) resealRow(ctx context.Context, c sealed, row sealedRow, plain []byte) (int, error) {
	args := []any{t.keys.seal(plain, c.at(row.columns)), row.value}
	var where strings.Builder
	for i, k := range c.key {
		fmt.Fprintf(&where, " AND %s = $%d", k, i+3)
		args = append(args, row.columns[i])
	}
	tag, err := t.conn.Exec(ctx, fmt.Sprintf(`UPDATE %s SET %s = $1 WHERE %s = $2%s`, c.table, c.column, c.column, &where), args...)
	return int(tag.RowsAffected()), err
}

// isActive reports whether a value is sealed with the active key.
func (k *Keyring) isActive(value []byte) bool {
	return bytes.HasPrefix(value, []byte(sealVersion+"."+k.active+"."))
}
