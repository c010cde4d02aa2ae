// Package bench measures the whole program: the real binary as a process of its
// own, spoken to over HTTP, DNS and SMTP on loopback, each figure beside the
// limit of this machine measured in turn in the same run, so that the ratio
// holds when the machine's speed drifts. It has no code but its benchmarks:
//
//	make bench
//
// docs/performance.md explains the figures.
package bench
