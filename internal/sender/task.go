package sender

import "time"

// TaskKind names durable work that the core asks for inside a transaction.
type TaskKind string

// The kinds of work.
const (
	// TaskDispatch wakes the dispatcher at the due time; it carries no message,
	// since the outbox itself says what is due. Asking twice is harmless.
	TaskDispatch TaskKind = "dispatch"
	// TaskKeys makes the DKIM keys that a proven domain lacks.
	TaskKeys TaskKind = "keys"
)

// Task is durable work. Every task is safe to run twice.
type Task struct {
	Kind   TaskKind
	Due    time.Time // zero: at once
	Tenant ID        // with TaskKeys
	Object ID        // with TaskKeys: the domain
}
