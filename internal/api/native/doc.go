// Package native is Postseal's own API under /v1: what the vendors' dialects
// cannot say. Tenants, credentials, evidence behind a status, messages with
// their attempts, the audit log.
//
//	huma ---- reads paths, queries and bodies as documented; writes /v1/openapi.json
//	  |
//	operations (tenant.go, credential.go, domain.go, message.go) -> the core
//	  |
//	error.go: Kind -> problem+json (RFC 9457)
//
// POST /v1/messages, which needs the body as sent for its Idempotency-Key and
// reads it once instead of twice, and POST /v1/token, which has words of its
// own, go through [api.Handle] and are documented by hand.
//
// JSON is read strictly: names in their exact case, none unknown, none twice.
// Lists are {"items":[...],"nextCursor":"..."}; no nextCursor means that this was
// the last page.
package native
