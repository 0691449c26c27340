#!/bin/bash
# run.sh BUILD KIND... - runs tests of the kinds unit, mpi, commands, scripts, cuda (on a GPU), emulated (the CUDA
# backend over an emulated CUDA), valgrind; counts what passed, what
# failed and what was skipped, and why. A test that exits with 77 was skipped: its last line says why.
# REQUIRE="cuda slurm": a skip whose reason begins with one of these words is a failure.
set -u
cd "$(dirname "$0")/.." || exit 1
build=$1; shift
ran=0; failed=(); skipped=()
export TARDIGRAD=$PWD/$build/tardigrad BUILD=$PWD/$build
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMP_WAIT_POLICY=passive
# A busy machine is no failure: the limits below are what ends a test that hangs.
export CK_TIMEOUT_MULTIPLIER=10
case ${SANITIZER:-} in
  # Open MPI, OpenCL's loader and hwloc keep memory until exit: leaks are looked for where only we run.
  address) export ASAN_OPTIONS=detect_leaks=0:handle_segv=0:allow_user_segv_handler=1 ;;
  undefined) export UBSAN_OPTIONS=print_stacktrace=1 ;;
esac
one() { # NAME TIMEOUT COMMAND...
  local name=$1 limit=$2 out rc start; shift 2
  start=$(date +%s)
  out=$(timeout -k 10 "$limit" "$@" 2>&1); rc=$?
  ran=$((ran + 1))
  case $rc in
    0) printf 'ok    %-44s %3d s\n' "$name" $(($(date +%s) - start)) ;;
    77) local why; why=$(tail -n 1 <<<"$out"); skipped+=("$name: $why"); printf 'skip  %-44s %s\n' "$name" "$why"
        for word in ${REQUIRE:-}; do [[ $why != "$word"* ]] || failed+=("$name (required: $word)"); done ;;
    *) failed+=("$name (exit $rc)"); printf 'FAIL  %s (exit %d)\n%s\n' "$name" $rc "$out" ;;
  esac
}
for kind in "$@"; do
  case $kind in
    unit) for t in tests/*/test_*.c; do
            case $t in tests/mpi/*|tests/support/*) continue ;; esac
            one "${t%.c}" 600 "$build/${t%.c}"; done ;;
    mpi) for t in tests/mpi/test_*.c; do
           [ -e "$t" ] || continue
           n=$(sed -nE 's/^.*RANKS: ([0-9]+).*/\1/p' "$t" | head -n 1)
           one "${t%.c}" 300 env CK_FORK=no mpirun -n "${n:-4}" "$build/${t%.c}"; done ;;
    commands) for t in tests/cli/test_*.sh; do one "$t" 900 "$t"; done ;;
    scripts) for t in tests/*/test_*.sh tests/*/test_*.py; do
               [ -e "$t" ] || continue
               one "$t" 900 "$t"; done ;;
    cuda|emulated)
      plugin=$PWD/$build/libtardigrad_cuda.so
      [ "$kind" = cuda ] || plugin=$PWD/$build/libtardigrad_cuda_emulated.so
      for t in $(grep -l 'DEVICE: yes' tests/*/test_*.c tests/*/test_*.sh); do
        run=$build/${t%.c}; [ "${t%.sh}" = "$t" ] || run=$t
        one "$kind ${t%.c}" 900 env TARDIGRAD_TEST_DEVICE=cuda TARDIGRAD_CUDA_PLUGIN="$plugin" "$run"
      done ;;
    valgrind) for t in tests/*/test_*.c; do
            case $t in tests/mpi/*|tests/support/*) continue ;; esac
            grep -q 'VALGRIND: no' "$t" && { echo "skip  ${t%.c} $(grep -o 'VALGRIND: no.*' "$t")"; continue; }
            one "valgrind ${t%.c}" 900 env CK_FORK=no OMP_NUM_THREADS=1 valgrind -q --error-exitcode=9 \
              --leak-check=full --errors-for-leak-kinds=definite --suppressions=tests/valgrind.supp "$build/${t%.c}"; done ;;
  esac
done
echo "$ran run, ${#failed[@]} failed, ${#skipped[@]} skipped"
for s in "${skipped[@]}"; do echo "  skipped: $s"; done
for f in "${failed[@]}"; do echo "  FAILED: $f"; done
[ ${#failed[@]} = 0 ]
