package pingone_test

import (
	"net"
	"syscall"
	"time"
	"unsafe"
)

// stampArrivals makes the kernel say when each packet arrived. On a busy machine this
// process reads some of them much later than others: two looks that are seconds apart would
// seem to be one.
func stampArrivals(c *net.IPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TIMESTAMPNS, 1)
	})
	if err == nil {
		err = failed
	}
	return err
}

// arrival reads the time that came with a packet.
func arrival(control []byte) time.Time {
	ms, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return time.Now()
	}
	for _, m := range ms {
		if m.Header.Level == syscall.SOL_SOCKET && m.Header.Type == syscall.SCM_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(syscall.Timespec{})) {
			return time.Unix((*syscall.Timespec)(unsafe.Pointer(&m.Data[0])).Unix())
		}
	}
	return time.Now()
}
