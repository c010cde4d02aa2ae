package sender

import (
	"regexp"

	"github.com/google/uuid"
)

// ID names a thing for ever: a lower-case hyphenated UUID, as the clients of
// the PingOne API demand. New ones are of version 7, so that rows made together
// lie together in an index.
type ID string

var idForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// NewID returns a fresh id.
func NewID() ID { return ID(uuid.Must(uuid.NewV7()).String()) }

// NewRandomID returns a fresh id of version 4, which tells nothing of its time.
func NewRandomID() ID { return ID(uuid.NewString()) }

// ParseID accepts exactly the form NewID prints; ok is false otherwise.
func ParseID(s string) (id ID, ok bool) { return ID(s), idForm.MatchString(s) }

// Bytes returns the 16 octets of the id; the zero value gives zeros.
func (id ID) Bytes() [16]byte {
	u, _ := uuid.Parse(string(id))
	return u
}

// IDFromBytes is the inverse of [ID.Bytes].
func IDFromBytes(b [16]byte) ID { return ID(uuid.UUID(b).String()) }
