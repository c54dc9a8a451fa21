SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

version := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
golist  := go.mod go.sum $(shell find . -name '*.go' -not -path './tools/*' -not -path './.tools/*' 2>/dev/null)
modules := . dev

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

.PHONY: test
test: bin/belfry bin/stack $(temporal) ## Run every test, against real servers
	bin/stack exec -- go test -race -shuffle=on -timeout 10m ./...
	cd dev && go test -race -shuffle=on -timeout 10m ./...
