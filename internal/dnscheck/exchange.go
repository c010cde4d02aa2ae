package dnscheck

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

const (
	// ednsSize keeps answers below the fragmentation limit (DNS flag day 2020).
	ednsSize = 1232
	// maxStray is how many packets that are not ours are skipped while waiting for the one
	// that is.
	maxStray = 16
	maxChain = 8
	// maxNegative caps how long a negative answer is believed to stay in caches.
	maxNegative = time.Hour
)

// answer is what one server said, or why it said nothing.
type answer struct {
	server  string
	result  string // a Saw constant
	detail  string
	records []dns.RR      // of the asked type, at the end of the CNAME chain
	chain   []string      // bare names that the chain led through
	alias   string        // bare target of a CNAME beside the records, where none can be
	ttl     time.Duration // how long caches may keep this answer, at most maxNegative; 0 if not told
	bogus   bool          // the server says that DNSSEC validation failed
	valid   bool          // the server says that it validated the answer (AD)
	proven  bool          // and it is one whose word for that is proof
	skipped bool          // not waited for, because the others had decided

	// What only authoritative servers give; see readAuthority.
	host  string      // name of the server; empty for a resolver
	zone  string      // apex of the zone that it was asked as a server of
	dname string      // the name above, at which a DNAME made the CNAME that was asked for
	next  string      // bare name outside the zone that a CNAME led to; others are asked there
	cut   *delegation // a referral to servers of a zone below
	soa   *dns.SOA    // of a negative answer
	path  string      // how we came to the zone: by a delegation; empty for straight
	width int         // how many independent paths can lead to this server; see weigh
	steps []step      // the CNAMEs that led to it, the first one first
	by    []answer    // the referrals that name this server, where the zone was found by some
}

// from names the server and what came instead of an answer, to be put behind a name; empty
// where nobody was asked.
func (a answer) from() string {
	switch {
	case a.server == "":
		return ""
	case a.detail == "":
		return fmt.Sprintf(" from %s (%s)", a.server, a.result)
	default:
		return fmt.Sprintf(" from %s (%s, %s)", a.server, a.result, a.detail)
	}
}

// led tells whether a CNAME led to this server, from a zone that others serve.
func (a answer) led() bool { return len(a.steps) > 0 }

// told tells whether the server answered the question, positively or negatively.
func (a answer) told() bool {
	switch a.result {
	case SawAnswer, SawNXDOMAIN, SawNODATA, SawLoop:
		return true
	}
	return false
}

// values returns the records in the form of Record.Expected.
func (a answer) values() []string {
	records := a.records
	if len(records) > 1 { // a set has no order, and what is said about it shall be the same each time
		records = slices.Clone(records)
		slices.SortFunc(records, func(x, y dns.RR) int {
			return cmp.Or(preference(x)-preference(y), cmp.Compare(presentation(x), presentation(y)))
		})
	}
	var values []string
	for _, rr := range records {
		values = append(values, presentation(rr))
	}
	return values
}

// preference is that of an MX, so that exchanges come in the order in which they are tried.
func preference(rr dns.RR) int {
	if mx, ok := rr.(*dns.MX); ok {
		return int(mx.Preference)
	}
	return 0
}

func presentation(rr dns.RR) string {
	switch rr := rr.(type) {
	case *dns.TXT:
		return unescape(strings.Join(rr.Txt, ""))
	case *dns.SPF:
		return unescape(strings.Join(rr.Txt, ""))
	case *dns.CNAME:
		return absolute(rr.Target)
	case *dns.MX:
		return fmt.Sprintf("%d %s", rr.Preference, absolute(rr.Mx))
	default:
		return strings.TrimPrefix(rr.String(), rr.Header().String())
	}
}

// unescape undoes the presentation escapes that miekg/dns puts into TXT strings.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	digit := func(i int) bool { return i < len(s) && s[i] >= '0' && s[i] <= '9' }
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\' || i+1 == len(s):
			b = append(b, s[i])
		case digit(i+1) && digit(i+2) && digit(i+3):
			b = append(b, (s[i+1]-'0')*100+(s[i+2]-'0')*10+s[i+3]-'0')
			i += 3
		default:
			b = append(b, s[i+1])
			i++
		}
	}
	return string(b)
}

