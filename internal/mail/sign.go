package mail

import (
	"bytes"
	"crypto"
	"fmt"
	"strings"

	"github.com/emersion/go-msgauth/dkim"
)

// A Signature asks for one DKIM signature (RFC 6376).
type Signature struct {
	Domain   string        // SDID, the d= tag; aligned with From for DMARC
	Selector string        // names one key below _domainkey (RFC 6376, section 3.1)
	Key      crypto.Signer // *rsa.PrivateKey or ed25519.PrivateKey
}

// overSigned are the header fields that are named in h= once more than they
// occur, so that a field added on the way makes the signature fail: the
// receiver's program may show the second From or Subject (RFC 6376, section
// 8.15). Fields that relays and lists add rightly (Received, List-Id) are not here.
var overSigned = []string{
	"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID",
	"In-Reply-To", "References",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding",
	"List-Unsubscribe", "List-Unsubscribe-Post",
}

// Sign returns the message with one DKIM-Signature in front for each s, the
// first on top: relaxed/relaxed, SHA-256, the whole body (no l=). RSA keys give
// rsa-sha256, Ed25519 keys ed25519-sha256 (RFC 8463). The message is the complete
// one as it will be sent; it must pass CheckLines and have exactly one From.
// Signing with RSA costs about a millisecond of processor time.
func Sign(message []byte, s ...Signature) ([]byte, error) {
	if err := CheckLines(message); err != nil {
		return nil, err
	}
	if len(s) == 0 {
		return nil, problem("signature", "none is asked for; give at least one")
	}
	keys, err := signedFields(message)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.Grow(len(message) + 1200*len(s))
	for _, sig := range s {
		if sig.Key == nil || sig.Domain == "" || sig.Selector == "" {
			return nil, problem("signature", "domain %q and selector %q: domain, selector and key are all needed", cut(sig.Domain), cut(sig.Selector))
		}
		for _, name := range []string{sig.Domain, sig.Selector} {
			if p := addressProblem("x@" + strings.ReplaceAll(name, "_", "a")); p != "" {
				return nil, problem("signature", "%q is not a DNS name in ASCII", cut(name))
			}
		}
		signer, err := dkim.NewSigner(&dkim.SignOptions{
			Domain:                 sig.Domain,
			Selector:               sig.Selector,
			Signer:                 sig.Key,
			Hash:                   crypto.SHA256,
			HeaderCanonicalization: dkim.CanonicalizationRelaxed,
			BodyCanonicalization:   dkim.CanonicalizationRelaxed,
			HeaderKeys:             keys,
		})
		if err != nil {
			return nil, fmt.Errorf("sign with %s._domainkey.%s: %w", cut(sig.Selector), cut(sig.Domain), err)
		}
		_, werr := signer.Write(message)
		// Close also ends the signer's goroutine, so it is called in any case.
		if err := signer.Close(); err != nil {
			return nil, fmt.Errorf("sign with %s._domainkey.%s: %w", cut(sig.Selector), cut(sig.Domain), err)
		}
		if werr != nil {
			return nil, fmt.Errorf("sign with %s._domainkey.%s: %w", cut(sig.Selector), cut(sig.Domain), werr)
		}
		out.WriteString(signer.Signature())
	}
	out.Write(message)
	return out.Bytes(), nil
}

// signedFields is the h= list: each name of overSigned as often as it occurs, and
// once more.
func signedFields(message []byte) ([]string, error) {
	head, _, ok := bytes.Cut(message, []byte("\r\n\r\n"))
	if !ok {
		return nil, problem("message", "has no empty line between header and body")
	}
	count := make([]int, len(overSigned))
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		name, _, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 || name[0] == ' ' || name[0] == '\t' {
			continue
		}
		for i, known := range overSigned {
			// Blanks before the colon are obsolete but read as the same field.
			if name = bytes.TrimRight(name, " \t"); len(name) == len(known) && strings.EqualFold(string(name), known) {
				count[i]++
				break
			}
		}
	}
	if count[0] != 1 {
		return nil, problem("message", "has %d From fields; exactly one is signed", count[0])
	}
	keys := make([]string, 0, 2*len(overSigned))
	for i, name := range overSigned {
		for range count[i] + 1 {
			keys = append(keys, name)
		}
	}
	return keys, nil
}
