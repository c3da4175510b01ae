# `make help` lists the targets. CARGO_TARGET_DIR, CARGO and BULKHEAD_CACHE are respected.

CARGO ?= cargo
DEMO  ?= run
FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 600

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint fmt bench fuzz soak

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing: PostgreSQL, MariaDB, Redis, mongod, libclang
	@scripts/setup.sh

demo: setup ## four private databases and the sidecar, with requests to try (DEMO=once: try them and exit)
	@CARGO='$(CARGO)' scripts/demo.sh '$(DEMO)'

test: setup ## every test, on real servers
	$(CARGO) test

lint: setup ## formatting, clippy, licences and sources of the dependencies
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install cargo-deny --locked
	$(CARGO) deny check bans licenses sources

fmt: ## format the code
	$(CARGO) fmt

bench: ## measurements beside the drivers, a bare handler, PgBouncer and Webdis, as a Markdown table
	@scripts/setup.sh bench
	$(CARGO) bench --profile dist --bench gate

fuzz: setup ## each fuzz target for FUZZ_SECONDS (default 60)
	@CARGO='$(CARGO)' scripts/fuzz.sh '$(FUZZ_SECONDS)'

soak: setup ## random requests and cut links for SOAK_SECONDS (default 600), with a report
	CHAOS_SECONDS='$(SOAK_SECONDS)' $(CARGO) test --test gate chaos:: -- --nocapture
