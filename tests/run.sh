#!/bin/bash
# run.sh BUILD KIND... - runs tests of the kinds unit, mpi, commands, scripts, cuda (on a GPU, then a
# part of them under compute-sanitizer), emulated (the CUDA backend over an emulated CUDA), valgrind;
# counts what passed, what failed and what was skipped, and why. A test that exits with 77 was skipped:
# its last line says why.
# REQUIRE="cuda slurm": a skip whose reason begins with one of these words is a failure.
set -u
cd "$(dirname "$0")/.." || exit 1
build=$(realpath -m --relative-to=. "$1"); shift
ran=0; failed=(); skipped=()
export TARDIGRAD=$PWD/$build/tardigrad BUILD=$PWD/$build
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMP_WAIT_POLICY=passive
# A busy machine is no failure: the limits below are what ends a test that hangs.
export CK_TIMEOUT_MULTIPLIER=10
case ${SANITIZER:-} in
  # Open MPI, OpenCL's loader and hwloc keep memory until exit: leaks are looked for where only we run.
  # Tests ask for more memory than there is.
  address) export ASAN_OPTIONS=detect_leaks=0:handle_segv=0:allow_user_segv_handler=1:allocator_may_return_null=1 ;;
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
# Tests in which a line says DEVICE: yes; with a sanitizer without the scripts, whose ranks share the
# cores and would take minutes. Sets `there`: how many of them found the device.
on_device() { # KIND PLUGIN
  local t run
  there=$((${#skipped[@]} - ran))
  for t in $(grep -l 'DEVICE: yes' tests/*/test_*.c tests/*/test_*.sh); do
    run=$build/${t%.c}; [ "${t%.sh}" = "$t" ] || run=$t
    [ -z "${SANITIZER:-}" ] || [ "${t%.sh}" = "$t" ] || continue
    one "$1 ${t%.c}" 900 env TARDIGRAD_TEST_DEVICE=cuda TARDIGRAD_CUDA_PLUGIN="$2" "$run"
  done
  there=$((there + ran - ${#skipped[@]}))
}
# The tests with our own kernels in them, in one process each, which takes ten to a hundred times as
# long; those of cuDNN and cuBLAS are NVIDIA's to check.
under_sanitizer() { # PLUGIN
  local tool t why=
  command -v compute-sanitizer >/dev/null || why="compute-sanitizer is not on the PATH"
  [ "$there" -gt 0 ] || why="compute-sanitizer has no GPU to look at"
  [ -z "$why" ] || { one "cuda compute-sanitizer" 10 sh -c "echo $why; exit 77"; return; }
  for tool in memcheck racecheck; do
    for t in backend/test_device_vectors cuda/test_paths ops/test_batch_norm ops/test_elementwise ops/test_loss ops/test_pool ops/test_shape; do
      one "cuda $tool $t" 600 env CK_FORK=no TARDIGRAD_TEST_DEVICE=cuda TARDIGRAD_CUDA_PLUGIN="$1" \
        compute-sanitizer --tool $tool --error-exitcode 9 "$build/tests/$t"
    done
  done
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
    # The emulated device is always there: a skip is a failure.
    emulated) one "emulated CUDA itself" 300 "$build/tests/cuda/test_emulator"
              REQUIRE="${REQUIRE:-} cuda" on_device emulated "$PWD/$build/libtardigrad_cuda_emulated.so" ;;
    cuda) on_device cuda "$PWD/$build/libtardigrad_cuda.so"
          under_sanitizer "$PWD/$build/libtardigrad_cuda.so" ;;
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
