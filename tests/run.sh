#!/usr/bin/env bash
# Runs the whole suite. What mostly waits, for nodes and processes that come and go, runs beside the folders that bear it;
# what measures times, or needs both cores, runs after them alone. With arguments, which are pytest's, all of it runs in
# one go.
set -euo pipefail
cd "$(dirname "$0")/.."
pytest=(.venv/bin/python -m pytest)

waiting=(tests/gpus tests/fine_tuning)
bearing=(tests/unit tests/deploy tests/sources tests/integration tests/dashboard tests/conformance tests/bad_input)
alone=(tests/faults tests/engine)
# A folder that is not named runs all the same.
for folder in tests/*/; do
    folder=${folder%/}
    if [[ " ${waiting[*]} ${bearing[*]} ${alone[*]} tests/configs tests/__pycache__ " != *" $folder "* ]]; then
        alone+=("$folder")
    fi
done
if (($#)); then
    exec "${pytest[@]}" "${bearing[@]}" "${waiting[@]}" "${alone[@]}" "$@"
fi

said=$(mktemp)
"${pytest[@]}" "${waiting[@]}" -o cache_dir=.pytest_cache/waiting >"$said" 2>&1 &
beside=$!
trap 'kill "$beside" 2>/dev/null || true; rm -f "$said"' EXIT
failed=0
"${pytest[@]}" "${bearing[@]}" || failed=$?
wait "$beside" || failed=$?
cat "$said"
"${pytest[@]}" "${alone[@]}" -o cache_dir=.pytest_cache/alone || failed=$?
exit "$failed"
