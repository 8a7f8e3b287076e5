#!/bin/sh
# Prints the newest Python that can make the virtual environment, or what is wanted, and exits 1.
#   infra/find_python.sh [CANDIDATE ...]     names on PATH, or paths
# A name proves little: version managers leave stubs that run nothing, and some systems pack venv apart from Python.
[ $# -gt 0 ] || set -- python3.13 python3.12 python3.11 python3
usable='import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13): sys.exit("is Python " + sys.version.split()[0])
try: import ensurepip, venv
except ImportError as error: sys.exit(f"cannot make virtual environments ({error})")'
looked=
newline='
'
for candidate; do
    if ! place=$(command -v "$candidate"); then
        looked="$looked$newline  $candidate: not found"
    elif said=$("$place" -c "$usable" 2>&1); then
        echo "$place"
        exit 0
    else
        looked="$looked$newline  $candidate: $place ${said%%"$newline"*}"
    fi
done
echo "Cookhouse needs Python 3.11, 3.12 or 3.13 with venv and ensurepip. Looked at, on PATH:$looked
Install one (Debian, Ubuntu: apt-get install python3-venv, or python3.12-venv for that version), or name one:
make PYTHON=/path/to/python3.12 ..." >&2
exit 1
