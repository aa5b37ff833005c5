#!/usr/bin/env bash
# Installs what the tests need besides Python packages: redis-server. Does nothing when it is there.
set -euo pipefail

if command -v redis-server >/dev/null; then
    exit 0
fi
if [[ "$(id -u)" != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "tests: redis-server is not installed; install it with your system's package manager (Debian, Ubuntu: sudo apt-get install redis-server)." >&2
    exit 1
fi
echo "tests: installing redis-server"
# The tests start their own; the package must not start another one.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server >/dev/null
