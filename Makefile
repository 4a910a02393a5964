# Ringway. Bare `make` lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
# Seconds for each fuzz target.
FUZZ_SECONDS ?= 60
# Where `make install` puts things, and what is put before that for packagers.
PREFIX ?= /usr/local
DESTDIR ?=
RESULTS := benches/results/$(shell date +%Y-%m-%d)-$(shell hostname)

.PHONY: help
help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: ## install the system packages that building and testing need (Debian, Ubuntu; root or sudo)
	scripts/setup.sh

.PHONY: build
build: setup ## build everything in release mode: target/release/ringway-*
	$(CARGO) build --locked --release --workspace

.PHONY: install
install: ## install what make build made, with units, users and folders (PREFIX=/usr/local, DESTDIR; root)
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' scripts/install.sh install

.PHONY: uninstall
uninstall: ## remove what make install put there; configuration and keys stay (PREFIX, DESTDIR; root)
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' scripts/install.sh uninstall

.PHONY: deb
deb: build ## a Debian package of what make build made, in target/debian
	scripts/deb.sh

.PHONY: check-deb
check-deb: ## lintian, and the package of make deb installed, tried and purged in a root of its own (root)
	scripts/check-deb.sh

.PHONY: setup-clients
setup-clients: ## install the clients that the end-to-end tests call with: Chromium and aiortc
	scripts/setup.sh clients

.PHONY: setup-chart
setup-chart: ## install what the Helm chart is tested with: Helm, and Kubernetes' schemas
	scripts/setup.sh chart

.PHONY: test
test: setup-clients setup-chart ## run all tests (as root also those with hosts and real clients)
	$(CARGO) test --locked --workspace

.PHONY: test-e2e
test-e2e: setup-clients ## run the end-to-end tests only, and show what they say (root)
	$(CARGO) test --locked -p ringway-e2e -- --nocapture

.PHONY: test-browsers
test-browsers: ## the end-to-end tests with Firefox too (root)
	scripts/setup.sh browsers
	$(CARGO) test --locked -p ringway-e2e -- --include-ignored --nocapture

.PHONY: lint
lint: setup ## formatting and clippy
	$(CARGO) fmt --all --check
	cd fuzz && $(CARGO) fmt --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

.PHONY: deny
deny: ## check licences, sources and bans of all dependencies (needs cargo-deny)
	$(CARGO) deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing: cargo install cargo-deny --locked"; exit 1; }
	$(CARGO) deny check bans licenses sources

.PHONY: fuzz
fuzz: setup ## run each fuzz target for FUZZ_SECONDS (default 60); new inputs join fuzz/corpus
	scripts/fuzz.sh $(FUZZ_SECONDS)

.PHONY: bench
bench: bench-micro bench-forwarding ## all benchmarks; reports go to benches/results/ (root for the second half)

.PHONY: bench-micro
bench-micro: setup ## nanoseconds of the formats and of the crypto behind them
	$(CARGO) bench --locked -p ringway-benches --bench wire --bench crypto_choice
	$(CARGO) run --locked --release -q -p ringway-benches --bin bench-report > $(RESULTS)-micro.md
	@echo "Report: $(RESULTS)-micro.md"

.PHONY: bench-forwarding
bench-forwarding: setup ## CPU per packet of the relay against naive forwarders, in namespaces (root)
	$(CARGO) build --locked --release -p ringway-relay -p ringway-benches
	target/release/bench-forwarding run
	target/release/bench-forwarding spoof

.PHONY: bench-peers
bench-peers: setup ## Ringway beside what one would take instead (root; benches/peers/install.sh gets them)
	$(CARGO) build --locked --release -p ringway-relay -p ringway-benches
	target/release/bench-peers run

.PHONY: bench-loadgen
bench-loadgen: setup ## packets a second that ringway-loadgen flows drives out and back from one core
	$(CARGO) build --locked --release -p ringway-loadgen -p ringway-benches
	target/release/bench-loadgen

.PHONY: bench-latency
bench-latency: setup ## what one worker carries, and what it adds to a round trip at 10, 50 and 90 % of that (root)
	$(CARGO) build --locked --release -p ringway-relay -p ringway-benches
	target/release/bench-peers latency

.PHONY: bench-calls
bench-calls: setup ## how long a call takes to come about, and its CPU, in namespaces (root)
	$(CARGO) run --locked --release -q -p ringway-e2e --example bench-calls > $(RESULTS)-setup.md
	@cat $(RESULTS)-setup.md; echo "Report: $(RESULTS)-setup.md"

.PHONY: chaos
chaos: setup ## the fault suite: what calls lose when things break; renews docs/reliability.md (root)
	$(CARGO) build --locked --release -p ringway-relay -p ringway-transceiver -p ringway-chaos
	target/release/chaos --report docs/reliability.md

.PHONY: demo
demo: ## relay, transceiver and a page to talk to, on this machine (ADVERTISE=address for other devices)
	@scripts/demo.sh

.PHONY: loadtest
loadtest: ## measure calls and packets on this machine, or (URL=https://… CALLS=500) of a deployment
	@scripts/loadtest.sh
