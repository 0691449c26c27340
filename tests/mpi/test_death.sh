#!/bin/bash
# test_death.sh - a worker that dies without a word ends the whole job within seconds, with a message.
set -u
program=$BUILD/tests/mpi/test_async
[ -x "$program" ] || { echo "$program is not built"; exit 77; }
command -v mpirun >/dev/null || { echo "mpirun is not here"; exit 77; }
out=$(timeout 30 mpirun -n 5 "$program" die 2>&1); rc=$?
fail() { echo "test_death: $1 (exit $rc)"; echo "$out"; exit 1; }
[ $rc -ne 124 ] || fail "the job went on without the dead worker"
[ $rc -ne 0 ] || fail "the job said that all was well"
grep -q 'signal 9' <<<"$out" || fail "nobody said that a process was killed"
