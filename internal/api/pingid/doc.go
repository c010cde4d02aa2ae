// Package pingid speaks the part of the PingID SDK's REST API that is about mail, so
// that an application written for it works against Postseal with another properties
// file: trusted domains and addresses, templates, applications, users, pairing of
// mailboxes and authentication by a code sent there.
//
// It holds routes, wire forms, one table of errors and the status words; what
// things mean is the cores'. Other devices than mailboxes are not here.
// docs/dialects/pingid.md says operation by operation what is the same, what
// differs and what nobody could tell us.
//
//	request -> admit: JWS -> key -> digest of what arrived -> principal
//	               |                       |
//	              401                     Mux -> decode -> Core or OTP -> encode
//	                                       |
//	answer  <- sign (every one whose key is known, errors and 204 included)
//
//	sign.go      pure: the signatures of both directions
//	admit.go     who asks, before anything is routed
//	replay.go    the optional memory of requests
//	routes.go    path and method -> decode -> core -> encode
//	domain.go, address.go, template.go: the operations on what the sender core has
//	application.go, user.go, pairing.go, authentication.go: those of the otp core
//	wire.go      pure: what goes on the wire of domains and addresses
//	quirk.go     pure: what the published samples get wrong and must be accepted
//	error.go     Kind -> status, code, detail
package pingid
