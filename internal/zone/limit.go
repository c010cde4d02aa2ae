package zone

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
)

// limiter counts UDP answers per client network and second, in a table of fixed size.
// Two networks that meet in one bucket share its allowance; the worst that happens
// to them is that they ask again over TCP.
type limiter struct {
	perSecond uint64
	seed      maphash.Seed
	buckets   [1 << 14]atomic.Uint64 // second in the upper half, count in the lower
}

func newLimiter(perSecond int) *limiter {
	return &limiter{perSecond: uint64(perSecond), seed: maphash.MakeSeed()}
}

// allow counts one answer to addr at the given Unix second and says whether it is
// within the limit. Networks are IPv4 /24 and IPv6 /56: less than that is cheap to
// spoof or to own as a whole.
func (l *limiter) allow(addr netip.Addr, second int64) bool {
	addr = addr.Unmap()
	bits := 56
	if addr.Is4() {
		bits = 24
	}
	network, err := addr.Prefix(bits)
	if err != nil {
		return true
	}
	b := &l.buckets[maphash.Comparable(l.seed, network)%uint64(len(l.buckets))]
	now := uint64(uint32(second)) << 32
	for {
		old := b.Load()
		next := now | 1
		if old&^0xffffffff == now {
			if next = old + 1; old&0xffffffff >= l.perSecond {
				return false
			}
		}
		if b.CompareAndSwap(old, next) {
			return true
		}
	}
}
