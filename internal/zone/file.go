package zone

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/miekg/dns"
)

// maxFile bounds a zone file in bytes.
const maxFile = 64 << 20

// LoadFile replaces the records of the table by those of a zone file (RFC 1035,
// section 5), as SaveFile writes it or as people do; TTLs in it do not count. On an
// error the table stays as it was. A missing file is an error that matches
// fs.ErrNotExist.
func (t *Table) LoadFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("load zone file: %w", err)
	}
	defer f.Close()
	fail := func(err error) error { return fmt.Errorf("load zone file %.100q: %w", path, err) }
	if info, err := f.Stat(); err != nil {
		return fail(err)
	} else if info.Size() > maxFile {
		return fail(fmt.Errorf("it has %d bytes, at most %d are read", info.Size(), maxFile))
	}

	loaded := t.newTree()
	parser := dns.NewZoneParser(bufio.NewReader(io.LimitReader(f, maxFile)), ".", "")
	parser.SetDefaultTTL(t.ttl)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		h := rr.Header()
		owner, err := parseOwner(h.Name)
		if err == nil {
			_, err = parseType(dns.TypeToString[h.Rrtype])
		}
		if err == nil && h.Class != dns.ClassINET {
			err = errors.New("its class is not IN")
		}
		if err == nil {
			h.Name, h.Ttl = owner, t.ttl
			_, err = t.insert(&loaded, rr)
		}
		if err != nil {
			return fail(fmt.Errorf("record %.100q: %w", rr.String(), err))
		}
	}
	if err := parser.Err(); err != nil {
		return fail(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tree = loaded
	t.serial++
	return nil
}

// SaveFile writes what was added as a zone file, one record a line. The file is
// replaced as a whole or not at all.
func (t *Table) SaveFile(path string) (err error) {
	// Saves take turns, so that an older state never replaces a newer one.
	t.saving.Lock()
	defer t.saving.Unlock()
	defer func() {
		if err != nil {
			err = fmt.Errorf("save zone file %.100q: %w", path, err)
		}
	}()
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriter(f)
	for _, rr := range t.records() {
		_, _ = fmt.Fprintln(w, rr) // the writer keeps its error for Flush
	}
	if err := errors.Join(w.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
