#!/bin/sh
# Installs Redis where it is missing. Only the tests of several replicas need it, and start it themselves.
set -eu
if command -v redis-server >/dev/null; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "The tests of several replicas need redis-server (7 or later) on PATH: please install it." >&2
    exit 1
fi
root=""
[ "$(id -u)" = 0 ] || root=sudo
# Not started as a service: each test starts its own.
$root apt-get update -qq
$root env RUNLEVEL=1 apt-get install -y -qq --no-install-recommends redis-server
