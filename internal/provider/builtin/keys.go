package builtin

import (
	"context"
	"crypto"
	"fmt"
	"sync"
	"time"

	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/sender"
)

// serviceSelector names the service domain's own key.
const serviceSelector = "postseal1"

const rsaBits = 2048

// MakeKeys makes a key for the first token of each region of the domain.
func (p *Provider) MakeKeys(ctx context.Context, d sender.Domain) error {
	for _, r := range d.Tokens.Regions {
		if _, err := p.key(ctx, r.DKIM[0], sender.Key{Selector: r.DKIM[0], Tenant: d.Tenant, Domain: d.ID, Region: r.Region}); err != nil {
			return err
		}
	}
	return nil
}

// Prepare signs (RFC 6376) with the key that the decision names; where the
// background has not made it yet, now.
func (p *Provider) Prepare(ctx context.Context, o sender.Outgoing) ([]byte, error) {
	if o.Relay != nil && o.Relay.HTTP != nil {
		return o.Body, nil // an API makes another message of it, and signs that
	}
	selector, sdid := serviceSelector, p.service
	if o.Decision.Selector != "" {
		selector, sdid = o.Decision.Selector, o.Decision.SDID
	}
	key, err := p.key(ctx, selector, sender.Key{Selector: selector, Tenant: o.Tenant, Domain: o.Decision.Domain, Region: o.Decision.Region})
	if err != nil {
		return nil, err
	}
	return mail.Sign(o.Body, mail.Signature{Domain: sdid.String(), Selector: selector, Key: key})
}

// patience bounds the making of one key, with the wait for others to be made.
const patience = time.Minute

// key returns the private key of a selector, made as described by k where the
// store has none. Making one takes about 80 ms of processor time, so whoever
// needs the same one at the same time waits for one making, which goes on when
// they give up: the next who asks finds the key.
func (p *Provider) key(ctx context.Context, selector string, k sender.Key) (crypto.Signer, error) {
	if key, ok := p.keys.get(selector); ok {
		return key, nil
	}
	made := p.making.DoChan(selector, func() (any, error) {
		ctx, cancel := context.WithTimeout(p.open, patience)
		defer cancel()
		return p.find(ctx, selector, k)
	})
	select {
	case r := <-made:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(crypto.Signer), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *Provider) find(ctx context.Context, selector string, k sender.Key) (crypto.Signer, error) {
	stored, err := p.store.SigningKey(ctx, selector)
	if sender.KindOf(err) == sender.NotFound {
		if err = p.makeKey(ctx, k); err == nil {
			// Another node may have been first; what is stored is what counts.
			stored, err = p.store.SigningKey(ctx, selector)
		}
	}
	if err != nil {
		return nil, err
	}
	if !stored.RevokedAt.IsZero() {
		return nil, fmt.Errorf("the key of selector %s was revoked at %s", selector, stored.RevokedAt.Format(time.RFC3339))
	}
	key, err := mail.ParseKey(stored.PKCS8)
	if err == nil {
		p.keys.put(selector, key)
	}
	return key, err
}

func (p *Provider) makeKey(ctx context.Context, k sender.Key) error {
	// One at a time: a hundred domains proven in one sweep must not take the
	// processors from those who wait for an answer.
	select {
	case p.maker <- struct{}{}:
		defer func() { <-p.maker }()
	case <-ctx.Done():
		return ctx.Err()
	}
	key, err := mail.GenerateKey(rsaBits)
	if err != nil {
		return err
	}
	k.Algorithm, k.CreatedAt = "rsa", time.Now().UTC().Truncate(time.Microsecond)
	if k.PKCS8, err = mail.MarshalKey(key); err != nil {
		return err
	}
	if k.TXT, err = mail.PublicKeyTXT(key.Public()); err != nil {
		return err
	}
	return p.store.Update(ctx, func(tx sender.Tx) error {
		if k.Domain != "" { // a domain deleted meanwhile gets no key any more
			d, err := tx.Domain(ctx, k.Tenant, k.Domain)
			if err != nil {
				return err
			}
			if err := tx.LockDomain(ctx, k.Tenant, d.Name); err != nil {
				return err
			}
			if _, err := tx.Domain(ctx, k.Tenant, k.Domain); err != nil {
				return err
			}
		}
		return tx.InsertKey(ctx, k)
	})
}

// PublicTXT is what the service zone shows for a selector; ok is false for one
// that is unknown or revoked.
func (p *Provider) PublicTXT(ctx context.Context, selector string) (txt string, ok bool, err error) {
	k, err := p.store.PublicKey(ctx, selector)
	switch {
	case sender.KindOf(err) == sender.NotFound:
		return "", false, nil
	case err != nil:
		return "", false, err
	}
	return k.TXT, k.RevokedAt.IsZero(), nil
}

// keyring keeps opened private keys for a while: opening and parsing one costs
// as much as a tenth of a signature, and a key revoked on another node must stop
// being used here.
type keyring struct {
	mu   sync.Mutex
	keys map[string]openKey
}

type openKey struct {
	key   crypto.Signer
	until time.Time
}

const (
	keepOpen = 30 * time.Second
	mostOpen = 10_000
)

func (r *keyring) get(selector string) (crypto.Signer, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.keys[selector]
	return k.key, ok && time.Now().Before(k.until)
}

func (r *keyring) put(selector string, key crypto.Signer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys == nil || len(r.keys) >= mostOpen {
		r.keys = make(map[string]openKey)
	}
	r.keys[selector] = openKey{key: key, until: time.Now().Add(keepOpen)}
}
