#!/bin/bash
# registers.sh NVCC FLAG... - compiles every kernel for its architectures and lists, for each file, the most
# registers of a kernel and what spills. Fails if one spills.
set -u
cd "$(dirname "$0")/.." || exit 1
bad=0
for f in kernels/*.cu; do
  out=$("$@" -O3 -Xptxas -v -c "$f" -o /dev/null 2>&1) || { echo "$out" >&2; exit 1; }
  kernels=$(grep -c 'Compiling entry function' <<<"$out")
  most=$(sed -nE 's/.*Used ([0-9]+) registers.*/\1/p' <<<"$out" | sort -n | tail -n 1)
  spills=$(grep -E '[1-9][0-9]* bytes spill' <<<"$out" | sort -u)
  printf '%-28s %4d kernels, at most %3d registers%s\n' "$f" "$kernels" "${most:-0}" "${spills:+, SPILLS: $spills}"
  [ -z "$spills" ] || bad=1
done
exit $bad
