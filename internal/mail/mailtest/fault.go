package mailtest

import (
	"slices"
	"time"
)

// A Point is a place in the conversation where a fault strikes.
type Point string

const (
	Connect   Point = "connect"     // instead of the greeting
	Hello     Point = "hello"       // in answer to EHLO or HELO
	STARTTLS  Point = "starttls"    // in answer to STARTTLS
	Auth      Point = "auth"        // in answer to AUTH
	Mail      Point = "mail"        // in answer to MAIL
	Rcpt      Point = "rcpt"        // in answer to RCPT
	Data      Point = "data"        // in answer to DATA, before the message
	MidData   Point = "mid-data"    // after the first line of the message
	EndOfData Point = "end-of-data" // after the final dot
	Rset      Point = "rset"        // in answer to RSET
)

// A Fault is what happens at a point. Delay comes first, then Reply, then Drop
// or Hang. A fault with only a Delay lets the sink go on as if nothing was.
//
// A message that meets Drop or Hang without a Reply at EndOfData was taken: it
// is recorded with Acknowledged false.
type Fault struct {
	At    Point
	Reply string        // "451 4.3.0 try later", sent instead of the sink's own
	Delay time.Duration // before anything else
	Drop  bool          // close the connection
	Hang  bool          // say and read nothing more until the test ends
	Times int           // how often; 0 is always
}

// Fail adds a fault. Faults of one point strike in the order in which they were
// added; one without Times covers those behind it.
func (s *Sink) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// Heal removes all faults.
func (s *Sink) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// strike takes the next fault of a point.
func (s *Sink) strike(at Point) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.At != at {
			continue
		}
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				s.faults = slices.Delete(s.faults, i, i+1)
			}
		}
		return *f, true
	}
	return Fault{}, false
}
