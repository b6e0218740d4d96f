#!/bin/sh
# The figures of docs/load.md: sh benches/load/run.sh PASTEUP, where PASTEUP is a release binary.
# Needs python3; for the comparison oha (`cargo install oha`) or wrk, and for the instructions valgrind. What is missing is left out.
set -eu
bin=$(realpath "${1:?name the binary}")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
pids=""
trap 'kill $pids 2>/dev/null || true; rm -rf "$work"' EXIT
python3 "$here/known.py" 7311 & pids="$pids $!"
mkdir -p "$work/site/layouts"
printf '+++\nroute = "/"\n+++\n<title>x</title><p>A page without parts.</p>\n' >"$work/site/layouts/front.html"
printf '[server]\nlisten = "127.0.0.1:7312"\nadmin = "127.0.0.1:7313"\n' >"$work/site/pasteup.toml"
"$bin" --site "$work/site" serve >"$work/serve" 2>&1 & pids="$pids $!"
until grep -q "admin on" "$work/serve"; do sleep 0.1; done

load() { "$bin" --site "$work/site" load --format json "$@" >"$work/out.json" || true; }
show() { python3 - "$work/out.json" "$1" <<'END'
import json, sys
run = json.load(open(sys.argv[1]))
latency, late = run["total"]["latency"], run["late"]
print(f"{sys.argv[2]}: {run['total']['requests']} requests, "
      + ", ".join(f"{name} {latency[name]:.1f}" for name in ("p50_ms", "p99_ms", "p99_9_ms", "max_ms"))
      + f"; late {late['share']:.4f} (p99 {late['p99_ms']:.2f} ms)")
if sys.argv[2].startswith("known"):
    for name, true in (("p50_ms", 54), ("p99_ms", 103), ("p99_9_ms", 104)):
        print(f"  {name}: {latency[name] / true - 1:+.1%} of the true {true} ms")
END
}

echo "== A server of known times (5 to 104 ms, uniform), 500 a second, 20 s"
load http://127.0.0.1:7311/known --rate 500 --duration 20s
show known
echo "== A server that stops for 1 s, 1,000 a second for 10 s, steady"
load http://127.0.0.1:7311/stop --rate 1000 --duration 10s --arrivals steady
show "p99 of 850 ms or more is wanted"

echo "== Requests a second for one core: a cached page; the tool on core 0, the compositor on core 1"
taskset -c -p 1 "$(echo "$pids" | awk '{print $2}')" >/dev/null
for rate in 10000 15000 20000 25000 30000 35000 40000; do
    taskset -c 0 "$bin" --site "$work/site" load http://127.0.0.1:7312/ --rate $rate --duration 4s --arrivals steady --connections 64 \
        --format json >"$work/out.json" 2>/dev/null || true
    show "$rate/s"
done
if command -v oha >/dev/null; then
    taskset -c 0 oha --no-tui -z 4s -c 64 http://127.0.0.1:7312/ | grep "Requests/sec"
fi
if command -v wrk >/dev/null; then
    taskset -c 0 wrk -t1 -c64 -d4s http://127.0.0.1:7312/ | grep "Requests/sec"
fi

if command -v valgrind >/dev/null; then
    echo "== Instructions of the compositor for a cached page: without a run, with a run but no token, with a token"
    python3 "$here/instructions.py" "$bin" "$work/site"
fi
