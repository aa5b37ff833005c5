#!/usr/bin/env bash
# Installs what the tests need besides Python packages, each by the package that brings it. Does nothing when all is there.
set -euo pipefail

# The tool that tests look for, and Debian's package.
tools=(
    redis-server:redis-server
    chromium:chromium
    promtool:prometheus
    ip:iproute2
)

missing=() packages=()
for entry in "${tools[@]}"; do
    if ! command -v "${entry%%:*}" >/dev/null; then
        missing+=("${entry%%:*}")
        packages+=("${entry#*:}")
    fi
done
if [[ ${#missing[@]} == 0 ]]; then
    exit 0
fi
if [[ "$(id -u)" != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "tests: not installed: ${missing[*]}. Install with your system's package manager (Debian, Ubuntu: sudo apt-get install ${packages[*]})." >&2
    exit 1
fi
echo "tests: installing ${packages[*]}"
# The tests start what they need; no package may start its own server.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
