package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/store/storetest"
)

// What is made while its tenant or domain is deleted is there or not; it is no fault.
func TestWhatIsMadeWhileItsParentIsDeletedIsNoFault(t *testing.T) {
	onEachEngine(t, func(t *testing.T, database string) {
		s := newServer(t, database)
		for round := range 8 {
			tenant := s.must(201, "POST", "/v1/tenants", s.operator, object{"name": fmt.Sprint("tenant ", round)}).str("id")
			native, pingone := "/v1/tenants/"+tenant, "/v1/environments/"+tenant
			domain := s.must(201, "POST", pingone+"/emailDomains", s.operator, object{"domainName": "parent.example"}).str("id")
			for n, path := range []string{pingone + "/emailDomains/" + domain, native} {
				var all sync.WaitGroup
				call := func(method, path string, body any) {
					all.Go(func() {
						status, o, err := s.call(t.Context(), method, path, s.operator, body)
						if err != nil || status >= 500 {
							t.Errorf("%s %s: %d %v %v", method, strings.ReplaceAll(path, tenant, "TENANT"), status, o, err)
						}
					})
				}
				call("POST", native+"/templates", object{"type": "t", "locale": "en", "subject": "s", "text": "t"})
				call("PUT", native+"/delivery-settings", object{"host": "smtp.example.org"})
				call("PUT", native+"/mail-defaults", object{"locale": "de"})
				call("POST", pingone+"/emailDomains/"+domain+"/trustedEmails", object{"emailAddress": "a@parent.example"})
				call("DELETE", path, nil)
				call("POST", pingone+"/emailDomains", object{"domainName": fmt.Sprintf("d%d.example", n)})
				call("POST", native+"/credentials", object{"kind": "api-key", "name": "key", "grants": []object{{"tenant": tenant, "role": "admin"}}})
				call("POST", "/v1/messages", object{"tenant": tenant, "from": "no-reply@mail.postseal.test", "to": "reader@example.net", "subject": "s", "text": "t"})
				all.Wait()
			}
		}
	})
}

// For a second a node takes mail for a tenant that another has deleted.
func TestMailForATenantDeletedOnAnotherNodeNeverLeaves(t *testing.T) {
	one := newServer(t, storetest.Postgres(t))
	two := &server{t: t, operator: one.operator, client: one.client, publish: one.publish, mailFor: one.mailFor, sink: one.sink, flags: one.flags, up: make(chan struct{})}
	two.start()
	taken := 0
	for round := 0; round < 10 && taken < 3; round++ {
		tenant := one.must(201, "POST", "/v1/tenants", one.operator, object{"name": fmt.Sprint("tenant ", round)}).str("id")
		mail := func(to string) (int, object) {
			status, o, err := two.call(t.Context(), "POST", "/v1/messages", two.operator, object{"tenant": tenant, "from": "no-reply@mail.postseal.test", "to": to, "subject": "s", "text": "t"})
			if err != nil {
				t.Fatal(err)
			}
			return status, o
		}
		before := fmt.Sprintf("before-%d@example.net", round)
		if status, o := mail(before); status != 202 {
			t.Fatal(status, o)
		}
		two.mailFor(before, "t")
		one.eventually(10*time.Second, "that it is deleted once its mail has left", func() bool {
			two.must(200, "GET", "/v1/tenants/"+tenant, two.operator, nil)
			status, _, err := one.call(t.Context(), "DELETE", "/v1/tenants/"+tenant, one.operator, nil)
			return err == nil && status == 204
		})
		if status, _ := mail("after@example.net"); status == 202 {
			taken++
		}
	}
	if taken == 0 {
		t.Fatal("no node took mail for a tenant that was gone: the test proves nothing")
	}
	time.Sleep(2 * time.Second) // more than a tick of the dispatchers
	if left := one.sink.of("after@example.net"); len(left) != 0 {
		t.Errorf("%d of %d messages left", len(left), taken)
	}
}
