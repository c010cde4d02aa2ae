package sender

import "sync"

// forEach calls do for every item, at most n at a time, and returns when all
// are done.
func forEach[T any](items []T, n int, do func(T)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, n)
	for _, item := range items {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			do(item)
		})
	}
	wg.Wait()
}
