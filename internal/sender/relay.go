package sender

import (
	"context"
	"encoding/hex"
	"log/slog"
	"net/mail"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
)

// Password is a secret of a tenant's that has to be used as it is. Neither logs nor
// encoders show it.
type Password string

// String shows that there is one, and no more.
func (Password) String() string { return "[password]" }

// GoString is String, for %#v.
func (Password) GoString() string { return "[password]" }

// LogValue is String.
func (Password) LogValue() slog.Value { return slog.StringValue("[password]") }

// MarshalText is String, for encoders that somebody might give it to.
func (Password) MarshalText() ([]byte, error) { return []byte("[password]"), nil }

// Relay is a tenant's own way out, by which the mail of its authors leaves: an SMTP
// server, or an HTTP API where HTTP is set; Host and Port are of the first alone. The
// connection is always encrypted, and the server's certificate must be valid for its
// host.
type Relay struct {
	Tenant    ID
	Host      string // name or IP address, as sent
	Port      int
	Username  string // empty: no AUTH
	Password  Password
	HTTP      *HTTPProvider
	From      *Correspondent // of test mails, and of templates where neither they nor the tenant's MailDefaults name one; as sent
	ReplyTo   *Correspondent // likewise
	UpdatedAt time.Time
	// PasswordLost says why a password that is there can't be opened; nil: it can. Mail
	// waits then until it is set again.
	PasswordLost error
}

// Correspondent is an author or Reply-To of settings. A name that is empty is not one
// that is missing: it is answered as it was sent.
type Correspondent struct {
	Name    *string
	Address string // as sent
}

// Mailbox is the correspondent as mail shows it.
func (c Correspondent) Mailbox() Mailbox {
	m := Mailbox{Address: c.Address}
	if c.Name != nil {
		m.Name = *c.Name
	}
	return m
}

// submission are the ports on which a server speaks in clear text until STARTTLS.
var submission = []int{25, 587, 2525}

// ImplicitTLS reports whether TLS is spoken from the first octet (RFC 8314), and not
// after STARTTLS (RFC 3207). The port alone decides.
func (r Relay) ImplicitTLS() bool { return !slices.Contains(submission, r.Port) }

// author and replyTo are what the settings say of both, in the form of a template's;
// empty where there is nothing.
func (r *Relay) author() string {
	if r == nil {
		return ""
	}
	return spelled(r.From)
}

func (r *Relay) replyTo() string {
	if r == nil {
		return ""
	}
	return spelled(r.ReplyTo)
}

func spelled(c *Correspondent) string {
	if c == nil {
		return ""
	}
	m := c.Mailbox()
	if m.Name == "" {
		return m.Address
	}
	return (&mail.Address{Name: m.Name, Address: m.Address}).String()
}

const (
	defaultRelayPort = 465
	// Below it only the ports of mail are connected to: this client must not be a way
	// to speak to whatever else a machine has.
	firstFreePort = 1024
	maxHost       = 253
	maxUsername   = 255
	maxPassword   = 1000
	maxRelayName  = 256
	// relayTests bounds the test mails of a tenant in a day.
	relayTests = 20
	// testPatience bounds one of them.
	testPatience = 45 * time.Second
)

// NewRelay is what a client says of its own way out: of an SMTP server, or HTTP and
// neither Host nor Port.
type NewRelay struct {
	Host     string
	Port     int // 0: 465
	Username string
	// Password, where it is empty, is that of before, if Host (of HTTP the origin of the URL
	// and the method) and Username are those of before.
	Password Password
	HTTP     *HTTPProvider
	From     *Correspondent
	ReplyTo  *Correspondent
}

// correspondents are both, with the names of their fields.
func (n NewRelay) correspondents() (all []namedCorrespondent) {
	for _, c := range []namedCorrespondent{{"from", n.From}, {"replyTo", n.ReplyTo}} {
		if c.Correspondent != nil {
			all = append(all, c)
		}
	}
	return all
}

type namedCorrespondent struct {
	field string
	*Correspondent
}

// Relay returns a tenant's own way out without the password; NotFound where it has
// none.
func (s *Service) Relay(ctx context.Context, p Principal, tenant ID) (Relay, error) {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleReader); err != nil {
		return Relay{}, err
	}
	r, err := s.store.Relay(ctx, tenant)
	r.Password = ""
	return r, err
}

