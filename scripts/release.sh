#!/bin/sh
# Builds the program twice: once to record a profile while benches/train.rs requests pages, and once from that profile.
set -eu
cd "$(dirname "$0")/.."

rustup component list --installed | grep -q '^llvm-tools' || rustup component add llvm-tools
host=$(rustc -vV | sed -n 's/^host: //p')
profdata="$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata"
target=${CARGO_TARGET_DIR:-target}/trained
notes=$(pwd)/$target/notes
case $target in /*) notes=$target/notes ;; esac
program=$target/$host/release/pasteup

build() {
    # With an explicit target, only the program itself is built with these flags, not build scripts and proc macros.
    RUSTFLAGS=$1 CARGO_TARGET_DIR=$target cargo build --release --bin pasteup --features wasm --target "$host"
}

rm -rf "$notes"
echo "1 of 3: building the program that records a profile"
build "-Cprofile-generate=$notes"
echo "2 of 3: requesting pages from it"
PASTEUP=$(realpath "$program") cargo bench --quiet --profile dev --bench train
"$profdata" merge -o "$notes/all.profdata" "$notes"/*.profraw
echo "3 of 3: building the program from the profile"
build "-Cprofile-use=$notes/all.profdata"
echo "$program"
