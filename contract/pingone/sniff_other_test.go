//go:build !linux

package pingone_test

import (
	"errors"
	"net"
	"time"
)

func stampArrivals(*net.IPConn) error { return errors.ErrUnsupported }

func arrival([]byte) time.Time { return time.Now() }
