# sparemx: `make` alone lists the commands.
GO       ?= go
BIN      := bin/sparemx
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X main.version=$(VERSION)
FUZZTIME ?= 30s

.DEFAULT_GOAL := help
.PHONY: help build run test unit e2e check fuzz bench tailcompare install-test clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/sparemx, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/sparemx

run: build ## run the agent here: it asks the local Postfix what this host backs up
	./$(BIN) run $(if $(CONFIG),--config.file=$(CONFIG)) --state=./state --control=./state/sparemx.sock

test: check install-test unit e2e ## everything: static checks, unit tests, end to end against real Postfix and Prometheus

unit: ## unit tests alone: nothing installed, race detector on
	$(GO) test -race -shuffle=on $$($(GO) list ./... | grep -v /test)

e2e: build ## end-to-end tests against real parts
	$(GO) test -count=1 -timeout 15m ./test/...

install-test: ## install what the end-to-end tests need (as root), or say what is missing
	./test/install.sh

check: ## gofmt, vet, modules tidy
	@unformatted=$$(gofmt -l $$(git ls-files '*.go' | xargs ls 2>/dev/null)); test -z "$$unformatted" || { echo "not gofmt clean: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) mod tidy -diff
	$(GO) mod verify >/dev/null

fuzz: ## each fuzz target for FUZZTIME (30s)
	./test/fuzz.sh $(FUZZTIME)

bench: ## the whole agent beside real Postfix, then each hot path; writes docs/BENCHMARKS.md
	test/bench.sh
	$(GO) test -run '^$$' -bench . -benchmem ./logparse ./postfix ./collector ./queue ./outage

tailcompare: ## lines lost by other log followers and by ours, the same rotations
	cd test/tailcompare && $(GO) test -count=1 -v ./...

clean: ## remove what was built
	rm -rf bin dist
