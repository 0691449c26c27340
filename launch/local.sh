#!/bin/sh
# local.sh WORKERS CONFIG.yaml [key=value ...] - a server and so many workers on this machine.
set -eu
[ $# -ge 2 ] || { echo "usage: launch/local.sh WORKERS CONFIG.yaml [key=value ...]" >&2; exit 2; }
workers=$1; shift
[ "$(id -u)" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_mpi_yield_when_idle=1
exec mpirun --oversubscribe -n $((workers + 1)) "${TARDIGRAD:-build/tardigrad}" train "$@"
