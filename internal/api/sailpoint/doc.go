// Package sailpoint speaks the notifications part of SailPoint's Identity Security
// Cloud API, so that its TypeScript and Go clients work against Postseal by another
// base URL, id and secret.
//
// It holds routes, wire forms, one table of errors and the status words; what things
// mean is the core's. docs/dialects/sailpoint.md says operation by operation what is
// the same, what differs and what nobody could tell us.
//
//	path -> release -> limit, header -> decode -> sender.Service -> encode
//
//	release.go     the two families of paths, over one set of handlers
//	routes.go      who may come in, and path and method of each operation
//	rate.go        the limit by client and release
//	token.go       /oauth/token and /oauth/info
//	address.go     verified from addresses
//	domain.go      verified domains and MAIL FROM
//	template.go    templates, send test
//	standard.go    the default templates, in our own words, and their variables
//	velocity.go    $name -> ${name}
//	preference.go  preferences
//	list.go        filters and sorters over what is in memory
//	error.go       Kind -> status and body; language.go: in whose words
//
// Much of it looks odd and is a trap that a real client falls into otherwise. The
// contract numbers them from 1 to 19; each has a test that is named after it.
package sailpoint
