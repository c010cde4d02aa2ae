# The few verbs of Postseal.
#
#   make build      the binary, bin/postseal
#   make demo       the whole journey on loopback, in seconds; nothing but Go needed
#   make test       installs what the tests need, then runs them all: race detector, both databases, real peers
#   make soak       a month of SOAK=1000 domains over a bad network, and shorter simulations, on fake time: minutes; make test does it, too
#   make sweep      SWEEP=20000 domains at the rate of a million a day, on fake time
#   make lint       formatting, vet, modernisers, staticcheck, generated code, cross builds
#   make generate   the query package from its SQL (building sqlc takes minutes)
#   make bench      installs dnsperf and what the tests need, then runs the benchmarks that docs/performance.md quotes
#   make clean      removes what was built here

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.PHONY: build demo test soak sweep lint generate bench clean

export CGO_ENABLED := 0

build:
	go build -trimpath -o bin/postseal ./cmd/postseal

demo:
	go run ./cmd/postseal demo

# Modules of their own (a vendor's client, say) are tested with the rest; those in
# tools/ only name the versions of tools.
test: export CGO_ENABLED := 1
test:
	@scripts/install-test-deps </dev/null
	@$(MAKE) --no-print-directory soak
	$(IN_MEMORY) go test -race -shuffle=on -timeout 20m ./... </dev/null
	@for mod in $$(find . -mindepth 2 -name go.mod -not -path './tools/*' | sort); do \
		echo "go test, in $$(dirname $$mod)"; \
		(cd "$$(dirname $$mod)" && $(IN_MEMORY) go test -race -shuffle=on -timeout 20m ./... </dev/null); \
	done

# What tests write goes to memory where there is a place for it: each commit would wait for a
# disk, in simulations on a clock that does not.
IN_MEMORY = GOTMPDIR=$${GOTMPDIR:-$${TMPDIR:-/tmp}} TMPDIR="$$('$(CURDIR)/scripts/test-tmp')"

# All simulations of weeks, and not with the race detector, which is what takes the time; go test
# -race runs smaller ones.
SOAK ?= 1000
soak:
	POSTSEAL_TEST_SOAK=$(SOAK) $(IN_MEMORY) go test -run '^Test(Soak|Sweep|WatchSeesWhatIsPublished)$$' -v -count=1 -timeout 60m ./internal/sender </dev/null

SWEEP ?= 20000
sweep:
	POSTSEAL_TEST_SWEEP=$(SWEEP) go test -run '^TestSweep$$' -v -count=1 -timeout 12h ./internal/sender </dev/null

lint:
	@scripts/lint

generate:
	cd internal/store && go tool -modfile=../../tools/sqlc/go.mod sqlc generate
	scripts/generated-sum >tools/sqlc/generated.sum

bench:
	@scripts/install-test-deps dnsperf </dev/null
	go test -run '^$$' -bench . -benchmem -timeout 30m ./bench/...

clean:
	rm -rf bin dist
