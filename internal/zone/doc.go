// Package zone answers DNS questions: a small authoritative server over UDP and
// TCP, and the two sources of answers that Postseal has of its own.
//
//	datagram or stream -> Server -> Source.Lookup -> Answer -> reply
//	                                   |
//	              Service  the zone customers' CNAME records point into
//	              Table    the writable zones of a development instance
//	              Chain    the first source that is responsible
//
// It is not a resolver: nothing is ever asked of another server. A Server with
// Recursion set only says that it is one, and follows aliases across all its
// sources, so that a development instance can be its own Internet.
// It signs nothing (no DNSSEC), transfers nothing and takes no updates.
//
// Answers are minimal: no additional records, no authority section in positive
// answers, nothing at all in truncated ones, and never more than 1232 bytes over
// UDP. What a spoofed question can make of this server is therefore small.
package zone
