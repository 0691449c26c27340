#!/bin/bash
# lint.sh - what `make lint` checks: layout, floors, who may know what, static analysis.
set -u
cd "$(dirname "$0")/.." || exit 1
bad=0
complain() { echo "lint: $1" >&2; bad=1; }

# 1. Layout.
mapfile -t files < <(git ls-files -co --exclude-standard 'include/tardigrad/*.h' 'src/*.[ch]' 'kernels/*.h' 'kernels/*.cu' 'kernels/*.cuh' 'tests/*.[ch]' 'tests/*.cc' 'bench/*.[ch]')
if command -v clang-format >/dev/null; then
  clang-format --dry-run -Werror "${files[@]}" 2>/tmp/lint.$$ || { head -20 /tmp/lint.$$ >&2; complain "layout: run make format"; }
  rm -f /tmp/lint.$$
else echo "lint: clang-format is not here: layout not checked" >&2; fi

# 2. Floors: a source file includes headers of its own floor or of lower ones.
declare -A floor=([core]=1 [ops]=2 [backend]=2 [graph]=3 [paths]=3 [models]=4 [data]=4 [optim]=4 [rules]=4 [codecs]=4 [dist]=5 [run]=6 [cli]=7)
declare -A home=()
while read -r header folder; do [ -z "$header" ] || home[$header]=$folder; done < tests/floors.txt
for h in include/tardigrad/*.h; do
  b=$(basename "$h"); [ -n "${home[$b]:-}" ] || complain "$h has no line in tests/floors.txt"
done
check_floor() { # FILE FOLDER
  local own=${floor[$2]}
  while read -r inc; do
    local f=${home[$inc]:-}
    [ -n "$f" ] || continue
    [ "${floor[$f]}" -le "$own" ] || complain "$1 (floor $own, $2) includes $inc of floor ${floor[$f]} ($f)"
  done < <(sed -nE 's/^#include "tardigrad\/([a-z_]+\.h)".*/\1/p' "$1")
}
for f in src/*/*.[ch]; do check_floor "$f" "$(basename "$(dirname "$f")")"; done
for h in include/tardigrad/*.h; do b=$(basename "$h"); [ -z "${home[$b]:-}" ] || check_floor "$h" "${home[$b]}"; done
while IFS=: read -r f _ inc; do
  other=$(sed -E 's/.*"([a-z]+)\/.*/\1/' <<<"$inc"); mine=$(basename "$(dirname "$f")")
  [ -z "${floor[$other]:-}" ] || [ "${floor[$other]}" -le "${floor[$mine]}" ] || complain "$f includes $other/ of a higher floor"
done < <(grep -nE '^#include "[a-z]+/' src/*/*.[ch] | grep -v '"tardigrad/')

# 3. Who may know what.
only() { # PATTERN ALLOWED_REGEX WHAT
  local hits; hits=$(grep -lE "$1" src/*/*.[ch] include/tardigrad/*.h | grep -vE "$2")
  [ -z "$hits" ] || complain "$3 is known outside its place: $hits"
}
only '#include <mpi\.h>' '^src/dist/[a-z_]*mpi\.c$' 'MPI'
only '#include <(dnnl|cblas|oneapi)' '^src/backend/cpu' 'oneDNN or OpenBLAS'
only '#include <(cuda|cublas|cudnn|nccl)' '^src/backend/cuda' 'CUDA'
only '[^a-z_](printf|exit|abort|puts) ?\(' '^src/(cli/|core/log\.c)' 'printf, exit or abort'
hits=$(grep -nE '^[[:space:]]*#[[:space:]]*if' src/*/*.c)
[ -z "$hits" ] || complain "conditionals in .c files (the Makefile chooses between files): $hits"
hits=$(grep -nE '.{101,}' src/*/*.[ch] include/tardigrad/*.h | cut -c1-80)
[ -z "$hits" ] || complain "lines over 100 columns: $hits"

# 4. Static analysis.
# Two checks of cppcheck do not know vector types (filled lane by lane) and byte arithmetic in the
# planned block of memory: only the CPU kernels have them.
if command -v cppcheck >/dev/null; then
  cppcheck -q --std=c11 --enable=warning,portability --inline-suppr --suppress=missingIncludeSystem \
    --suppress=unknownMacro '--suppress=legacyUninitvar:src/backend/*' '--suppress=invalidPointerCast:src/backend/*' --error-exitcode=1 -Iinclude -Isrc -D_GNU_SOURCE -DTG_VERSION='"0"' -j 2 src || complain "cppcheck"
else echo "lint: cppcheck is not here" >&2; fi
if command -v shellcheck >/dev/null; then
  mapfile -t scripts < <(git ls-files -co --exclude-standard '*.sh' '*.sbatch' .ci/run)
  shellcheck -S warning "${scripts[@]}" || complain "shellcheck"
else echo "lint: shellcheck is not here" >&2; fi
[ "$bad" = 0 ] && echo "lint: clean"
exit $bad
