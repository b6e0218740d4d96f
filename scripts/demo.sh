#!/bin/sh
# Runs the sample site, three nanoservices and the compositor, until Ctrl-C ends them all.
#   scripts/demo.sh                    starts everything
#   scripts/demo.sh start NAME FOLDER  starts a nanoservice of a running demo again; the demo prints this command
set -eu
cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-target}/debug
services="headlines weather scores"

# Starts a program in the background. Its log and its number are in the folder of the demo, which stops it at its end.
start() {
    # Created first: the program may start later than the first look into its log.
    : >"$run/$1.log"
    name=$1
    shift
    "$bin/$name" "$@" >"$run/$name.log" 2>"$run/$name.err" &
    pid=$!
}

# Waits until a program reports that it is listening. If it ends instead, prints its log, which says why.
await() {
    until grep -q "listening on http" "$run/$1.log"; do
        if ! kill -0 "$pid" 2>/dev/null; then
            cat "$run/$1.log" "$run/$1.err" >&2
            exit 1
        fi
        sleep 0.1
    done
}

if [ "${1:-}" = start ]; then
    run=$3
    if [ ! -d "$run" ]; then
        echo "This demo has ended: start another one with \`make demo\`." >&2
        exit 1
    fi
    start "$2"
    await "$2"
    echo "$pid" >"$run/$2.pid"
    echo "$2 runs again: $(sed -n 's/.*listening on //p' "$run/$2.log")   stop: kill $pid"
    exit 0
fi

run=$(mktemp -d)
# Stops whatever was started in this folder, services that were started again included.
stop() {
    for file in "$run"/*.pid; do
        [ -e "$file" ] || continue
        name=$(basename "$file" .pid)
        pid=$(cat "$file")
        # Its number may belong to another program by now.
        [ "$(ps -o comm= -p "$pid")" != "$name" ] || kill "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    rm -rf "$run"
}
trap 'trap - EXIT; stop' EXIT
trap 'exit 0' INT TERM

for service in $services; do
    start "$service"
    echo "$pid" >"$run/$service.pid"
    await "$service"
    printf '%-10s %s   stop: kill %s   start again: %s\n' \
        "$service" "$(sed -n 's/.*listening on //p' "$run/$service.log")" "$pid" "sh scripts/demo.sh start $service $run"
done

: >"$run/pasteup.log"
"$bin/pasteup" serve >"$run/pasteup.log" &
pid=$!
pasteup=$pid
echo "$pid" >"$run/pasteup.pid"
: >"$run/pasteup.err"
await pasteup
page=$(sed -n 's/^listening on //p' "$run/pasteup.log")
admin=$(sed -n 's/^admin on //p' "$run/pasteup.log")
cat <<END

  The front page:  $page/
  Sport, weather:  $page/sport   $page/weather
  The console:     $admin/

The tides on the weather page are a program that pasteup starts itself (fragments/tides).
Stop a service, reload the front page, and start it again. Edit layouts/front.html, and reload.
Ctrl-C stops everything.

END
wait "$pasteup"
