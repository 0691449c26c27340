#!/bin/bash
# shell.sh - for scripts that test the program: a folder of their own, and how to fail.
# TARDIGRAD names the program; tests/run.sh sets it.
: "${TARDIGRAD:=$PWD/build/tardigrad}"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
scratch=$(mktemp -d "${TMPDIR:-/tmp}/tardigrad-test.XXXXXX") || exit 1
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
fail() { echo "FAILED: $*" >&2; exit 1; }
skip() { echo "$*"; exit 77; }
# hash RUN - the weights_hash of a finished run's last line.
hash() { sed -nE 's/.*"kind": ?"end".*"weights_hash": ?"([0-9a-f]+)".*/\1/p' "$1/metrics.jsonl" | tail -n 1; }
