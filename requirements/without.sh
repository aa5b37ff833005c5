#!/usr/bin/env bash
# Takes out of the lock file $1 what the lock file $2 has.
set -euo pipefail
name='/^[A-Za-z0-9]/ { split($1, parts, "=="); entry = parts[1] }'
awk "$name"' NR == FNR { known[entry]; next } FNR == 1 || /^#/ || !(entry in known)' "$2" "$1" >"$1.part"
mv "$1.part" "$1"
