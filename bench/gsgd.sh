#!/bin/bash
# gsgd.sh - one command that compares gsgd with sgd on real data: networks x arms x seeds, learning
# rates chosen on held-out samples with equal budgets, seeds paired. Writes tables (Markdown), one JSON
# object a line and curves into the folder given by --out. `bench/gsgd.sh --help` says what can be
# chosen; what is there already is not run again, and Ctrl-C does no harm: the next call goes on.
#
#   bench/gsgd.sh --out runs/gsgd                       # all of it: hours on two cores
#   bench/gsgd.sh --only mnist,fashion --jobs 2
#   bench/gsgd.sh --table-only --out runs/gsgd          # the tables, from the logs alone
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${TARDIGRAD:=$here/../build/tardigrad}"
export TARDIGRAD OMP_WAIT_POLICY=passive
[ "$(id -u)" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
command -v python3 >/dev/null || { echo "gsgd: python3 is not here, and the tables need it" >&2; exit 69; }
exec nice -n 15 python3 "$here/gsgd.py" "$@"
