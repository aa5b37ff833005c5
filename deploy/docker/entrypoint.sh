#!/bin/sh
# Puts secrets that are mounted as files into the variables that raymux reads, then becomes the command: the content of the
# file that RAYMUX_API_KEYS_FILE names goes to RAYMUX_API_KEYS, and so on for all RAYMUX_..._FILE and ..._API_KEY_FILE.
set -eu
for name in $(env | sed -nE 's/^((RAYMUX_[A-Z0-9_]+|[A-Z0-9_]+_API_KEY)_FILE)=.*/\1/p'); do
    file=$(printenv "$name")
    value=$(cat "$file") || exit 1
    export "${name%_FILE}=$value"
    unset "$name"
done
exec "$@"
