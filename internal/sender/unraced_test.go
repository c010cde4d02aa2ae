//go:build !race

package sender_test

const raced = false
