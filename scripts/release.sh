#!/bin/sh
# Builds the program twice: once so that it notes what it does while benches/train.rs asks for pages, and once by these notes.
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
    # With a target of its own nothing but what is in the program is built so: no build scripts and no macros.
    RUSTFLAGS=$1 CARGO_TARGET_DIR=$target cargo build --release --bin pasteup --target "$host"
}

rm -rf "$notes"
echo "1 of 3: a program that notes what it does"
build "-Cprofile-generate=$notes"
echo "2 of 3: it is asked for pages"
PASTEUP=$(realpath "$program") cargo bench --quiet --profile dev --bench train
"$profdata" merge -o "$notes/all.profdata" "$notes"/*.profraw
echo "3 of 3: the program"
build "-Cprofile-use=$notes/all.profdata"
echo "$program"