func (a answer) err(name string) error {
	e := &net.DNSError{Name: name, Server: a.server}
	switch a.result {
	case SawAnswer:
		return nil
	case SawNXDOMAIN, SawNODATA:
		e.Err, e.IsNotFound = "no such record", true
	case SawLoop:
		e.Err = "CNAME chain has no end"
	case SawTimeout, SawLimit:
		e.Err, e.IsTimeout, e.IsTemporary = "no answer in time", true, true
	default:
		e.Err, e.IsTemporary = "server said "+a.result, true
	}
	return e
}

func (a answer) sight() Sight {
	s := Sight{Server: a.server, Role: RoleResolver, Host: a.host, Result: a.result, Detail: a.detail, Values: []string{}}
	if a.host != "" {
		s.Role = RoleAuthoritative
	}
	octets := 0
	for _, v := range a.values() {
		v = shown(v)
		if octets += len(v); len(s.Values) == maxValues || octets > maxSight && len(s.Values) > 0 {
			break
		}
		s.Values = append(s.Values, v)
	}
	return s
}

// Bounds of what is shown of records: values, octets of one, and octets of all that one server
// showed and that a finding has.
const (
	maxValues   = 32
	maxValue    = 1024
	maxSight    = 2 << 10
	maxObserved = 16 << 10
)

// shown bounds a value for findings and makes it valid UTF-8, which JSON needs and a TXT
// record need not be. Comparison always sees the value as it is.
func shown(v string) string {
	return strings.ToValidUTF8(v[:min(len(v), maxValue)], "\ufffd")
}

// noRoute is said of an address that this machine cannot send to at all, like IPv6
// addresses where there is no IPv6. It says nothing about the server.
const noRoute = "no route from here"

var (
	errMalformed = errors.New("malformed answer")
	errStray     = errors.New("only packets that do not fit the question")
)

// ask puts one question to one server: UDP first, TCP when the answer was cut or made no
// sense, again after a pause when it was lost.
func (r *Resolver) ask(ctx context.Context, server string, q question) answer {
	return r.askAs(ctx, server, q, manner{})
}

func (r *Resolver) askAs(ctx context.Context, server string, q question, how manner) answer {
	a := r.put(ctx, server, q, how)
	if a.result != SawTimeout && a.result != SawUnreachable {
		r.spoke[server].Store(time.Now().UnixNano())
	}
	return a
}

// manner is how a question is put.
type manner struct {
	// zone is the bare apex that the server is asked as an authoritative server of: without
	// recursion, and only what is in the zone counts. Empty means a resolver; the root is ".".
	zone string
	// unchecked asks a validating resolver for what it has not validated (RFC 4035, section 3.2.2).
	unchecked bool
	// still asks a resolver for what it has already: without RD it must not go and look (RFC
	// 1034, section 4.3.1), so nothing gets into its cache.
	still bool
	tries int // 0: as configured
	// haste are tenths of the configured time-out for the first tries over UDP: a lost packet
	// is noticed sooner than by waiting for what the slowest server may need.
	haste []int
}

// put puts one question to one server.
func (r *Resolver) put(ctx context.Context, server string, q question, how manner) answer {
	a := answer{server: server, result: SawTimeout}
	if how.tries == 0 {
		how.tries = r.tries
	}
	if !r.slots.take(ctx, r.asker) {
		a.detail = "not waited for"
		return a
	}
	defer r.slots.give(r.asker)
	edns := true
	for try := range how.tries {
		if try > 0 && !pause(ctx, mathrand.N(r.timeout/8+1)) {
			break
		}
		patience := r.timeout
		if try < len(how.haste) {
			patience = r.timeout * time.Duration(how.haste[try]) / 10
		}
		m, err := r.exchange(ctx, "udp", server, q, how, edns, patience)
		if err == nil && m.Truncated || errors.Is(err, errMalformed) || errors.Is(err, errStray) {
			m, err = r.exchange(ctx, "tcp", server, q, how, edns, r.timeout)
		}
		if err == nil && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) && edns {
			edns = false // RFC 6891, section 7: an old server that does not know OPT
			if m, err = r.exchange(ctx, "udp", server, q, how, edns, r.timeout); err == nil && m.Truncated {
				m, err = r.exchange(ctx, "tcp", server, q, how, edns, r.timeout)
			}
		}
		if err == nil {
			if how.zone == "" {
				a.read(m, q)
			} else {
				a.readAuthority(m, q, how.zone)
			}
			a.order()
			return a
		}
		a.result, a.detail = silence(err)
		if ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() != nil {
		a.result, a.detail = SawTimeout, "not waited for any longer"
	}
	return a
}

