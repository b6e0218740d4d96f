#!/bin/sh
# Runs the sample site: three nanoservices and the compositor, until ctrl-c ends them all.
set -eu
cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-target}/debug
services="headlines weather scores"
logs=$(mktemp -d)
pids=""
trap 'trap - EXIT; kill $pids 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$logs"' EXIT
trap 'exit 0' INT TERM

# A program of ours that says `listening on` is ready; one that ends has said why.
await() {
    until grep -q "listening on http" "$logs/$1"; do
        if ! kill -0 "$2" 2>/dev/null; then
            cat "$logs/$1" >&2
            exit 1
        fi
        sleep 0.1
    done
}

for service in $services; do
    "$bin/$service" >"$logs/$service" 2>&1 &
    pid=$!
    pids="$pids $pid"
    await "$service" "$pid"
    printf '%-10s %s   stop it: kill %s   start it again: %s\n' \
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

Stop a service, reload the front page, and start it again. Edit layouts/front.html, and reload.
Ctrl-c ends everything.

END
wait "$pasteup"
