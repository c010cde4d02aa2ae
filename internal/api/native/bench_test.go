package native_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postseal/postseal/internal/api/apitest"
	"github.com/postseal/postseal/internal/api/native"
	"github.com/postseal/postseal/internal/sender"
)

// BenchmarkRefusedMessage is what the edge itself costs of accepting a message:
// log-in, reading and answering. The last member read is refused, so that the
// core is not asked.
func BenchmarkRefusedMessage(b *testing.B) {
	k := apitest.New(b)
	tenant := k.Tenant("demo")
	token := k.Token(tenant, sender.RoleSender)
	h := native.New(native.Config{Service: k.Service, Auth: k.Auth, Log: k.Log})
	body := `{"from":"noreply@mail.example.org","to":"user@example.net","expiresIn":-1,"subject":"Hello","text":"` + strings.Repeat("Hello, world. ", 100) + `"}`
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/v1/messages", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+string(token))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusUnprocessableEntity {
			b.Fatalf("status %d: %s", w.Code, w.Body)
		}
	}
}

// BenchmarkTenantThroughHuma is the same for an operation that huma reads.
func BenchmarkTenantThroughHuma(b *testing.B) {
	k := apitest.New(b)
	tenant := k.Tenant("demo")
	token := k.Token(tenant, sender.RoleSender)
	h := native.New(native.Config{Service: k.Service, Auth: k.Auth, Log: k.Log})
	body := `{"name":"x","geography":"` + strings.Repeat("Hello, world. ", 100) + `","regions":["a"]}`
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/v1/tenants", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+string(token))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden {
			b.Fatalf("status %d: %s", w.Code, w.Body)
		}
	}
}
