//go:build race

package sender_test

// raced: the race detector makes simulations ten times as slow; make soak runs them at their
// full size without it.
const raced = true
