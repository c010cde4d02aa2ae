// Package pingid_test drives a real `postseal dev` as the public clients of the
// PingID SDK would, and judges every answer by the dialect's contract alone. There
// is no vendor's client to be had in Go, so this one is written from what the
// contract says of them: it signs as they do, verifies as they do, and is as strict
// as the strictest of them.
//
//	tests -> client: sign, send, verify, judge ---> /pingid/v1 of postseal dev
//	      -> operator's key: DNS records, mail ---> /dev     of postseal dev
//
// It knows nothing of Postseal's packages: the binary is built, started and
// stopped as a user would, and all that the client is told is a properties file.
//
// Where the contract leaves a shape open, a test accepts all that the contract
// allows; a comment beside it says so.
package pingid_test
