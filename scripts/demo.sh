#!/bin/sh
# Runs the sample site, three nanoservices and the compositor, until Ctrl-C ends them all.
set -eu
cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-target}/debug
services="headlines weather scores"
logs=$(mktemp -d)
pids=""
trap 'trap - EXIT; kill $pids 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$logs"' EXIT
trap 'exit 0' INT TERM

# Waits until a program reports that it is listening. If it ends instead, prints its log, which says why.
await() {
    until grep -q "listening on http" "$logs/$1"; do
        if ! kill -0 "$2" 2>/dev/null; then
            cat "$logs/$1" >&2
            exit 1
        fi
        sleep 0.1
    done
}

# The logs are created first: a program in the background may start later than the first look into its log.
for program in $services pasteup; do
    : >"$logs/$program"
done

for service in $services; do
    "$bin/$service" >"$logs/$service" 2>&1 &
    pid=$!
    pids="$pids $pid"
    await "$service" "$pid"
    printf '%-10s %s   stop: kill %s   start again: %s\n' \
        "$service" "$(sed -n 's/.*listening on //p' "$logs/$service")" "$pid" "$bin/$service &"
done

"$bin/pasteup" serve >"$logs/pasteup" &
pasteup=$!
pids="$pids $pasteup"
await pasteup "$pasteup"
page=$(sed -n 's/^listening on //p' "$logs/pasteup")
admin=$(sed -n 's/^admin on //p' "$logs/pasteup")
cat <<END

  The front page:  $page/
  Sport, weather:  $page/sport   $page/weather
  The console:     $admin/

The tides on the weather page are a program that pasteup starts itself (fragments/tides).
Built with \`--features wasm\`, it also runs the almanac beside them, a WebAssembly component (fragments/almanac).
Stop a service, reload the front page, and start it again. Edit layouts/front.html, and reload.
Ctrl-C stops everything.

END
wait "$pasteup"
