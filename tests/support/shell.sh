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
# until_done NAME SIGNAL COMMAND... - starts it, sends it SIGNAL after a growing while, and resumes it
# until it ends by itself. Says how often; keeps what each life had recorded as NAME.trace.N.
until_done() {
  local name=$1 signal=$2 pause=3 kills=0 nap rc pid killed; shift 2 # tenths of a second
  while :; do
    setsid "$@" "run.name=$name" resume=auto 2> "$name.log" & pid=$!
    # In short naps, so that a run which ends by itself is not waited for.
    for ((nap = 0; nap < pause; nap++)); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    killed=0
    kill -"$signal" -- -"$pid" 2>/dev/null && killed=1 && kills=$((kills + 1))
    wait "$pid" 2>/dev/null; rc=$?
    [ ! -f "runs/$name/trace.bin" ] || cp "runs/$name/trace.bin" "$name.trace.$kills"
    [ "$rc" = 0 ] && break
    [ "$killed" = 1 ] || fail "$name: exit $rc by itself: $(tail -n 2 "$name.log")"
    case $signal:$rc in
      KILL:* | *:75 | USR1:138) ;; # 138: a rank that had not begun to catch it
      *) # mpirun itself answers TERM with 1; a signal before the program caught signals ends it.
         [ "$pause" -le 5 ] || fail "$name: exit $rc after SIG$signal: $(tail -n 2 "$name.log")" ;;
    esac
    pause=$((pause + pause / 3))
    [ "$kills" -lt 40 ] || fail "$name: never ends"
  done
  echo "$name: SIG$signal $kills times"
}
# hash RUN - the weights_hash of a finished run's last line.
hash() { sed -nE 's/.*"kind": ?"end".*"weights_hash": ?"([0-9a-f]+)".*/\1/p' "$1/metrics.jsonl" | tail -n 1; }