// silence classifies why there is no answer. The text of the error is dropped: it names
// our own ports.
func silence(err error) (result, detail string) {
	switch {
	case errors.Is(err, errMalformed), errors.Is(err, errStray):
		return SawMalformed, err.Error()
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return SawTimeout, ""
	case errors.Is(err, syscall.ECONNREFUSED):
		return SawUnreachable, "connection refused"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EAFNOSUPPORT), errors.Is(err, syscall.EADDRNOTAVAIL):
		return SawUnreachable, noRoute
	default:
		return SawUnreachable, ""
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// exchange sends one packet and waits for the one that answers it: same id, same question,
// QR set. Everything else is skipped until the time is over.
func (r *Resolver) exchange(ctx context.Context, network, server string, q question, how manner, edns bool, patience time.Duration) (*dns.Msg, error) {
	plain, err := newQuery(q, how, edns)
	if err != nil {
		return nil, err
	}
	if network == "tcp" || plain.letters() < minLetters {
		return r.alone(ctx, network, server, plain, patience)
	}
	mixed := plain
	mixed.packet, mixed.mixed = slices.Clone(plain.packet), true
	m, sure, err := r.lines.exchange(ctx, server, r.asker, mixed, patience)
	switch {
	case errors.Is(err, errPlain):
		return r.alone(ctx, network, server, plain, patience)
	case errors.Is(err, errSpelling):
	case err != nil || sure || m.Truncated:
		return m, err
	case m.Rcode == dns.RcodeSuccess && len(m.Answer) > 0:
		r.lines.learn(server, false)
		return m, nil
	}
	// The first bad answer of a server could come of the spelling. Somebody who guesses our
	// ids gains by this no more than a question in the old manner.
	again, err := r.alone(ctx, network, server, plain, patience)
	if err != nil {
		return nil, err
	}
	r.lines.learn(server, m == nil || m.Rcode != again.Rcode || len(m.Answer) != len(again.Answer) || len(m.Ns) != len(again.Ns))
	return again, nil
}

// alone is an exchange over a socket of its own: its port is fresh, and for TCP that the
// server is the one who answers is sure.
func (r *Resolver) alone(ctx context.Context, network, server string, q query, patience time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := r.lines.dial(ctx, network, server)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	var id [2]byte
	rand.Read(id[:]) // never fails
	copy(q.packet, id[:])
	packet := q.packet
	if network == "tcp" {
		packet = append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
	}
	if _, err := conn.Write(packet); err != nil {
		return nil, err
	}
	if network == "tcp" {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return nil, err
		}
		reply := make([]byte, binary.BigEndian.Uint16(size[:])) // at most 64 KiB by protocol
		if _, err := io.ReadFull(conn, reply); err != nil {
			return nil, err
		}
		m, err := q.decode(reply)
		if errors.Is(err, errStray) || err == nil && m.Truncated {
			// There is no larger transport: half an answer must not be read as the whole,
			// nor one without records as absence.
			err = errMalformed
		}
		return m, err
	}
	buf := buffers.Get().(*[2 * ednsSize]byte)
	defer buffers.Put(buf)
	for range maxStray {
		n, err := conn.Read(buf[:])
		if err != nil {
			return nil, err
		}
		m, err := q.decode(buf[:n])
		if !errors.Is(err, errStray) {
			return m, err
		}
	}
	return nil, errStray
}

// buffers are for packets that arrive.
var buffers = sync.Pool{New: func() any { return new([2 * ednsSize]byte) }}

// query is a question as a packet.
type query struct {
	question
	packet []byte
	end    int  // of the question section
	mixed  bool // the case of letters is random, and must come back as it is
}

const (
	headerSize = 12
	maxWire    = 255 // of a name (RFC 1035, section 2.3.4)
)

