#!/bin/bash
# packages.sh GROUP...    installs what mediafs needs on Debian 12 or 13, where it is missing:
#   build   compiler and libraries to build the program, fuse3 to run it
#   demo    what packaging/quickstart.sh uses besides
#   test    what packaging/test.sh uses besides: real servers, clients, clang and its tools
# apt is called only when something is missing; it asks nothing, and no service is started by it. Needs root or sudo then.
# As root in a bare chroot it also mounts /proc and makes /dev/fuse (for `test` the loop devices) when they are missing.
set -euo pipefail
export LC_ALL=C.UTF-8

BUILD=(g++ cmake ninja-build pkg-config ca-certificates fuse3 libfuse3-dev libcurl4-openssl-dev libssl-dev
       libsqlite3-dev zlib1g-dev libxxhash-dev libcli11-dev libtomlplusplus-dev libspdlog-dev libfmt-dev nlohmann-json3-dev
       libpugixml-dev libexpected-dev libarchive-dev libsystemd-dev)
DEMO=(rsync)
TEST=(ccache doctest-dev python3 git rsync rclone ffmpeg attr e2fsprogs xfsprogs curl iproute2 procps samba smbnetfs
      ceph-mon ceph-osd radosgw ceph-common uuid-runtime openssl apache2-bin nginx libnginx-mod-http-dav-ext
      clang clang-format clang-tidy)

say() { echo "packages: $*" >&2; }

missing() { # PACKAGE... -> those that are not installed
  local have p
  have=" $(dpkg-query -W -f '${Package}=${db:Status-Status}\n' "$@" 2>/dev/null | sed -n 's/=installed$//p' | tr '\n' ' ' || :) "
  for p in "$@"; do [[ $have == *" $p "* ]] || echo "$p"; done
}

apt() { "${SUDO[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=900 -o Acquire::Retries=5 \
          -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "$@"; }

# The sanitizers' run-time library is a package of clang's own version.
clang_runtime() {
  dpkg-query -W -f '${Package} ${db:Status-Status}\n' 'libclang-rt-*-dev' 2>/dev/null | grep -q ' installed$' && return
  local v; v=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p' | head -1)
  echo "libclang-rt-${v:-14}-dev"
}

install() { # PACKAGE...
  local rc=/usr/sbin/policy-rc.d
  if [ ! -e $rc ]; then # for the time of the installation: no service is started
    printf '#!/bin/sh\nexit 101\n' | "${SUDO[@]}" tee $rc >/dev/null
    "${SUDO[@]}" chmod 755 $rc
    trap '"${SUDO[@]}" rm -f /usr/sbin/policy-rc.d' EXIT
    trap 'exit 130' INT TERM
  fi
  apt install -y --no-install-recommends "$@" </dev/null
}

machine() { # "test" or ""
  [ "$(id -u)" = 0 ] || return 0
  [ -e /proc/self ] || mount -t proc proc /proc 2>/dev/null || say "/proc is not mounted and cannot be"
  [ -c /dev/fuse ] || mknod -m 666 /dev/fuse c 10 229 2>/dev/null || say "/dev/fuse is missing and cannot be made"
  [ "$1" = test ] || return 0
  [ -c /dev/loop-control ] || mknod -m 660 /dev/loop-control c 10 237 2>/dev/null || say "no loop devices here"
  for i in $(seq 0 31); do [ -b "/dev/loop$i" ] || mknod -m 660 "/dev/loop$i" b 7 "$i" 2>/dev/null || break; done
}

[ $# -gt 0 ] || { sed -n '2,8p' "$0" >&2; exit 2; }
WANT=(); TESTS=
for group in "$@"; do
  case $group in
    build) WANT+=("${BUILD[@]}") ;;
    demo) WANT+=("${DEMO[@]}") ;;
    test) WANT+=("${TEST[@]}"); TESTS=test ;;
    *) say "no group '$group' (build, demo, test)"; exit 2 ;;
  esac
done
command -v dpkg-query >/dev/null || { say "this is no Debian: install what is listed in $0 by hand"; exit 1; }

machine "$TESTS"
mapfile -t LACK < <(missing "${WANT[@]}" | sort -u)
[ -z "$TESTS" ] || LACK+=($(clang_runtime))
[ ${#LACK[@]} -gt 0 ] || exit 0
SUDO=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { say "missing: ${LACK[*]} (run this as root: apt-get install ${LACK[*]})"; exit 1; }
  SUDO=(sudo)
fi
say "installing ${LACK[*]}"
apt update </dev/null || say "apt-get update failed; trying with the lists that are here"
[ -z "$TESTS" ] || { mapfile -t LACK < <(missing "${WANT[@]}" | sort -u); LACK+=($(clang_runtime)); } # lists are known now
install "${LACK[@]}" >/dev/null || { say "apt-get could not install: ${LACK[*]}"; exit 1; }
