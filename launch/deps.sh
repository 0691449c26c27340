#!/bin/sh
# deps.sh PACKAGE... - installs the Debian packages that are missing; where that is not possible,
# prints what to install and fails only if the build would.
set -u
missing=
if command -v dpkg-query >/dev/null 2>&1; then
  for p in "$@"; do
    dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
  done
  [ -n "$missing" ] || exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
  echo "make deps: apt-get is not here. What this program needs, by Debian's package names:" >&2
  echo "  $*" >&2
  echo "  Libraries in other places are found by pkg-config and by *_HOME (see the Makefile)." >&2
  exit 0
fi
sudo=
if [ "$(id -u)" != 0 ]; then
  if command -v sudo >/dev/null 2>&1; then sudo=sudo; else
    echo "make deps: needs root or sudo. Run as root: apt-get install$missing" >&2
    exit 1
  fi
fi
echo "make deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of words
if ! $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1; then
  $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null || {
    echo "make deps: apt-get could not install:$missing" >&2
    exit 1
  }
fi
