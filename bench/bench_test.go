package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/mail/mailtest"
)

const (
	rounds = 3
	each   = 3 * time.Second
)

// report prints ours beside the limit: medians of rounds taken in turn, and the
// median of the rounds' own ratios.
func report(b *testing.B, ours, limit []float64, last load) {
	b.Helper()
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / limit[i]
	}
	b.ReportMetric(0, "ns/op") // not what is measured
	b.ReportMetric(median(ours), "ours/s")
	b.ReportMetric(median(limit), "limit/s")
	b.ReportMetric(median(ratios), "ratio")
	if last.p99 > 0 {
		b.ReportMetric(float64(last.p50.Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(last.p99.Microseconds())/1000, "p99-ms")
	}
}

// BenchmarkCreateDomain is POST emailDomains of the PingOne dialect: authenticated,
// validated, unique, within the limit, audited and fsynced before the answer.
// The limit: a bare row of 1 KiB over HTTP into SQLite with shared commits.
func BenchmarkCreateDomain(b *testing.B) {
	s, limit := newServer(b, 1200), bare(b)
	var ours, bound []float64
	var last load
	n := int64(0)
	for b.Loop() {
		for range rounds {
			last = drive(b, s.address, connections, each, 201, func(i int64) []byte {
				i += n
				return request("POST", "/v1/environments/"+s.tenants[i/50]+"/emailDomains", s.token, fmt.Sprintf(`{"domainName":"d%d.example.org"}`, i))
			})
			n += int64(last.perSecond*each.Seconds()) + 10*connections // on to tenants with room
			n -= n % 50
			ours = append(ours, last.perSecond)
			bound = append(bound, drive(b, limit, connections, each, 201, func(int64) []byte { return request("POST", "/", "x", `{"a":1}`) }).perSecond)
		}
	}
	report(b, ours, bound, last)
}

// BenchmarkReadStatus is GET ownership of proven domains, from the store. The
// limit: a bare row by its key over HTTP.
func BenchmarkReadStatus(b *testing.B) {
	s, limit := newServer(b, 1), bare(b)
	ids := make([]string, 20)
	for i := range ids {
		ids[i] = s.provenDomain(s.tenants[0], fmt.Sprintf("d%d.example.org", i))
	}
	var ours, bound []float64
	var last load
	for b.Loop() {
		for range rounds {
			last = drive(b, s.address, connections, each, 200, func(i int64) []byte {
				return request("GET", "/v1/environments/"+s.tenants[0]+"/emailDomains/"+ids[i%int64(len(ids))]+"/ownership", s.token, "")
			})
			ours = append(ours, last.perSecond)
			bound = append(bound, drive(b, limit, connections, each, 200, func(int64) []byte { return request("GET", "/", "x", "") }).perSecond)
		}
	}
	report(b, ours, bound, last)
}

const message = `{"from":{"name":"Customer","address":"noreply@mail.example.org"},"to":{"address":"reader%d@example.net"},"subject":"Your code","text":"%s"}`

// text makes the messages 1.5 kB, as a one-time code with its explanations is.
var text = fmt.Sprintf("%01200d", 0)

// BenchmarkAccept is POST /v1/messages: authenticated, through the trust rule,
// composed, sealed, and durable with its job before the 202. Delivery is held
// back. The limit is that of BenchmarkCreateDomain.
func BenchmarkAccept(b *testing.B) {
	s, limit := newServer(b, 1), bare(b)
	s.activeAddress(s.tenants[0], s.provenDomain(s.tenants[0], "mail.example.org"), "noreply@mail.example.org")
	s.sink.Fail(mailtest.Fault{At: mailtest.Connect, Hang: true})
	var ours, bound []float64
	var last load
	for b.Loop() {
		for range rounds {
			last = drive(b, s.address, connections, each, 202, func(i int64) []byte {
				return request("POST", "/v1/messages", s.token, fmt.Sprintf(message, i, text))
			})
			ours = append(ours, last.perSecond)
			bound = append(bound, drive(b, limit, connections, each, 201, func(int64) []byte { return request("POST", "/", "x", `{"a":1}`) }).perSecond)
		}
	}
	report(b, ours, bound, last)
}

// BenchmarkDeliver is the way of waiting messages to a fast SMTP sink, each
// signed with RSA-2048, its attempt recorded before and after. The limit: bare
// RSA-2048 signatures on all cores.
func BenchmarkDeliver(b *testing.B) {
	const messages = 2000
	s := newServer(b, 1)
	s.activeAddress(s.tenants[0], s.provenDomain(s.tenants[0], "mail.example.org"), "noreply@mail.example.org")
	var ours, bound []float64
	for b.Loop() {
		for range rounds {
			s.sink.Fail(mailtest.Fault{At: mailtest.Connect, Hang: true})
			s.sink.CloseConnections()
			accepted := 0
			for accepted < messages {
				l := drive(b, s.address, connections, 200*time.Millisecond, 202, func(i int64) []byte {
					return request("POST", "/v1/messages", s.token, fmt.Sprintf(message, i, text))
				})
				accepted += int(l.perSecond * 0.2)
			}
			s.kill()
			s.sink.Heal()
			s.sink.Reset()
			s.start()
			for s.sink.Count() < 100 { // warm
				time.Sleep(time.Millisecond)
			}
			began, first := time.Now(), s.sink.Count()
			for s.sink.Count() < messages*9/10 {
				time.Sleep(time.Millisecond)
			}
			ours = append(ours, float64(s.sink.Count()-first)/time.Since(began).Seconds())
			bound = append(bound, rsaLimit(b, each))
		}
	}
	report(b, ours, bound, load{})
}
