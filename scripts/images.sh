#!/bin/sh
# Builds the static binaries on this machine, then the images of docker-compose.yml from them:
#   scripts/images.sh [PROFILE]     `release` by default; `dev` is quick
set -eu
cd "$(dirname "$0")/.."

profile=${1:-release}
case $profile in dev) folder=debug ;; *) folder=$profile ;; esac
triple=$(rustc --print host-tuple)
programs="pasteup headlines weather scores"

RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile "$profile" --target "$triple" \
    -p pasteup -p headlines -p weather -p scores --features pasteup/wasm

rm -rf dist
mkdir -p dist/state
touch dist/state/.keep # git and docker leave out what is empty
echo '*' > dist/.gitignore
for program in $programs; do
    strip --strip-debug -o "dist/$program" "${CARGO_TARGET_DIR:-target}/$triple/$folder/$program"
done
# The images trust the certificate authorities that this machine trusts.
cp -L /etc/ssl/certs/ca-certificates.crt dist/
echo 'fn main() { loop { std::thread::park() } }' |
    rustc -C target-feature=+crt-static -C strip=symbols --target "$triple" -o dist/pause -

for program in $programs pause; do
    case $program in pasteup) image=localhost/pasteup ;; *) image=localhost/pasteup-$program ;; esac
    DOCKER_BUILDKIT=1 docker build --build-arg BINARIES=prebuilt --target "$program" --tag "$image" .
done
