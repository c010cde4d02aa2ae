package app

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/sender"
	"github.com/postseal/postseal/internal/template"
)

// databaseProblems lists what keeps the database from being opened.
func (c Config) databaseProblems() (ps []error) {
	if c.Database == "" {
		ps = append(ps, errors.New("database is not set: give sqlite:FILE or postgres://USER@HOST/NAME"))
	}
	if c.KeyFile == "" && c.Keys == "" {
		ps = append(ps, errors.New("there is no key-encryption key: make one with `postseal keygen --out FILE`, keep a copy in a safe place, and set key_file"))
	} else if _, err := c.keyring(); err != nil {
		ps = append(ps, err)
	}
	return ps
}

// problems lists what would keep the server from starting.
func (c Config) problems() []error {
	ps := c.databaseProblems()
	add := func(format string, args ...any) { ps = append(ps, fmt.Errorf(format, args...)) }
	if c.HTTP.Listen == "" && c.HTTP.TLSListen == "" {
		add("http.listen and http.tls_listen are both empty: nobody could reach the API")
	}
	if (c.HTTP.TLSListen != "") && (c.HTTP.TLSCert == "" || c.HTTP.TLSKey == "") {
		add("http.tls_listen needs http.tls_cert and http.tls_key")
	}
	if err := onLoopback(c.Debug.Listen); err != nil {
		add("debug.listen: profiles tell too much for others to read: %w", err)
	}
	for key, value := range map[string]string{"http.listen": c.HTTP.Listen, "http.tls_listen": c.HTTP.TLSListen, "dns.listen": c.DNS.Listen, "send.relay.address": c.Send.Relay.Address} {
		if _, _, err := net.SplitHostPort(value); value != "" && err != nil {
			add("%s is %q: write it as HOST:PORT", key, value)
		}
	}
	if u, err := url.Parse(c.HTTP.PublicURL); c.HTTP.PublicURL != "" && (err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http")) {
		add("http.public_url is %q: write it as https://HOST", c.HTTP.PublicURL)
	}
	if c.Service.Domain == "" {
		add("service.domain is not set: give the domain that is delegated to this service, such as mail.postseal.example")
	} else if _, err := dnscheck.ParseDomain(c.Service.Domain); err != nil {
		add("service.domain: %w", err)
	}
	if c.DNS.Listen != "" && len(c.Service.Nameservers) == 0 {
		add("dns.listen is set and service.nameservers is not: list at least one with host and addresses, as the delegation of service.domain names it")
	}
	if m := dnscheck.Mode(c.DNS.Mode); m != dnscheck.ModeAuthoritative && m != dnscheck.ModeResolver {
		add("dns.mode is %q: use authoritative, or resolver where port 53 cannot be reached", c.DNS.Mode)
	}
	if _, err := parseAuthoritativeMap(c.DNS.AuthoritativeMap); err != nil {
		add("dns.authoritative_map: %w", err)
	}
	if _, err := parsePrefixes(c.Service.Outbound); err != nil {
		add("service.outbound: %w", err)
	}
	if _, err := parseAddresses(c.Service.Feedback); err != nil {
		add("service.feedback: %w", err)
	}
	for i, n := range c.Service.Nameservers {
		if _, err := parseAddresses(n.Addresses); err != nil {
			add("service.nameservers[%d].addresses: %w", i, err)
		}
	}
	if c.Send.Relay.Address == "" {
		add("send.relay.address is not set: give the SMTP server that takes our mail, as HOST:PORT")
	}
	for name, r := range c.relays() {
		key := "send.relay"
		if name != "" {
			key = "send.regions." + name
		}
		if !slices.Contains([]mail.TLSMode{"", mail.StartTLS, mail.ImplicitTLS, mail.OpportunisticTLS, mail.NoTLS}, mail.TLSMode(r.TLS)) {
			add("%s.tls is %q: use starttls, implicit, opportunistic or none", key, r.TLS)
		}
		if (r.Username == "") != (r.PasswordFile == "") {
			add("%s: username and password_file go together", key)
		}
	}
	if _, err := parsePrefixes(c.Send.TenantRelays.Allow); err != nil {
		add("send.tenant_relays.allow: %w", err)
	}
	if _, err := parsePrefixes(c.Webhooks.Allow); err != nil {
		add("webhooks.allow: %w", err)
	}
	if n := c.Webhooks.PerTenant; n < 0 {
		add("webhooks.per_tenant is %d: it must be at least 0, which is none", n)
	}
	if err := c.Names.Validate(); err != nil {
		add("%w", err)
	}
	for key, d := range map[string]time.Duration{
		"verify.grace": c.Verify.Grace, "verify.keep_tokens": c.Verify.KeepTokens, "verify.pending_every": c.Verify.PendingEvery,
		"verify.active_every": c.Verify.ActiveEvery, "verify.lapsing_every": c.Verify.LapsingEvery, "verify.unknown_every": c.Verify.UnknownEvery,
		"verify.sweep": c.Verify.Sweep, "domains.claim_cooldown": c.Domains.ClaimCooldown, "domains.claim_quiet": c.Domains.ClaimQuiet, "code.life": c.Code.Life, "send.life": c.Send.Life, "send.first_retry": c.Send.FirstRetry,
		"send.last_retry": c.Send.LastRetry, "send.lease": c.Send.Lease, "dns.timeout": c.DNS.Timeout, "token_ttl": c.TokenTTL,
		"otp.session_life": c.OTP.SessionLife, "otp.keep": c.OTP.Keep, "sailpoint.token_ttl": c.SailPoint.TokenTTL,
		"webhooks.timeout": c.Webhooks.Timeout, "webhooks.life": c.Webhooks.Life, "webhooks.first_retry": c.Webhooks.FirstRetry,
		"webhooks.last_retry": c.Webhooks.LastRetry, "webhooks.disable_in": c.Webhooks.DisableIn,
	} {
		if d <= 0 {
			add("%s is %s: it must be longer than nothing", key, d)
		}
	}
	if c.Verify.Sweep > 0 && c.Verify.Sweep < time.Second {
		add("verify.sweep is %s: one second is the least", c.Verify.Sweep)
	}
	if t := c.Webhooks.Timeout; t > 20*time.Second { // an attempt must end before its lease
		add("webhooks.timeout is %s: twenty seconds are the most", t)
	}
	if _, err := c.canaries(); err != nil {
		add("verify.canary: %w", err)
	}
	if g := c.Verify.MassGuard; g < 0 || g > 100 {
		add("verify.mass_guard is %g: it must be a percentage; 0 is none", g)
	}
	for key, n := range map[string]int{
		"verify.mass_least":  c.Verify.MassLeast,
		"verify.loss_checks": c.Verify.LossChecks, "verify.quorum": c.Verify.Quorum, "code.tries": c.Code.Tries,
		"code.resend_per_day": c.Code.ResendPerDay, "code.per_recipient": c.Code.PerRecipient, "send.workers": c.Send.Workers, "send.queue_limit": c.Send.QueueLimit,
		"send.tenant_relays.workers": c.Send.TenantRelays.Workers, "webhooks.workers": c.Webhooks.Workers,
		"otp.tries": c.OTP.Tries, "otp.wrong_per_day": c.OTP.WrongPerDay, "otp.per_user": c.OTP.PerUser, "otp.per_recipient": c.OTP.PerRecipient,
	} {
		if n < 1 {
			add("%s is %d: it must be at least 1", key, n)
		}
	}
	if c.Send.TenantRelays.Enabled && c.Send.Workers < 2 {
		add("send.workers is %d: with send.tenant_relays.enabled it must be at least 2, so that mail goes on while a tenant's server hangs", c.Send.Workers)
	}
	if p := sender.ClaimPolicy(c.Domains.Claims); p != sender.SharedNames && p != sender.ExclusiveNames {
		add("domains.claims is %q: use shared or exclusive", c.Domains.Claims)
	}
	if e := c.SailPoint.Experimental; e != "strict" && e != "off" {
		add("sailpoint.experimental is %q: use strict or off", e)
	}
	if c.SailPoint.RateLimit < 0 {
		add("sailpoint.rate_limit is %d: it must be at least 0, which sets no limit", c.SailPoint.RateLimit)
	}
	if t := c.SailPoint.TokenTTL; t > 0 && t < time.Second {
		add("sailpoint.token_ttl is %s: one second is the least", t)
	}
	if _, err := c.builtinSenders(); err != nil {
		add("templates.builtin_senders: %w", err)
	}
	if _, err := template.ParseLocale(c.Template.LastLocale); c.Template.LastLocale != "" && err != nil {
		add("templates.last_locale: %w", err)
	}
	for _, name := range c.PingID.PublicNames {
		if name == "" || strings.ContainsAny(name, "/@ ") { // nobody could sign that
			add("pingid.public_names has %q: write the host alone, such as mail.postseal.example", name)
		}
	}
	for name, regions := range c.Geographies {
		if len(regions) == 0 {
			add("geographies.%s has no region", name)
		}
	}
	if _, ok := c.Geographies[c.DefaultGeography]; !ok {
		add("default_geography is %q, which is none of %s", c.DefaultGeography, strings.Join(slices.Sorted(maps.Keys(c.Geographies)), ", "))
	}
	if _, err := c.Log.level(); err != nil {
		add("log.level is %q: use debug, info, warn or error", c.Log.Level)
	}
	if c.Log.Format != "json" && c.Log.Format != "text" {
		add("log.format is %q: use json or text", c.Log.Format)
	}
	slices.SortFunc(ps, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return ps
}

// onLoopback refuses an address that other machines could reach.
func onLoopback(address string) error {
	if address == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q: write it as HOST:PORT", address)
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s is not a loopback address", address)
	}
	return nil
}
