#!/bin/sh
# demo.sh TARDIGRAD [key=value ...] - a server and four workers on this machine, for real.
set -eu
program=$1; shift
[ "$(id -u)" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# More ranks than cores is fine here: ranks that wait give their core away.
export OMPI_MCA_mpi_yield_when_idle=1
mpirun --oversubscribe -n 5 "$program" train configs/demo.yaml "$@"
"$program" eval runs/demo
echo "the run: runs/demo (config.yaml, metrics.jsonl, trace.bin, checkpoints/)"
echo "replay it bit for bit: $program replay runs/demo"
[ ! -f runs/demo/report.html ] || echo "the report: runs/demo/report.html"
