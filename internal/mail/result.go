package mail

import (
	"time"
)

// An Outcome is what is known about one attempt to hand over a message.
type Outcome string

const (
	// Delivered: the relay answered 2yz to the whole message and is now
	// responsible for it.
	Delivered Outcome = "delivered"
	// TempFailed: the relay has not got the message; another attempt may succeed.
	TempFailed Outcome = "temporary"
	// PermFailed: the relay refused with 5yz, or the message or envelope cannot
	// be sent as it is. The same attempt will not succeed.
	PermFailed Outcome = "permanent"
	// InDoubt: the whole message left, and no answer came. The relay may have it
	// or not; a second attempt may deliver it twice (RFC 5321, section 4.5.3.2.6).
	InDoubt Outcome = "unknown"
)

// The stages of an attempt, in order. A 5yz at connect, tls or auth is about us
// and the relay, at mail about the sender, at rcpt about the recipient, at data
// and end-of-data about the message.
const (
	StageConnect   = "connect" // dial, greeting and EHLO
	StageTLS       = "tls"
	StageAuth      = "auth"
	StageMail      = "mail"
	StageRcpt      = "rcpt"
	StageData      = "data" // the DATA command and the message up to its final dot
	StageEndOfData = "end-of-data"
)

// A Step is one line of a transcript: a command and its reply. Credentials and
// the message are never in it. Both texts are one printable line of at most 510
// bytes or so.
type Step struct {
	At      time.Time     // when the command was sent
	Command string        // "RCPT TO:<user@example.org>", "(message, 1531 bytes)"
	Reply   string        // "250 2.1.5 ok", or what happened instead
	Took    time.Duration // until the reply was there; commands sent together overlap
}

// A Result is all that is known about one attempt.
type Result struct {
	Outcome    Outcome
	Reply      Reply  // the reply that decided; zero if none did
	Stage      string // how far it got: one of the Stage constants
	Transcript []Step
	Err        string // "" if delivered: what happened and where, in one line
}

// transcript collects the steps of one attempt.
type transcript []Step

func (t *transcript) add(at time.Time, command, reply string) {
	*t = append(*t, Step{At: at, Command: cutTo(command, maxReplyText), Reply: reply, Took: time.Since(at)})
}

// A failure is how an attempt ended short of Delivered.
type failure struct {
	outcome Outcome
	stage   string
	reply   Reply
	err     string
}

// refused is a failure by a reply: 5yz is permanent, whatever else is there is not.
func refused(stage, server string, reply Reply) *failure {
	f := &failure{outcome: TempFailed, stage: stage, reply: reply}
	if reply.Permanent() {
		f.outcome = PermFailed
	}
	f.err = stage + ": " + server + " answered \"" + cutTo(reply.String(), 200) + "\""
	return f
}

// broken is a failure without a reply, before the message was handed over.
func broken(stage, server string, err error) *failure {
	return &failure{outcome: TempFailed, stage: stage, err: stage + ": " + server + ": " + cutTo(err.Error(), 200)}
}

// unfit is a failure of what we were asked to send; nothing was sent.
func unfit(stage string, err error) *failure {
	return &failure{outcome: PermFailed, stage: stage, err: stage + ": " + cutTo(err.Error(), 200)}
}

// result turns the end of an attempt into a Result.
func (f *failure) result(t transcript) Result {
	return Result{Outcome: f.outcome, Reply: f.reply, Stage: f.stage, Transcript: t, Err: f.err}
}
