# The two commands of a newcomer, and what CI does.

.PHONY: demo test browser check release counts counts-accept ops

# Starts the three sample nanoservices and the compositor, and prints the address of the page.
demo:
	cargo build --workspace --bins
	@sh scripts/demo.sh

# Runs all tests, after installing what only tests need.
test: browser
	cargo test --workspace

# Chromium, and the driver that the browser test speaks to.
browser:
	@sh scripts/browser.sh

# Format, lints, docs: what CI asks beside the tests.
check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo check --lib --no-default-features
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Builds the program by what it does most (a quarter of an hour; a tenth to a third more pages a second).
release:
	@sh scripts/release.sh

# Counts the instructions of the pure parts under valgrind; fails where one takes 5 % more than it did.
counts:
	cargo run --quiet --package counts --profile counts

# Writes down that it takes what it takes now.
counts-accept:
	cargo run --quiet --package counts --profile counts -- accept

# Tries what Prometheus is to ask and to tell (promtool is in Debian's package `prometheus`).
ops:
	promtool check config ops/prometheus.yml
	promtool test rules ops/alerts.test.yml
