// Package otp is the second core of Postseal: people of a tenant's applications, the
// mailboxes that they have paired, and signing them in by a one-time code sent
// there. Mail leaves through [sender.Service], by a template of the tenant.
//
// It speaks no API and knows no HTTP status and no SQL. It keeps no code: what is
// stored is a keyed hash, and what is mailed is sealed with the message.
//
//	Application (its attributes say what is allowed)
//	    |
//	User -- StartPairing -> code by mail -> FinishPairing -> Device
//	    |                                                      |
//	    +-- StartAuthentication --- code to that mailbox <-----+
//	                  |
//	             SubmitCode -> approved | wrong, thrice: blocked
//
// Everything about one person happens one after the other, under [Tx.LockUser]: ten
// thousand guesses at once get as many tries as three in a row.
package otp