// SetRelay keeps a tenant's own way out in place of the one before, of whichever form,
// and returns it without the password. Mail that is under way ends as it began; what
// waits leaves by the new one. From and ReplyTo must pass the trust rule: whose server
// mail leaves by proves nothing about its author.
//
// Errors: Required or Invalid on "host", "port", "username", "password", "name", "url",
// "method", "headers", "body", "from" or "replyTo", Refused on "from" or "replyTo", and on
// "host" where the instance does not send by tenants' servers.
func (s *Service) SetRelay(ctx context.Context, p Principal, tenant ID, n NewRelay) (Relay, error) {
	t, err := s.AuthorizeWhole(ctx, p, tenant, RoleAdmin)
	if err != nil {
		return Relay{}, err
	}
	if !s.settings.Send.OwnRelays {
		return Relay{}, noOwnRelays()
	}
	if n.HTTP == nil {
		orDefault(&n.Port, defaultRelayPort)
	}
	if err := n.check(s.settings.Send.PlainHTTP); err != nil {
		return Relay{}, err
	}
	for _, c := range n.correspondents() {
		if _, _, err := s.relayAuthor(ctx, t, c.field, c.Mailbox()); err != nil {
			return Relay{}, err
		}
	}
	r := Relay{Tenant: tenant, Host: n.Host, Port: n.Port, Username: n.Username, HTTP: n.HTTP, From: n.From, ReplyTo: n.ReplyTo, UpdatedAt: s.now()}
	err = s.store.Update(ctx, func(tx Tx) error {
		if err := tx.LockTenant(ctx, tenant); err != nil {
			return err
		}
		r.Password = n.Password
		password := "new"
		switch {
		case r.HTTP == nil && r.Username == "":
			password = "none"
		case r.Password == "":
			old, err := tx.Relay(ctx, tenant)
			if err != nil && KindOf(err) != NotFound {
				return err
			}
			if err == nil && old.PasswordLost != nil {
				return passwordLost(old)
			}
			if err != nil || !r.keeps(old) {
				return Errorf(Required, "password", "The secret is missing: the one that is kept is only for the host and the user name that it was sent with.")
			}
			r.Password, password = old.Password, "kept"
		}
		if err := tx.PutRelay(ctx, r); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, NewEvent(p, tenant, EventRelayChanged, tenant, r.UpdatedAt, append(r.place(), "password", password)...))
	})
	s.ownRelays.Drop(tenant)
	r.Password = ""
	return r, err
}

func passwordLost(r Relay) *Error {
	e := Errorf(Required, "password", "password is missing: the one that is kept can't be opened any more; send it again.")
	e.Err = r.PasswordLost
	return e
}

// keeps reports whether the secret of the old settings may go where these lead.
func (r Relay) keeps(old Relay) bool {
	switch {
	case old.Password == "" || old.Username != r.Username || (old.HTTP == nil) != (r.HTTP == nil):
		return false
	case r.HTTP == nil:
		return strings.EqualFold(old.Host, r.Host)
	}
	then, err := parseEndpoint("url", old.HTTP.URL, true)
	now, nowErr := parseEndpoint("url", r.HTTP.URL, true)
	return err == nil && nowErr == nil && then.origin() == now.origin() && old.HTTP.Bearer == r.HTTP.Bearer
}

// place is where the settings lead, as an event's data: of a URL the origin alone, since
// the rest may hold a secret.
func (r Relay) place() []string {
	if r.HTTP == nil {
		return []string{"host", r.Host, "port", strconv.Itoa(r.Port)}
	}
	e, _ := parseEndpoint("url", r.HTTP.URL, true) // checked
	return []string{"host", e.host, "port", e.port, "protocol", e.scheme}
}

func noOwnRelays() *Error {
	return Errorf(Refused, "host", "This instance does not send by tenants' own servers; its operator can change that with send.tenant_relays.enabled.")
}

// check looks at what can be judged without asking anybody.
func (n NewRelay) check(plain bool) error {
	for _, c := range n.correspondents() {
		if c.Name != nil && *c.Name != "" {
			if err := checkLabel(c.field, *c.Name, maxRelayName); err != nil {
				return err
			}
		}
	}
	if n.HTTP != nil {
		return n.checkHTTP(plain)
	}
	if err := checkHost(n.Host); err != nil {
		return err
	}
	switch {
	case n.Port < 1 || n.Port > 65535:
		return Errorf(Invalid, "port", "The port must be one of 465, 587, 2525, 25, or from %d to 65535.", firstFreePort)
	case n.Port < firstFreePort && n.Port != defaultRelayPort && !slices.Contains(submission, n.Port):
		return Errorf(Invalid, "port", "%d is not a port of mail; use 465, 587, 2525, 25, or one from %d on.", n.Port, firstFreePort)
	}
	if n.Username == "" {
		if n.Password != "" {
			return Errorf(Required, "username", "username is missing: a password is of no use without it.")
		}
	} else if err := checkLabel("username", n.Username, maxUsername); err != nil {
		return err
	}
	if n.Password != "" && (len(n.Password) > maxPassword || strings.ContainsAny(string(n.Password), "\x00\r\n")) {
		return Errorf(Invalid, "password", "The password has more than %d octets, a line break or a NUL.", maxPassword)
	}
	return nil
}

