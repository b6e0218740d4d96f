#!/bin/sh
# Installs Redis where it is missing. Only the tests of several replicas need it, and start it themselves.
set -eu
. "$(dirname "$0")/install.sh"
if ! command -v redis-server >/dev/null; then
    install "The tests of several replicas need redis-server (7 or later) on PATH" redis-server
fi
