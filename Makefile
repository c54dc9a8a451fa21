SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

version := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
golist  := go.mod go.sum $(shell find . -name '*.go' -not -path './tools/*' -not -path './.tools/*' 2>/dev/null)
modules := . dev bench

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'

.PHONY: build
build: bin/belfry ## Build bin/belfry

bin/belfry: $(golist)
	@echo "building $@"
	@CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(version)' -o $@ ./cmd/belfry

bin/stack: $(golist) dev/go.mod dev/go.sum
	@echo "building $@ (the local stack; the first time takes some minutes)"
	@cd dev && go build -o ../$@ .

# Temporal's dev server: the one on PATH, else built here.
temporal := $(if $(shell command -v temporal 2>/dev/null),,.tools/temporal)

.tools/temporal: tools/temporal/go.mod
	@echo "building the Temporal dev server (about 3 minutes, once)"
	@cd tools/temporal && go build -o ../../$@ github.com/temporalio/cli/cmd/temporal

.PHONY: dev
dev: bin/belfry bin/stack $(temporal) ## Run all of Belfry on this machine, with everything it needs
	@exec bin/stack dev

.PHONY: engines
engines: bin/belfry bin/stack $(temporal) ## Run what Belfry needs, to start bin/belfry beside it
	@exec bin/stack engines

.PHONY: dev-clean
dev-clean: ## Throw away the data of dev and engines (.belfry/)
	rm -rf .belfry

.PHONY: rabbitmq
rabbitmq: ## Install what the tests need besides Go, RabbitMQ, python3-pika and python3-websockets, where apt-get can
	@dev/rabbitmq.sh

# The interleavings of claims are explored all without the race detector, which
# makes that take minutes, and by chance with it. `make lint` vets.
.PHONY: test
test: rabbitmq bin/belfry bin/stack $(temporal) ## Run every test, against real servers
	@echo "running all tests; but for the first ones, no package is printed until e2e is over, in 5 to 8 minutes"
	@{ (cd dev && go test -race -vet=off -shuffle=on -timeout 10m ./...) & stack=$$!; \
		CGO_ENABLED=0 go test -trimpath -vet=off -shuffle=on -run Interleavings ./activities && \
		bin/stack exec --rabbitmq -- go test -race -vet=off -shuffle=on -parallel 5 -timeout 25m ./e2e ./... && \
		wait $$stack || { wait $$stack; false; }; } 2>&1 | tee .tools/test.log || \
		{ echo "failed, in short:"; grep -E '^ *--- FAIL|^FAIL|^panic:|^[[:blank:]]+Test[^:]*\([0-9ms]+\)$$|DATA RACE' .tools/test.log; exit 1; }

FUZZTIME ?= 30s