// checkHTTP is check for an HTTP API.
func (n NewRelay) checkHTTP(plain bool) error {
	unfit := func(r rune) bool { return r < ' ' || r == 0x7F }
	switch h := n.HTTP; {
	case n.Host != "":
		return Errorf(Invalid, "host", "host is of SMTP servers; an HTTP provider has a URL.")
	case n.Port != 0:
		return Errorf(Invalid, "port", "port is of SMTP servers; that of an HTTP provider is in its URL.")
	case h.Bearer && n.Username != "":
		return Errorf(Invalid, "username", "A bearer token has no user name; leave it out.")
	case h.Bearer && (len(n.Password) > maxToken || strings.ContainsFunc(string(n.Password), func(r rune) bool { return r <= ' ' || r >= 0x7F })):
		return Errorf(Invalid, "password", "The token has more than %d octets, or characters other than those of visible ASCII.", maxToken)
	case !h.Bearer && strings.Contains(n.Username, ":"): // RFC 7617, section 2
		return Errorf(Invalid, "username", "The user name has a colon, which this authentication can't tell from the one before the password.")
	case !h.Bearer && (len(n.Password) > maxPassword || strings.ContainsFunc(string(n.Password), unfit)):
		return Errorf(Invalid, "password", "The password has more than %d octets, or control characters.", maxPassword)
	case !h.Bearer:
		if err := checkLabel("username", n.Username, maxUsername); err != nil {
			return err
		}
	}
	return n.HTTP.check(plain)
}

// checkHost takes a name of the DNS or an IP address. Where they lead is looked at
// when they are connected to, since that changes.
func checkHost(host string) error {
	if host == "" {
		return Errorf(Required, "host", "host is missing: give the name of the SMTP server.")
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return Errorf(Invalid, "host", "%s names an interface of a machine; give the name of the SMTP server.", quote(host))
		}
		return nil
	}
	name, err := dnscheck.ParseName(host)
	if err != nil || len(host) > maxHost || !isHostName(name.String()) {
		return Errorf(Invalid, "host", "%s is not the name of a host; give it alone, such as smtp.example.org.", quote(host))
	}
	return nil
}

// isHostName leaves out names that the DNS has and hosts have not (RFC 1123, section
// 2.1), and numbers that some resolvers take for addresses.
func isHostName(name string) bool {
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	for _, label := range labels {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
		}) {
			return false
		}
	}
	last := labels[len(labels)-1]
	return last[0] < '0' || last[0] > '9'
}

// relayAuthor asks the trust rule about an author or Reply-To of the settings.
func (s *Service) relayAuthor(ctx context.Context, t Tenant, field string, m Mailbox) (Mailbox, Decision, error) {
	canonical, domain, err := ParseMailbox(field, m.Address)
	if err != nil {
		return m, Decision{}, err
	}
	m.Address = onWire(m.Address, domain)
	m, canonical = s.onBehalf(m, canonical)
	d, err := s.decide(ctx, s.store, t, canonical, "")
	if err == nil && !d.Allow {
		e := Refusal(d.Reason, canonical)
		e.Field, err = field, e
	}
	return m, d, err
}

// DeleteRelay takes a tenant's own way out away: its mail leaves by the instance's
// relay again, that which waits included. NotFound where there is none.
func (s *Service) DeleteRelay(ctx context.Context, p Principal, tenant ID) error {
	if _, err := s.AuthorizeWhole(ctx, p, tenant, RoleAdmin); err != nil {
		return err
	}
	defer s.ownRelays.Drop(tenant)
	return s.store.Update(ctx, func(tx Tx) error {
		if err := tx.DeleteRelay(ctx, tenant); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, NewEvent(p, tenant, EventRelayDeleted, tenant, s.now()))
	})
}

