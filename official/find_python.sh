#!/bin/sh
# Print a Python that the original Waymo evaluator runs on, or say in one line that there is none.
# OFFICIAL_PYTHON, if set, is tried first; then the search path, then pyenv's versions.
if [ "$(uname -s)-$(uname -m)" != "Linux-x86_64" ]; then
    echo "The original Waymo evaluator exists for Linux on x86-64 only; this is $(uname -s) on $(uname -m)." >&2
    exit 1
fi
fits='import sys, venv, ensurepip; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 11))'
for python in "$OFFICIAL_PYTHON" python3.10 python3.11 python3.9 python3 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10.*/bin/python \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.11.*/bin/python \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.9.*/bin/python; do
    if [ -n "$python" ] && "$python" -c "$fits" >/dev/null 2>&1; then
        echo "$python"
        exit 0
    fi
done
echo "The original Waymo evaluator needs Python 3.9, 3.10 or 3.11 with venv, and none was found. Name one: make official-env OFFICIAL_PYTHON=/path/to/python3.10" >&2
exit 1