// newQuery packs a question, with no id yet.
func newQuery(q question, how manner, edns bool) (query, error) {
	buf := make([]byte, headerSize+len(q.name)+2+4+11)
	// AD without DO asks whether the answer was validated (RFC 6840, section 5.7) and
	// spares us the signatures, which we would not check.
	if how.zone == "" {
		buf[3] |= 0x20
		if !how.still {
			buf[2] |= 1 // RD
		}
	}
	if how.unchecked {
		buf[3] |= 0x10 // CD
	}
	buf[5] = 1 // QDCOUNT
	end, err := dns.PackDomainName(dns.Fqdn(q.name), buf[:len(buf)-4-11], headerSize, nil, false)
	if err != nil {
		return query{}, fmt.Errorf("pack question %s: %w", quote(q.name), err)
	}
	packet := binary.BigEndian.AppendUint16(buf[:end], q.qtype)
	packet = binary.BigEndian.AppendUint16(packet, dns.ClassINET)
	end = len(packet)
	if edns {
		packet[11] = 1 // ARCOUNT
		packet = append(packet, 0, 0, byte(dns.TypeOPT), ednsSize>>8, ednsSize&0xff, 0, 0, 0, 0, 0, 0)
	}
	return query{question: q, packet: packet, end: end}, nil
}

// letters counts what can be in upper and lower case.
func (q query) letters() (n int) {
	for _, c := range q.packet[headerSize : q.end-4] { // the length of a label is less than any letter
		if isLetter(c) {
			n++
		}
	}
	return n
}

func isLetter(c byte) bool { c |= 0x20; return c >= 'a' && c <= 'z' }

// mix sets the case of letters, a bit for each octet of the name.
func (q *query) mix(bits []byte) {
	for i, c := range q.packet[headerSize : q.end-4] {
		if isLetter(c) && bits[i/8]>>(i%8)&1 != 0 {
			q.packet[headerSize+i] = c ^ 0x20
		}
	}
}

// decode reads a packet, which it may change, and compares it with what was asked.
func (q query) decode(packet []byte) (*dns.Msg, error) {
	if len(packet) < 2 || packet[0] != q.packet[0] || packet[1] != q.packet[1] {
		return nil, errStray
	}
	exact := len(packet) >= q.end && bytes.Equal(packet[headerSize:q.end], q.packet[headerSize:q.end])
	if exact { // names in the answer that point to it shall not look like our dice
		for i, c := range packet[headerSize : q.end-4] {
			if isLetter(c) {
				packet[headerSize+i] = c | 0x20
			}
		}
	}
	m := new(dns.Msg)
	if err := m.Unpack(packet); err != nil {
		// A cut packet is often sent cut in the middle of a record; TC says so.
		if len(packet) > 3 && packet[2]&0x82 == 0x82 {
			return &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Truncated: true}}, nil
		}
		return nil, errMalformed
	}
	if !m.Response || m.Opcode != dns.OpcodeQuery {
		return nil, errStray
	}
	if len(m.Question) == 0 && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeServerFailure || m.Rcode == dns.RcodeRefused) {
		return m, nil // some servers drop the question when they refuse
	}
	if len(m.Question) != 1 {
		return nil, errStray
	}
	if exact {
		return m, nil
	}
	if got := m.Question[0]; got.Qtype != q.qtype || got.Qclass != dns.ClassINET || bare(got.Name) != q.name {
		return nil, errStray
	}
	if q.mixed {
		return nil, errSpelling
	}
	return m, nil
}

// read fills a from a message that answers q.
func (a *answer) read(m *dns.Msg, q question) {
	a.detail = ""
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
	case dns.RcodeServerFailure:
		a.result = SawSERVFAIL
		a.extended(m)
		return
	case dns.RcodeRefused:
		a.result = SawREFUSED
		a.extended(m)
		return
	default:
		a.result, a.detail = SawError, dns.RcodeToString[m.Rcode]
		return
	}
	if m.AuthenticatedData {
		a.detail, a.valid = "dnssec", true
	}
	name, target := q.name, ""
	for {
		target = ""
		for _, rr := range m.Answer {
			h := rr.Header()
			a.redirected(rr, q.name)
			if h.Class != dns.ClassINET || bare(h.Name) != name {
				continue
			}
			if h.Rrtype == q.qtype {
				a.records = append(a.records, rr)
				a.age(h.Ttl)
			} else if c, ok := rr.(*dns.CNAME); ok {
				target = bare(c.Target)
				a.age(h.Ttl)
			}
		}
		if len(a.records) > 0 || target == "" {
			break
		}
		a.chain = append(a.chain, target)
		a.detail = "CNAME " + cut(strings.Join(a.chain, " ")) // names are at most 1000 bytes each
		if len(a.chain) > maxChain || target == q.name {
			a.result = SawLoop
			return
		}
		name = target
	}
	if len(a.records) > 0 {
		a.positive(m, q, target)
		return
	}
	if besides(m, q.name) {
		a.result, a.detail = SawMalformed, answersForOthers
		return
	}
	a.result = SawNODATA
	if m.Rcode == dns.RcodeNameError {
		a.result = SawNXDOMAIN
	}
	referral := false
	for _, rr := range m.Ns {
		switch rr := rr.(type) {
		case *dns.SOA:
			// RFC 2308, section 5: the lesser of both is how long the answer is kept.
			a.ttl = min(seconds(rr.Hdr.Ttl), seconds(rr.Minttl), maxNegative)
			return
		case *dns.NS:
			referral = true
		}
	}
	a.ttl = 0
	if referral && a.result == SawNODATA && !m.Authoritative {
		a.result = SawLame
	}
}

