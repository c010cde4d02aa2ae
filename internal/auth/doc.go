// Package auth knows who asks: it makes, checks and revokes credentials, and
// turns the secret in a request into a [sender.Principal].
//
// It decides nothing about what a principal may do (the core does) and reads no
// HTTP but the one header and form of RFC 6749. It keeps no secret that is only
// compared: what is stored is an argon2id hash. The HMAC keys of key pairs, which
// must be recovered, are sealed in the store. Either is shown once.
//
//	client id + secret --> Token ---------> access token (JWT, one hour)
//	                         |                    |
//	                   argon2id, one a            v
//	                   tenant at a time,    Authenticate --> Principal
//	                   known for 30 s             ^
//	psk_ID_SECRET ---------------------------------
//
//	account + token --> Key ---> HMAC key and Principal; the edge verifies and signs
//
// Tokens name a credential and carry no rights. The credential itself is read
// at every request, through a cache of one second, so that a revoked one is
// refused within two seconds on every node, and a changed grant counts as soon.
package auth
