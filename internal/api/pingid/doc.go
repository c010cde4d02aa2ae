// Package pingid speaks the trusted-email part of the PingID SDK's REST API, so
// that an application written for it works against Postseal with another
// properties file.
//
// It holds routes, wire forms, one table of errors and the status words; what
// things mean is the core's. Email templates, applications, users, devices,
// pairing and authentication are not here. docs/dialects/pingid.md says
// operation by operation what is the same, what differs and what nobody could
// tell us.
//
//	request -> admit: JWS -> key -> digest of what arrived -> principal
//	               |                       |
//	              401                     Mux -> decode -> Core -> encode
//	                                       |
//	answer  <- sign (every one whose key is known, errors and 204 included)
//
//	sign.go     pure: the signatures of both directions
//	admit.go    who asks, before anything is routed
//	replay.go   the optional memory of requests
//	routes.go   path and method -> decode -> Core -> encode
//	wire.go     pure: what goes on the wire
//	quirk.go    pure: what the published samples get wrong and must be accepted
//	error.go    Kind -> status, code, detail
package pingid
