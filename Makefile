# `make` lists the targets. A newcomer needs two of them: demo and test.

.DEFAULT_GOAL := help
.PHONY: help demo load test browser redis check release counts counts-accept ops reference

help: ## Lists these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: sample ## Starts the three sample nanoservices and the compositor, and prints the address of the page
	@sh scripts/demo.sh

load: sample ## Runs the load lab on the sample site for ten seconds, and writes target/load.html
	@sh scripts/load.sh

# What the sample site runs.
sample:
	cargo build -p pasteup -p headlines -p weather -p scores --bins --features pasteup/wasm

test: browser redis ## Runs all tests, after installing Chromium and Redis for those that need them
	cargo test --workspace --features wasm

browser: ## Installs Chromium and its driver where they are missing
	@sh scripts/browser.sh

redis: ## Installs Redis where it is missing
	@sh scripts/redis.sh

check: ## Checks format, lints and docs: what CI does beside the tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features wasm -- -D warnings
	cargo clippy --workspace --all-targets -- -D warnings
	cargo check --lib --no-default-features
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --features wasm

release: ## Builds the program from a profile (a quarter of an hour; a tenth to a third more pages a second)
	@sh scripts/release.sh

counts: ## Counts the instructions of the pure parts; fails where one takes 5 % more than before
	cargo run --quiet --package counts --profile counts

counts-accept: ## Accepts the present counts
	cargo run --quiet --package counts --profile counts -- accept

ops: ## Tests the Prometheus settings and alerts (needs promtool, from Debian's package `prometheus`)
	promtool check config --syntax-only ops/prometheus.yml
	promtool test rules ops/alerts.test.yml

reference: ## Writes docs/reference/ from the schemas of settings, manifests, front matter and elements
	cargo run --quiet --bin pasteup -- reference
