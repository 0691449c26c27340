#!/bin/bash
# scaling.sh - one command that compares rules: rules x numbers of workers x seeds, with equal tuning
# budgets, paired seeds and paired delays. Prints a table (Markdown) and writes it, one JSON object a
# line, and a report page into the folder given by --out. `bench/scaling.sh --help` says what can be
# chosen; what is there already is not run again, and Ctrl-C does no harm: the next call goes on.
#
#   bench/scaling.sh --dry-run                                   # what would run, and for how long
#   bench/scaling.sh --out runs/scaling                          # the whole grid, simulated
#   bench/scaling.sh --transport mpi --workers 1,4 --out runs/scaling-mpi
#   bench/scaling.sh --table-only --out runs/scaling             # the table, from the logs alone
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${TARDIGRAD:=$here/../build/tardigrad}"
export TARDIGRAD
[ "$(id -u)" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none OMP_WAIT_POLICY=passive
command -v python3 >/dev/null || { echo "scaling: python3 is not here, and the table needs it" >&2; exit 69; }
exec python3 "$here/scaling.py" "$@"
