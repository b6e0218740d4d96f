#!/bin/sh
# Installs Chromium and its driver where they are missing. Only the browser test needs them.
set -eu
if command -v chromedriver >/dev/null && command -v chromium >/dev/null; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "The browser test needs chromium and chromedriver on PATH: please install them." >&2
    exit 1
fi
root=""
[ "$(id -u)" = 0 ] || root=sudo
$root apt-get update -qq
$root apt-get install -y -qq --no-install-recommends chromium chromium-driver
