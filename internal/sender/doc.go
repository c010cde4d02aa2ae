// Package sender is the core of Postseal: which tenant may send mail from which
// domain and address, how that is proven, and how accepted mail leaves.
//
// It speaks no API and knows no HTTP status, no SQL and no SMTP. Edges call the
// methods of [Service]; the outside is reached through the ports [Store],
// [Checker] and [Provider].
//
//	register domain -> tokens -> []dnscheck.Record -> owner publishes
//	                                   |
//	read a status / due time -> Checker -> findings -> Next (pure) -> Store.Update
//	                                   |
//	register address -> code mail -> code -> active
//	                                   |
//	accept message -> Decide -> Store.Update(message + task) -> 202
//	dispatch: claim -> Decide again -> sign -> mark started -> SMTP -> record
//
// Rules that every method keeps: the network is never inside a transaction,
// every look-up of tenant data names the tenant, and what is not this tenant's
// is answered as [NotFound], whoever owns it.
//
// Vocabulary: a Tenant is one ADMD (RFC 5598, section 2.3) and the same thing as
// a PingOne environment, a PingID account and a SailPoint tenant. A Facet is one
// provable or checkable aspect of a domain in one region (ownership, DKIM, ...).
package sender
