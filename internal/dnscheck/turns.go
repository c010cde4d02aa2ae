package dnscheck

// turns let so many go at a time. Where more want to, the next is of the asker that has fewest
// under way, so that one who wants very much keeps the others waiting for no more than one
// place; but half of the places are for the Checker itself. It is guarded by the lock of its
// owner, and its zero value lets nobody go.
type turns struct {
	most, taken int
	askers      map[string]*turnsOf // those with something under way, or waiting
}

type turnsOf struct {
	taken   int
	waiting []chan struct{} // closed when they have a place
}

// want takes a place at once, or returns what is closed when there is one.
func (t *turns) want(asker string) (turn chan struct{}) {
	if t.askers == nil {
		t.askers = make(map[string]*turnsOf)
	}
	a := t.askers[asker]
	if a == nil {
		a = &turnsOf{}
		t.askers[asker] = a
	}
	if t.taken < t.most {
		t.taken++
		a.taken++
		return nil
	}
	turn = make(chan struct{})
	a.waiting = append(a.waiting, turn)
	return turn
}

// leave is for who wants a place no longer, be it that there was one meanwhile.
func (t *turns) leave(asker string, turn chan struct{}) {
	a := t.askers[asker]
	for i, w := range a.waiting {
		if w == turn {
			a.waiting = append(a.waiting[:i], a.waiting[i+1:]...)
			t.forget(asker, a)
			return
		}
	}
	t.free(asker)
}

// free gives the place of an asker to the next.
func (t *turns) free(asker string) {
	a := t.askers[asker]
	a.taken--
	var next *turnsOf
	if own := t.askers[""]; own != nil && len(own.waiting) > 0 && own.taken < t.most/2 {
		next = own
	} else {
		for _, o := range t.askers { // of equals, chance decides
			if len(o.waiting) > 0 && (next == nil || o.taken < next.taken) {
				next = o
			}
		}
	}
	if next == nil {
		t.taken--
	} else {
		next.taken++
		close(next.waiting[0])
		next.waiting = next.waiting[1:]
	}
	t.forget(asker, a)
}

func (t *turns) forget(asker string, a *turnsOf) {
	if a.taken == 0 && len(a.waiting) == 0 {
		delete(t.askers, asker)
	}
}

// waiting counts those who wait.
func (t *turns) waiting() (n int) {
	for _, a := range t.askers {
		n += len(a.waiting)
	}
	return n
}
