#!/bin/bash
# test_ranks.sh - the tests of this folder with other numbers of ranks than tests/run.sh gives them.
set -u
command -v mpirun >/dev/null || { echo "mpirun is not here"; exit 77; }
check() { # RANKS PROGRAM
  local program=$BUILD/tests/mpi/$2 out
  [ -x "$program" ] || { echo "$program is not built"; exit 77; }
  out=$(CK_FORK=no timeout 120 mpirun -n "$1" "$program" 2>&1) ||
    { echo "test_ranks: $2 with $1 ranks: exit $?"; echo "$out"; exit 1; }
}
for ranks in 2 3 4 9; do check $ranks test_sync; done
for ranks in 4 9; do check $ranks test_async; done
for ranks in 2 3 9; do check $ranks test_local; check $ranks test_gossip; done
