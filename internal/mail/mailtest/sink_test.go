package mailtest_test

import (
	"context"
	"testing"
	"time"

	"github.com/postseal/postseal/internal/mail"
	"github.com/postseal/postseal/internal/mail/mailtest"
)

func TestWaitMessagesReturnsWhenTheyAreThere(t *testing.T) {
	sink := mailtest.Serve(t)
	r, err := mail.NewRelay(mail.RelayConfig{Address: sink.Addr(), TLS: mail.NoTLS})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if got, err := sink.WaitMessages(ctx, 1); err == nil {
		t.Errorf("%d messages before one was sent", len(got))
	}

	// The waiter is there first or not; it gets both in either case.
	done := make(chan []mailtest.Message)
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go func() {
		got, err := sink.WaitMessages(ctx, 2)
		if err != nil {
			t.Error(err)
		}
		done <- got
	}()
	for _, text := range []string{"Subject: 1\r\n\r\n", "Subject: 2\r\n\r\n"} {
		if got := r.Send(t.Context(), mail.Envelope{From: "a@example.org", To: "b@example.net"}, []byte(text)); got.Outcome != mail.Delivered {
			t.Fatal(got.Err)
		}
	}
	got := <-done
	if len(got) != 2 || string(got[1].Data) != "Subject: 2\r\n\r\n" || !got[1].Acknowledged || got[1].Connection != 1 {
		t.Errorf("messages %+v", got)
	}
}

func TestFaultsStrikeInOrderAndRunOut(t *testing.T) {
	sink := mailtest.Serve(t)
	sink.Fail(mailtest.Fault{At: mailtest.Rcpt, Reply: "450 4.2.1 first", Times: 2})
	sink.Fail(mailtest.Fault{At: mailtest.Rcpt, Reply: "550 5.1.1 second", Times: 1})
	r, err := mail.NewRelay(mail.RelayConfig{Address: sink.Addr(), TLS: mail.NoTLS})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for n, want := range []int{450, 450, 550, 250} {
		got := r.Send(t.Context(), mail.Envelope{To: "b@example.net"}, []byte("Subject: x\r\n\r\n"))
		if got.Reply.Code != want {
			t.Errorf("message %d: %+v, want %d", n, got.Reply, want)
		}
	}
}
