#!/bin/sh
# Installs Chromium and its driver where they are missing. Only the browser tests need them.
set -eu
. "$(dirname "$0")/install.sh"
if ! command -v chromedriver >/dev/null || ! command -v chromium >/dev/null; then
    install "The browser tests need chromium and chromedriver on PATH" chromium chromium-driver
fi