.PHONY: fuzz
fuzz: ## Try each fuzz target for FUZZTIME (30s)
	@for folder in $$(git grep -l --untracked '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do \
		for target in $$(sed -nE 's/^func (Fuzz[[:alnum:]_]*)\(.*/\1/p' "$$folder"/*_test.go); do \
			echo "$$folder $$target"; \
			(cd "$$folder" && go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x .); \
		done; \
	done

SCENARIO ?= single

.PHONY: bench
bench: $(if $(filter intake%,$(SCENARIO)),rabbitmq) bin/belfry bin/stack .tools/bench $(temporal) ## Measure Belfry: SCENARIO (single, latency, broadcast, intake), N, CONCURRENCY (single), CONNECTIONS and WORKERS (broadcast)
	bin/stack exec $(if $(filter intake%,$(SCENARIO)),--rabbitmq) -- .tools/bench $(SCENARIO) $(if $(N),-n $(N)) $(if $(CONCURRENCY),-c $(CONCURRENCY)) $(if $(CONNECTIONS),--connections $(CONNECTIONS)) $(if $(WORKERS),--workers $(WORKERS))

.tools/bench: $(wildcard bench/*.go) bench/go.mod bench/go.sum
	@echo "building $@"
	@cd bench && go build -o ../$@ .

.PHONY: chaos
chaos: rabbitmq bin/belfry bin/stack $(temporal) ## The failure tests at length: 20 kills, 2,000 mails through each mood of a mail server, broadcasts to 20,000, streams of 5,000 events, 200 latencies of live items
	CHAOS_KILLS=20 CHAOS_MAILS=2000 CHAOS_AWAY=65 CHAOS_MINUTES=5 CHAOS_RECIPIENTS=20000 CHAOS_STOPPED=120 CHAOS_EVENTS=5000 CHAOS_MALFORMED=1000 CHAOS_FANS=5000 CHAOS_EACH=10 CHAOS_LATENCIES=200 CHAOS_LISTENERS=100 CHAOS_LOAD=200 CHAOS_INBOXES=55 \
		bin/stack exec --rabbitmq -- go test -race -v -timeout 90m -run 'Killed|Moods|Away|StoppedPast|Missed|Broadcast|Events|Cinema|ClientsThat|ClientThat' ./e2e

.PHONY: soak
soak: bin/belfry bin/stack $(temporal) ## 100,000 good and bad requests in 10 minutes: SOAK_REQUESTS, SOAK_SECONDS, SOAK_SEED
	SOAK_REQUESTS=$(or $(SOAK_REQUESTS),100000) SOAK_SECONDS=$(or $(SOAK_SECONDS),600) SOAK_SEED=$(SOAK_SEED) E2E_BINARY=$(CURDIR)/bin/belfry \
		bin/stack exec -- go test -v -timeout 60m -run TestGoodAndBadRequestsAtOnce ./e2e

.PHONY: lint
lint: .tools/golangci-lint .tools/workflowcheck .tools/govulncheck ## Format, tidy, vet, lint, workflow determinism, known vulnerabilities
	@unformatted="$$(git ls-files '*.go' | xargs gofmt -l)"; if [ -n "$$unformatted" ]; then echo "not gofmt-ed:"; echo "$$unformatted"; exit 1; fi
	@for module in $(modules); do (cd $$module && echo "lint $$module" && go mod tidy -diff && go vet ./... && $(CURDIR)/.tools/golangci-lint run --config $(CURDIR)/.golangci.yml ./...); done
	.tools/workflowcheck ./workflows
	@found="$$(.tools/govulncheck ./... 2>&1)" && echo "$$found" || { \
		grep -q "fetching vulnerabilities" <<<"$$found" || { echo "$$found"; exit 1; }; \
		echo "govulncheck left out: its database cannot be reached from here"; }

.tools/golangci-lint: tools/lint/go.mod
	@echo "building golangci-lint (about 2 minutes, once)"
	@cd tools/lint && go build -o ../../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.tools/workflowcheck: tools/lint/go.mod
	@cd tools/lint && go build -o ../../$@ go.temporal.io/sdk/contrib/tools/workflowcheck

.tools/govulncheck: tools/lint/go.mod
	@cd tools/lint && go build -o ../../$@ golang.org/x/vuln/cmd/govulncheck

.PHONY: proto
proto: .tools/buf .tools/protoc-gen-go .tools/protoc-gen-go-grpc ## Generate Go from the protos
	.tools/buf lint . --config tools/proto/buf.yaml
	.tools/buf generate . --config tools/proto/buf.yaml --template tools/proto/buf.gen.yaml

.tools/buf: tools/proto/go.mod
	@echo "building buf (some minutes, once)"
	@cd tools/proto && go build -o ../../$@ github.com/bufbuild/buf/cmd/buf

.tools/protoc-gen-go: tools/proto/go.mod
	@cd tools/proto && go build -o ../../$@ google.golang.org/protobuf/cmd/protoc-gen-go

.tools/protoc-gen-go-grpc: tools/proto/go.mod
	@cd tools/proto && go build -o ../../$@ google.golang.org/grpc/cmd/protoc-gen-go-grpc
