package sender

import (
	"fmt"
	"testing"
)

func TestLanesBoundEachServerAndAllOfThem(t *testing.T) {
	l := newLanes(16, 4)
	mail := func(tenant string, n int) claimed {
		return claimed{Message{ID: ID(fmt.Sprint(tenant, n)), Tenant: ID(tenant)}, "lease"}
	}
	going := 0
	for tenant := range 5 {
		for n := range 6 {
			if l.enter(mail(fmt.Sprint(tenant), n)) {
				going++
			}
		}
		if want := min(4*(tenant+1), 12); going != want {
			t.Fatalf("after tenant %d %d go, want %d", tenant, going, want)
		}
	}
	if got := fmt.Sprint(l.busy()); got != "[0 1 2 3 4]" {
		t.Errorf("busy %s", got)
	}
	// A server that could not be reached is tried by one worker, until it was.
	for n := 4; n > 0; n-- {
		l.leave("0", unreached)
	}
	seen := map[ID]int{}
	for {
		c, _, ok := l.next()
		if !ok {
			break
		}
		seen[c.Tenant]++
	}
	if seen["0"] > 1 || seen["0"]+seen["3"]+seen["4"] != 4 {
		t.Errorf("then %v went", seen)
	}
	for tenant, n := range seen {
		for range n {
			l.leave(tenant, reached)
		}
	}
	for _, tenant := range []string{"1", "2"} {
		for range 4 {
			l.leave(ID(tenant), reached)
		}
	}
	for { // the rest, in order
		c, _, ok := l.next()
		if !ok {
			break
		}
		seen[c.Tenant]++
		l.leave(c.Tenant, reached)
	}
	if left := l.drain(); len(left) != 0 {
		t.Errorf("%d are left", len(left))
	}
	if len(l.busy()) != 0 {
		t.Errorf("busy %v", l.busy())
	}
}

func TestTroubledServersTogetherLeaveTheOthersRoom(t *testing.T) {
	l := newLanes(16, 4)
	mail := func(tenant int) claimed { return claimed{Message{Tenant: ID(fmt.Sprint(tenant))}, "lease"} }
	for tenant := range 12 {
		if !l.enter(mail(tenant)) {
			t.Fatalf("the first of tenant %d may not go", tenant)
		}
	}
	for tenant := range 12 {
		l.leave(ID(fmt.Sprint(tenant)), unreached)
	}
	going := 0
	for tenant := range 12 {
		if l.enter(mail(tenant)) {
			going++
		}
	}
	if going != 3 {
		t.Errorf("%d troubled servers are tried at a time, want 3", going)
	}
	if !l.enter(mail(20)) {
		t.Error("one that is well may not go")
	}
	for range 20 {
		for tenant := range 12 {
			if id := ID(fmt.Sprint(tenant)); l.tenants[id] != nil && l.tenants[id].running > 0 {
				l.leave(id, reached)
			}
		}
		l.next()
	}
	if l.running < 0 || l.trying != 0 {
		t.Errorf("%d running, %d trying", l.running, l.trying)
	}
}

func TestNobodyOvertakesInALane(t *testing.T) {
	l := newLanes(1, 4)
	for n := range 5 {
		if went := l.enter(claimed{Message: Message{ID: ID(fmt.Sprint(n)), Tenant: "t"}}); went != (n == 0) {
			t.Fatalf("%d went: %t", n, went)
		}
	}
	for n := 1; n < 5; n++ {
		l.leave("t", reached)
		c, emptied, ok := l.next()
		if !ok || c.ID != ID(fmt.Sprint(n)) || emptied != (n == 4) {
			t.Fatalf("%s, emptied %t, %t", c.ID, emptied, ok)
		}
	}
	l.leave("t", unknown)
	if len(l.tenants) != 0 || l.running != 0 {
		t.Errorf("%d lanes, %d running", len(l.tenants), l.running)
	}
}