// TestRelay sends one mail by the tenant's own way out, now and once, and tells what
// came of it. It counts as unasked-for mail of its recipient.
//
// Errors: NotFound where there is no server, Required or Invalid on "to", Refused on
// "from" or "host", TooSoon on "to".
func (s *Service) TestRelay(ctx context.Context, p Principal, tenant ID, to string) (Delivery, error) {
	none := Delivery{}
	t, err := s.AuthorizeWhole(ctx, p, tenant, RoleAdmin)
	if err != nil {
		return none, err
	}
	r, err := s.store.Relay(ctx, tenant)
	if err != nil {
		return none, err
	}
	if !s.settings.Send.OwnRelays {
		return none, noOwnRelays()
	}
	if r.PasswordLost != nil {
		return none, passwordLost(r)
	}
	if to, err = parseRecipient("to", to); err != nil {
		return none, err
	}
	from := s.provider.SystemSender()
	if r.From != nil {
		from = r.From.Mailbox()
	}
	from, decision, err := s.relayAuthor(ctx, t, "from", from)
	if err != nil {
		return none, err
	}
	now := s.now()
	o := Outgoing{Tenant: tenant, Message: NewID(), To: to, Decision: decision, Relay: &r}
	d := Draft{
		Message: o.Message, From: from, To: Mailbox{Address: to}, At: now, Subject: "Test of the delivery settings",
		Text: "This mail was sent to test the delivery settings of an environment. If you read it, they work.\n",
	}
	if r.ReplyTo != nil {
		reply, _, err := s.relayAuthor(ctx, t, "replyTo", r.ReplyTo.Mailbox())
		if err != nil {
			return none, err
		}
		d.ReplyTo = &reply
	}
	if o.Body, err = s.provider.Compose(d); err != nil {
		return none, err
	}
	if err := s.countTest(ctx, tenant, to, now); err != nil {
		return none, err
	}
	signed, err := s.provider.Prepare(ctx, o)
	if err != nil {
		return none, err
	}
	limited, cancel := context.WithTimeout(ctx, testPatience)
	defer cancel()
	got := s.provider.Deliver(limited, o, signed)
	data := []string{"outcome", string(got.Outcome), "stage", got.Stage}
	if got.Code != 0 {
		data = append(data, "code", strings.TrimSpace(strconv.Itoa(got.Code)+" "+got.Enhanced))
	}
	// The mail is out, whether or not the caller still listens.
	ctx, cancelWrite := context.WithTimeout(context.WithoutCancel(ctx), storeWait)
	defer cancelWrite()
	err = s.store.Update(ctx, func(tx Tx) error {
		return tx.InsertEvent(ctx, NewEvent(p, tenant, EventRelayTested, tenant, s.now(), data...))
	})
	return got, err
}

func (s *Service) countTest(ctx context.Context, tenant ID, to string, now time.Time) error {
	today := day(now)
	return s.store.Update(ctx, func(tx Tx) error {
		for _, c := range []struct {
			key  []byte
			most int
		}{{s.keyed("relay-test", string(tenant)), relayTests}, {s.keyed("relay-test-recipient", strings.ToLower(to)), s.settings.Code.PerRecipient}} {
			n, err := tx.CountRecipient(ctx, hex.EncodeToString(c.key), today)
			if err != nil {
				return err
			}
			if n > c.most {
				e := tooSoon(today.Add(24*time.Hour), "There were as many test mails, or mails to this address, today as there can be")
				e.Field = "to"
				return e
			}
		}
		return nil
	})
}

// byNoReply reports whether a message is the built-in no-reply's.
func (s *Service) byNoReply(m Message) bool {
	return m.Kind == KindCode || m.From == s.provider.SystemSender().Address
}

// relayOf returns the tenant's own way out for a message, at most a second old; nil:
// it leaves by the instance's relay. What the built-in no-reply says always does: its
// domain's SPF record knows that relay, and a tenant must not get to read the codes
// that prove addresses to be others'.
func (s *Service) relayOf(ctx context.Context, m Message) (*Relay, error) {
	if !s.settings.Send.OwnRelays || s.byNoReply(m) {
		return nil, nil
	}
	if r, ok := s.ownRelays.Get(m.Tenant); ok {
		return r, nil
	}
	read := time.Now()
	r, err := s.store.Relay(ctx, m.Tenant)
	switch {
	case err == nil:
		s.ownRelays.Put(m.Tenant, &r, read)
		return &r, nil
	case KindOf(err) == NotFound:
		s.ownRelays.Put(m.Tenant, nil, read)
		return nil, nil
	}
	return nil, err
}
