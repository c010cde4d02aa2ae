//go:build darwin || linux

package store

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// lockFile takes the lock beside a data file that says "a process serves this".
// The kernel ends it with the process, however that dies. It is a file of its own
// because closing any descriptor of the data file would drop SQLite's own locks.
func lockFile(path string) (release func(), err error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: the lock of %s can't be opened: %w", quote(path), err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		who := make([]byte, 20)
		n, _ := f.ReadAt(who, 0)
		_ = f.Close()
		return nil, fmt.Errorf("%w: %s is served by process %s; stop it first, or use its API", ErrInUse, quote(path), strings.TrimSpace(string(who[:n])))
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("store: %s can't be locked: %w", quote(path), err)
	}
	// The file stays: removing it would let a second process lock a new one while a
	// third still holds the old.
	return func() { _ = f.Close() }, nil
}
