#!/bin/bash
# packaging/test.sh [--quick | --long] [--sanitize address|thread]
#   Installs what is missing (packages.sh), builds everything with warnings as errors and runs the tests. What runs:
#     format   clang-format --dry-run -Werror over every source (where clang-format is version 14)
#     build    g++, RelWithDebInfo, in ./build
#     thread   clang++ with -Wthread-safety and ThreadSanitizer, in ./build-thread; the suites labelled unit and servers
#     address  clang++ with AddressSanitizer and UBSan, in ./build-address; the same suites
#     tidy     clang-tidy with the checks of .clang-tidy over the program's sources
#     ctest    every test of ./build but those labelled long
#   --quick          only packages, build and ctest
#   --long           the tests labelled long as well (hours; chroots are made: root)
#   --sanitize KIND  only that build, and in it every test but the long ones
#   Needs root for the disks and mounts of the end-to-end tests; without it they are skipped and say so.
#   The last lines are ctest's summary. Exit status: 0 if every part passed, 1 if one failed, 2 for a wrong option.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
export LC_ALL=C.UTF-8
unset MEDIAFS_CONFIG
LONG= QUICK= SANITIZE=
while [ $# -gt 0 ]; do
  case $1 in
    --long) LONG=1 ;;
    --quick) QUICK=1 ;;
    --sanitize) SANITIZE=${2-}; shift ;;
    --sanitize=*) SANITIZE=${1#*=} ;;
    -h | --help) sed -n '2,14p' "$0"; exit 0 ;;
    *) echo "test.sh: unknown option '$1' (see --help)" >&2; exit 2 ;;
  esac
  shift
done
case $SANITIZE in '' | address | thread) ;; *) echo "test.sh: --sanitize address or thread, not '$SANITIZE'" >&2; exit 2 ;; esac

JOBS=$(nproc)
CODE=(app common tier fs watcher pipeline cluster)
LABELS=(--label-exclude long)
[ -z "$LONG" ] || LABELS=()
TABLE=() BAD=0 SUMMARY= TARGET=all AT_ONCE=$(nproc)
# The sanitizers' shadow memory does not fit every address layout of newer kernels.
PLAIN_ADDRESSES=()
if setarch "$(uname -m)" -R true 2>/dev/null; then PLAIN_ADDRESSES=(setarch "$(uname -m)" -R); fi
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1

stage() { # NAME COMMAND...: runs it, notes the outcome and goes on
  local name=$1 start=$SECONDS word=passed; shift
  printf '\n=== %s\n' "$name"
  "$@" || { word=FAILED; BAD=1; }
  TABLE+=("$(printf '%-16s %-7s %4d s' "$name" "$word" $((SECONDS - start)))")
  [ $word = passed ]
}

sources() { # EXTENSIONS-REGEX FOLDER...
  local ext=$1 d; shift
  for d in "$@"; do [ ! -d "$d" ] || find "$d" -regextype egrep -type f -regex ".*\.($ext)" -print0; done
}

format() {
  local tool
  tool=$(command -v clang-format-14 || command -v clang-format)
  if ! "$tool" --version | grep -q 'version 14\.'; then
    echo "skipped: the sources are formatted by clang-format 14, here is $("$tool" --version)"
    return 0
  fi
  sources 'h|cpp' "${CODE[@]}" tests bench | xargs -0 -r "$tool" --dry-run -Werror
}

build() { # DIR CXX CMAKE-OPTION...
  local dir=$1 cxx=$2 cache=$1/CMakeCache.txt; shift 2
  # A tree that was configured elsewhere, or for another compiler, is of no use.
  if [ -e "$dir" ] && ! { grep -qx "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$cache" && grep -qx 'CMAKE_GENERATOR:INTERNAL=Ninja' "$cache" &&
                          grep -qE "^CMAKE_CXX_COMPILER:[A-Z]+=.*/${cxx//+/\\+}\$" "$cache"; } 2>/dev/null; then
    rm -rf "$dir"
  fi
  cmake -G Ninja -S . -B "$dir" -DCMAKE_CXX_COMPILER="$cxx" -DMEDIAFS_TESTS=ON "$@" >"$dir.configure.log" 2>&1 ||
    { cat "$dir.configure.log"; return 1; }
  rm -f "$dir.configure.log"
  nice cmake --build "$dir" --target "$TARGET" -j "$JOBS" -- -k 10
}

sanitized() { build "build-$1" clang++ -DMEDIAFS_SANITIZE="$1" -DMEDIAFS_PCH=ON -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS="-O1 -g1"; }

tests() { # DIR CTEST-OPTION...: keeps the summary, and the reasons of what was skipped
  local dir=$1 log=$1/ctest.log status; shift
  "${WRAP[@]}" ctest --test-dir "$dir" -j "$AT_ONCE" --output-on-failure --no-tests=error --timeout 1500 \
    --no-label-summary "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  grep -ah '^skipped: ' "$dir/Testing/Temporary/LastTest.log" 2>/dev/null | sort | uniq -c | sed 's/^ *\([0-9]*\) /  \1 x /'
  SUMMARY=$(sed -n '/tests passed, /,$p' "$log" | sed '/^$/d')
  return "$status"
}

tidy() { sources cpp "${CODE[@]}" | xargs -0 -r -n 2 -P "$JOBS" nice clang-tidy -p "$1" --quiet --warnings-as-errors='*' 2>/dev/null; }

if ! stage packages packaging/packages.sh build test; then
  echo "no tests were run: packages are missing"
  exit 1
fi
WRAP=()
if [ -n "$SANITIZE" ]; then
  WRAP=("${PLAIN_ADDRESSES[@]}")
  stage "$SANITIZE" sanitized "$SANITIZE" && stage ctest tests "build-$SANITIZE" "${LABELS[@]}"
else
  [ -n "$QUICK" ] || stage format format
  stage build build build g++ -DMEDIAFS_SANITIZE= -DCMAKE_BUILD_TYPE=RelWithDebInfo
  BUILT=$?
  if [ -z "$QUICK" ]; then
    WRAP=("${PLAIN_ADDRESSES[@]}")
    for kind in thread address; do
      TARGET=suites stage "$kind build" sanitized $kind && stage "$kind tests" tests build-$kind --label-regex 'unit|servers'
    done
    stage tidy tidy build-thread
    WRAP=()
  fi
  AT_ONCE=$((JOBS + 1))  # they wait more than they work
  SUMMARY=
  if [ $BUILT = 0 ]; then
    stage ctest tests build "${LABELS[@]}"
  fi
fi

printf '\n=== in all: %d min %02d s\n' $((SECONDS / 60)) $((SECONDS % 60))
printf '%s\n' "${TABLE[@]}" ''
printf '%s\n' "${SUMMARY:-no tests were run: the build failed}"
exit $BAD
