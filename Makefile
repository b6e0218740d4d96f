# The two commands of a newcomer, and what CI does.

.PHONY: demo test browser check

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