// positive is the result of an answer with records of the asked type, and with a CNAME at the
// same name if there is a target. One that says NXDOMAIN at the same time is nonsense, of which
// some resolvers make the one and some the other: the code is about the end of the chain (RFC
// 6604, section 3), where these records are. Of a CNAME that was asked for, it is often about
// the target.
func (a *answer) positive(m *dns.Msg, q question, target string) {
	a.result, a.alias = SawAnswer, target
	if m.Rcode == dns.RcodeNameError && q.qtype != dns.TypeCNAME {
		a.result, a.detail, a.records, a.chain = SawMalformed, "says NXDOMAIN beside an answer", nil, nil
	}
}

// order makes a set of the records: each is there once, and there is no order (RFC 2181,
// section 5). Servers change that of texts with each answer, of which nobody shall think that
// something changed.
func (a *answer) order() {
	if len(a.records) < 2 {
		return
	}
	a.records = dns.Dedup(a.records, nil)
	if a.records[0].Header().Rrtype != dns.TypeTXT {
		return
	}
	texts := make(map[dns.RR]string, len(a.records))
	for _, rr := range a.records {
		texts[rr] = presentation(rr)
	}
	slices.SortStableFunc(a.records, func(x, y dns.RR) int { return strings.Compare(texts[x], texts[y]) })
}

// redirected notes a DNAME above a name (RFC 6672).
func (a *answer) redirected(rr dns.RR, name string) {
	if owner := bare(rr.Header().Name); rr.Header().Rrtype == dns.TypeDNAME && within(name, owner) && name != owner {
		a.dname = owner
	}
}

const answersForOthers = "answers for another name"

// besides tells whether a message claims to answer, and for other names only: that is
// nonsense and no absence.
func besides(m *dns.Msg, name string) bool {
	return m.Rcode == dns.RcodeSuccess && len(m.Answer) > 0 && !slices.ContainsFunc(m.Answer, func(rr dns.RR) bool { return bare(rr.Header().Name) == name })
}

func (a *answer) age(ttl uint32) {
	if d := min(seconds(ttl), maxNegative); a.ttl == 0 || d < a.ttl {
		a.ttl = d
	}
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

// extended notes the extended error (RFC 8914) of an answer, and whether it means that the
// zone's signatures are wrong.
func (a *answer) extended(m *dns.Msg) {
	opt := m.IsEdns0()
	if opt == nil {
		return
	}
	for _, o := range opt.Option {
		ede, ok := o.(*dns.EDNS0_EDE)
		if !ok {
			continue
		}
		a.detail = dns.ExtendedErrorCodeToString[ede.InfoCode]
		if ede.ExtraText != "" {
			a.detail += ": " + quote(ede.ExtraText)
		}
		switch ede.InfoCode {
		case dns.ExtendedErrorCodeDNSBogus, dns.ExtendedErrorCodeSignatureExpired, dns.ExtendedErrorCodeSignatureNotYetValid,
			dns.ExtendedErrorCodeDNSKEYMissing, dns.ExtendedErrorCodeRRSIGsMissing, dns.ExtendedErrorCodeNoZoneKeyBitSet,
			dns.ExtendedErrorCodeNSECMissing:
			a.bogus = true
			return
		}
	}
}
