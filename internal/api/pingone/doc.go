// Package pingone speaks the trusted-sender part of the PingOne Platform API, so
// that its Go SDK and its Terraform provider work against Postseal unmodified.
//
// It holds routes, wire forms, one table of errors and the status words; what
// things mean is the core's. docs/dialects/pingone.md says operation by
// operation what is the same, what differs and what nobody could tell us.
//
//	routes.go       path and method -> decode -> sender.Service -> encode
//	wire.go         pure: what goes on the wire for a tenant, domain, address
//	environment.go  environments made, changed and deleted
//	template.go     contents of the fixed templates, which are in standard.go
//	notification.go the notification settings
//	error.go        Kind -> status, code, detail
//	filter.go       the part of SCIM's filters that clients send
//	event.go        the dialect's names for events
//
// Much of it looks odd and is a trap that a real client falls into otherwise:
// environment.id in every body, never application/hal+json, never an empty body
// with 200, no message that begins with one of two sentences. Each has a test
// that is named after it.
package pingone
