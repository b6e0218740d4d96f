#!/bin/sh
# Runs the sample site with its services, and the load lab on its three pages for ten seconds.
set -eu
cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-target}/debug
log=$(mktemp)
sh scripts/demo.sh >"$log" 2>&1 &
demo=$!
trap 'trap - EXIT; kill $demo 2>/dev/null || true; wait 2>/dev/null || true; rm -f "$log"' EXIT
trap 'exit 130' INT TERM
until grep -q "The console:" "$log"; do
    if ! kill -0 "$demo" 2>/dev/null; then
        cat "$log" >&2
        exit 1
    fi
    sleep 0.1
done
mkdir -p target
status=0
"$bin/pasteup" load / /sport /weather --duration 10s --out target/load.html || status=$?
echo
echo "  The report: target/load.html"
exit $status
