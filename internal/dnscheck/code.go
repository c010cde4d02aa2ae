package dnscheck

// Outcome is the judgement on one record.
type Outcome string

// The outcomes. Unknown means that nothing could be learnt; it never stands for absence.
const (
	Match    Outcome = "match"
	Missing  Outcome = "missing"
	Mismatch Outcome = "mismatch"
	Unknown  Outcome = "unknown"
)

// Code is the reason for an outcome, stable for programs.
type Code string

// Codes of a match. CodeTargetMissing is a match because the owner's record is right and
// the fault is ours.
const (
	CodeMatch         Code = "MATCH"
	CodeTargetMissing Code = "TARGET_MISSING"
)

// Codes of something missing.
const (
	CodeNXDOMAIN          Code = "NXDOMAIN"
	CodeNODATA            Code = "NODATA"
	CodeDoubledZone       Code = "DOUBLED_ZONE"     // published at name.zone.zone
	CodeWrongZoneLevel    Code = "WRONG_ZONE_LEVEL" // published relative to a parent or child
	CodeWildcard          Code = "WILDCARD"         // only a wildcard answers
	CodeNotDelegated      Code = "NOT_DELEGATED"
	CodeMXNull            Code = "MX_NULL" // RFC 7505
	CodeSPFMissing        Code = "SPF_MISSING"
	CodeSPFIncludeMissing Code = "SPF_INCLUDE_MISSING"
	CodeDMARCMissing      Code = "DMARC_MISSING"
)

// Codes of something that is there and wrong.
const (
	CodeWrongType             Code = "WRONG_TYPE"
	CodeTargetDoubled         Code = "TARGET_DOUBLED" // own zone appended to the target
	CodeValueMismatch         Code = "VALUE_MISMATCH"
	CodeValueCaseChanged      Code = "VALUE_CASE_CHANGED"
	CodeValueQuoted           Code = "VALUE_QUOTED" // quotes, wrapping or blanks in the value
	CodeValueTruncated        Code = "VALUE_TRUNCATED"
	CodeStaleValue            Code = "STALE_VALUE" // ours, of an earlier epoch or another region
	CodeCNAMEFlattened        Code = "CNAME_FLATTENED"
	CodeCNAMEProxied          Code = "CNAME_PROXIED"
	CodeCNAMEWithOtherData    Code = "CNAME_WITH_OTHER_DATA"
	CodeCNAMELoop             Code = "CNAME_LOOP"
	CodeNSInconsistent        Code = "NS_INCONSISTENT"
	CodeMXExtra               Code = "MX_EXTRA"
	CodeMXWrongPriority       Code = "MX_WRONG_PRIORITY"
	CodeSPFMultiple           Code = "SPF_MULTIPLE"
	CodeSPFTooManyLookups     Code = "SPF_TOO_MANY_LOOKUPS"
	CodeSPFVoidLookups        Code = "SPF_VOID_LOOKUPS"
	CodeSPFSyntax             Code = "SPF_SYNTAX"
	CodeSPFIncludeBroken      Code = "SPF_INCLUDE_BROKEN"      // an include without SPF record behind it
	CodeSPFIncludeUnreachable Code = "SPF_INCLUDE_UNREACHABLE" // after "all", or a redirect made void by one
	CodeSPFPassAll            Code = "SPF_PASS_ALL"            // everybody is authorised; of postures only
	CodeDKIMKeyMismatch       Code = "DKIM_KEY_MISMATCH"
	CodeDKIMKeyRevoked        Code = "DKIM_KEY_REVOKED"
	CodeDKIMMultipleKeys      Code = "DKIM_MULTIPLE_KEYS"
	CodeDMARCSyntax           Code = "DMARC_SYNTAX"
	CodeDMARCMultiple         Code = "DMARC_MULTIPLE"
)

// Codes of what could not be learnt.
const (
	CodeTimeout        Code = "TIMEOUT"
	CodeSERVFAIL       Code = "SERVFAIL"
	CodeDNSSECBogus    Code = "DNSSEC_BOGUS"
	CodeNSLame         Code = "NS_LAME" // every server lame or refusing
	CodeSplitHorizon   Code = "SPLIT_HORIZON"
	CodeNegativeCached Code = "NEGATIVE_CACHED" // some see it, others still hold "no such record"
	CodeCachedOld      Code = "CACHED_OLD"      // some see it, others still hold an old value
)

// outcomes maps each code to its outcome; the empty outcome marks the codes that can go
// with two.
var outcomes = map[Code]Outcome{
	CodeMatch: Match, CodeTargetMissing: Match,

	CodeNXDOMAIN: Missing, CodeNODATA: Missing, CodeDoubledZone: Missing, CodeWrongZoneLevel: Missing,
	CodeWildcard: Missing, CodeNotDelegated: Missing, CodeMXNull: Missing, CodeSPFMissing: Missing,
	CodeSPFIncludeMissing: Missing, CodeDMARCMissing: Missing,

	CodeWrongType: Mismatch, CodeTargetDoubled: Mismatch, CodeValueMismatch: Mismatch, CodeValueCaseChanged: Mismatch,
	CodeValueQuoted: Mismatch, CodeValueTruncated: Mismatch, CodeStaleValue: Mismatch, CodeCNAMEFlattened: Mismatch,
	CodeCNAMEProxied: Mismatch, CodeCNAMEWithOtherData: Mismatch, CodeCNAMELoop: Mismatch, CodeNSInconsistent: Mismatch,
	CodeMXExtra: Mismatch, CodeMXWrongPriority: Mismatch, CodeSPFMultiple: Mismatch, CodeSPFTooManyLookups: Mismatch,
	CodeSPFVoidLookups: Mismatch, CodeSPFSyntax: Mismatch, CodeSPFIncludeBroken: Mismatch,
	CodeSPFIncludeUnreachable: Mismatch, CodeSPFPassAll: Mismatch, CodeDKIMMultipleKeys: Mismatch, CodeDMARCSyntax: Mismatch, CodeDMARCMultiple: Mismatch,

	CodeTimeout: Unknown, CodeSERVFAIL: Unknown, CodeDNSSECBogus: Unknown, CodeNSLame: Unknown, CodeSplitHorizon: Unknown,

	// A match when behind our own target, a mismatch in a key published directly.
	CodeDKIMKeyMismatch: "", CodeDKIMKeyRevoked: "",
	// Unknown for a grant, a match for everything else.
	CodeNegativeCached: "", CodeCachedOld: "",
}

// Outcome returns the outcome that the code always goes with. It is empty for an unknown
// code and for DKIM_KEY_MISMATCH, DKIM_KEY_REVOKED, NEGATIVE_CACHED and CACHED_OLD, which
// can go with two.
func (c Code) Outcome() Outcome { return outcomes[c] }
