package dnscheck

import "slices"

// precedence is the one place that orders codes: of several that are true of a record, the
// one further up is the primary code, because acting on it first makes the others go away or
// makes sense of them. docs/findings.md is the same list in words.
//
// Between servers (judge.go): what cannot be told comes before what is there, and servers
// that disagree before what each of them says. Between values of one answer (better) and
// between the places that are looked at (investigate): our own value, wherever and however
// spoilt, says more than a foreign one, and that more than nothing.
var precedence = []Code{
	// What cannot be told.
	CodeDNSSECBogus, CodeSplitHorizon, CodeNegativeCached, CodeCachedOld, CodeSERVFAIL, CodeTimeout, CodeNSLame,
	// The name as a whole.
	CodeNotDelegated, CodeNSInconsistent, CodeCNAMELoop,
	// Right, and what may be wrong on our side or beside it.
	CodeMXNull, CodeMXExtra, CodeMXWrongPriority, CodeCNAMEWithOtherData,
	CodeMatch, CodeTargetMissing, CodeDKIMMultipleKeys, CodeDKIMKeyRevoked,
	// Policies, each judged by rules of its own.
	CodeSPFMultiple, CodeSPFSyntax, CodeSPFTooManyLookups, CodeSPFVoidLookups, CodeSPFIncludeBroken, CodeSPFIncludeUnreachable, CodeSPFIncludeMissing,
	CodeDMARCMultiple, CodeDMARCSyntax,
	// Our value elsewhere.
	CodeDoubledZone, CodeWrongZoneLevel,
	// Our value, spoilt.
	CodeStaleValue, CodeTargetDoubled, CodeValueQuoted, CodeValueCaseChanged, CodeValueTruncated,
	// Something else in its place.
	CodeWildcard, CodeCNAMEProxied, CodeCNAMEFlattened, CodeWrongType, CodeDKIMKeyMismatch, CodeValueMismatch,
	// Nothing.
	CodeSPFMissing, CodeDMARCMissing, CodeNODATA, CodeNXDOMAIN,
	// Of a posture, and never of a record.
	CodeSPFPassAll,
}

// comesBefore tells whether a is to be acted on before b. Unknown codes come last.
func comesBefore(a, b Code) bool {
	i, j := slices.Index(precedence, a), slices.Index(precedence, b)
	return i >= 0 && (j < 0 || i < j)
}

func better(a, b Code) Code {
	if comesBefore(b, a) {
		return b
	}
	return a
}
