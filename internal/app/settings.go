package app

import (
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/otp"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/store"
	"github.com/postseal/postseal/internal/template"
)

func (c Config) relays() map[string]RelayConfig {
	all := maps.Clone(c.Send.Regions)
	if all == nil {
		all = make(map[string]RelayConfig)
	}
	all[""] = c.Send.Relay
	return all
}

func (c Config) settings() sender.Settings {
	s := sender.DefaultSettings()
	s.ReservedDomain = c.Service.Domain
	s.PublicURL = strings.TrimSuffix(c.HTTP.PublicURL, "/")
	s.Geographies, s.DefaultGeography = c.Geographies, c.DefaultGeography
	v := &s.Verify
	v.Grace, v.LossChecks, v.Freshness, v.KeepTokens = c.Verify.Grace, c.Verify.LossChecks, c.Verify.Freshness, c.Verify.KeepTokens
	v.PendingEvery, v.VerifiedEvery, v.LapsingEvery, v.UnknownEvery = c.Verify.PendingEvery, c.Verify.ActiveEvery, c.Verify.LapsingEvery, c.Verify.UnknownEvery
	v.MassGuard, v.MassLeast = c.Verify.MassGuard, c.Verify.MassLeast
	s.Claims.Policy, s.Claims.Cooldown, s.Claims.Quiet = sender.ClaimPolicy(c.Domains.Claims), c.Domains.ClaimCooldown, c.Domains.ClaimQuiet
	s.Code.Life, s.Code.Tries, s.Code.ResendAfter = c.Code.Life, c.Code.Tries, c.Code.ResendAfter
	s.Code.ResendPerDay, s.Code.PerRecipient = c.Code.ResendPerDay, c.Code.PerRecipient
	s.Send.Workers, s.Send.Life, s.Send.FirstRetry, s.Send.LastRetry = c.Send.Workers, c.Send.Life, c.Send.FirstRetry, c.Send.LastRetry
	s.Send.Lease, s.Send.QueueLimit = c.Send.Lease, c.Send.QueueLimit
	s.Send.OwnRelays, s.Send.RelayWorkers, s.Send.PlainHTTP = c.Send.TenantRelays.Enabled, c.Send.TenantRelays.Workers, c.Send.TenantRelays.PlainHTTP
	s.Code.OTPPerRecipient = c.OTP.PerRecipient
	w := &s.Webhooks
	w.PerTenant, w.PlainHTTP, w.Workers, w.Timeout, w.Life = c.Webhooks.PerTenant, c.Webhooks.PlainHTTP, c.Webhooks.Workers, c.Webhooks.Timeout, c.Webhooks.Life
	w.FirstRetry, w.LastRetry, w.DisableIn = c.Webhooks.FirstRetry, c.Webhooks.LastRetry, c.Webhooks.DisableIn
	s.BuiltinSenders, _ = c.builtinSenders() // checked by problems
	s.LastLocale, _ = template.ParseLocale(c.Template.LastLocale)
	return s
}

func (c Config) otpSettings() otp.Settings {
	return otp.Settings{SessionLife: c.OTP.SessionLife, Tries: c.OTP.Tries, WrongPerDay: c.OTP.WrongPerDay, PerUser: c.OTP.PerUser, Keep: c.OTP.Keep}
}

// canaries are the zones of verify.canary, or those that need nobody but ourselves.
func (c Config) canaries() (zones []dnscheck.Name, err error) {
	for _, text := range c.Verify.Canary {
		zone, err := dnscheck.ParseDomain(text)
		if err != nil {
			return nil, err
		}
		zones = append(zones, zone)
	}
	service, err := dnscheck.ParseDomain(c.Service.Domain)
	if len(zones) > 0 || err != nil {
		return zones, nil // what is wrong with the service domain is told elsewhere
	}
	zones = append(zones, service)
	if org := service.Registrable(); !org.IsZero() && org != service {
		zones = append(zones, org)
	}
	return zones, nil
}

// builtinSenders are in the form that the core compares.
func (c Config) builtinSenders() (all []string, err error) {
	for _, a := range c.Template.BuiltinSenders {
		canonical, _, err := sender.ParseMailbox("builtin_senders", a)
		if err != nil {
			return nil, err
		}
		all = append(all, canonical)
	}
	return all, nil
}

// pingidNames are the hosts that requests may be signed for. That of the public URL
// is among them without its port and with it, as that of the Host header is.
func (c Config) pingidNames() []string {
	names := slices.Clone(c.PingID.PublicNames)
	if u, err := url.Parse(c.HTTP.PublicURL); err == nil && u.Host != "" {
		names = append(names, strings.TrimSuffix(u.Host, ":"+u.Port()), u.Host) // an IPv6 address keeps its brackets
	}
	return slices.Compact(names)
}

// keyring reads the key-encryption keys; a file that others may read is refused.
func (c Config) keyring() (*store.Keyring, error) {
	if c.KeyFile == "" {
		return store.LoadKeyring(c.Keys)
	}
	info, err := os.Stat(c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("key_file %s may be read by others (mode %04o): chmod 600 it", c.KeyFile, info.Mode().Perm())
	}
	text, err := os.ReadFile(filepath.Clean(c.KeyFile))
	if err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	k, err := store.LoadKeyring(string(text))
	if err != nil {
		return nil, fmt.Errorf("key_file %s: %w", c.KeyFile, err)
	}
	return k, nil
}

func (l LogConfig) level() (level slog.Level, err error) {
	err = level.UnmarshalText([]byte(l.Level))
	return level, err
}

func parseAddresses(list []string) (as []netip.Addr, err error) {
	for _, s := range list {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("%q is not an IP address", s)
		}
		as = append(as, a)
	}
	return as, nil
}

// parsePrefixes reads addresses and prefixes alike.
func parsePrefixes(list []string) (ps []netip.Prefix, err error) {
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil {
			ps = append(ps, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an IP address nor a prefix such as 192.0.2.0/24", s)
		}
		ps = append(ps, p.Masked())
	}
	return ps, nil
}

// parseAuthoritativeMap reads a list of IP=HOST:PORT.
func parseAuthoritativeMap(list []string) (map[netip.Addr]string, error) {
	m := make(map[netip.Addr]string)
	for _, s := range list {
		ip, at, _ := strings.Cut(s, "=")
		addr, err := netip.ParseAddr(strings.TrimSpace(ip))
		if err != nil {
			return nil, fmt.Errorf("%q: write it as IP=HOST:PORT", s)
		}
		at = strings.TrimSpace(at)
		if host, port, err := net.SplitHostPort(at); err != nil || host == "" || port == "" {
			return nil, fmt.Errorf("%q: write it as IP=HOST:PORT", s)
		}
		m[addr] = at
	}
	return m, nil
}
