#!/bin/bash
# chroot_test.sh [quickstart] [test]    README's two commands, each alone from a clean clone in a bare Debian chroot, as root.
# Environment: SUITE (bookworm), KEEP=1 keeps the chroot of a failure. The mirror is the one that this machine's apt uses.
# What is committed is tested. Exit status: 0, 1, or 77 where no chroot can be made.
set -euo pipefail
skip() { echo "skipped: $*"; exit 77; }
[ "$(id -u)" = 0 ] || skip "needs root"
for program in debootstrap git unshare; do
  command -v $program >/dev/null || skip "$program is not installed (apt-get install debootstrap git util-linux)"
done
REPO=$(cd "$(dirname "$0")/../.." && pwd)
SUITE=${SUITE:-bookworm}
MIRROR=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN)' 'Created-By: Packages' | awk '$2 == "Debian" {print $1; exit}')
[ -n "$MIRROR" ] || skip "apt knows no Debian mirror here"
PROXY=$(apt-config dump Acquire::http::Proxy | sed -n 's/.*"\(.*\)";/\1/p')
[ $# -gt 0 ] || set -- quickstart test

WORK=$(mktemp -d "${TMPDIR:-/var/tmp}/mediafs-chroot-XXXXXX")
FAILED=
clean() {
  if [ -n "$FAILED" ] && [ -n "${KEEP:-}" ]; then echo "kept: $WORK"; return; fi
  rm -rf --one-file-system "$WORK"
}
trap clean EXIT
trap 'exit 130' INT TERM

echo "debootstrap $SUITE"
debootstrap "$SUITE" "$WORK/base" "$MIRROR" >"$WORK/debootstrap.log" 2>&1 || { tail "$WORK/debootstrap.log"; skip "debootstrap failed"; }
[ -z "$PROXY" ] || printf 'Acquire::http::Proxy "%s";\n' "$PROXY" >"$WORK/base/etc/apt/apt.conf.d/90proxy"

# Runs a script in a copy of the chroot with mounts and processes of its own: nothing of it outlives this call. Its root is
# a mount point, as on a machine: tests in it make mount namespaces of their own.
in_chroot() { # NAME SCRIPT
  local root=$WORK/$1
  cp -a "$WORK/base" "$root"
  git clone -q "$REPO" "$root/root/mediafs"
  unshare --mount --pid --fork --kill-child --propagation private env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb \
    bash -c 'mount --bind "$1" "$1" && exec chroot "$1" /bin/bash -c "$2"' - "$root" \
    "mount -t proc proc /proc; cd /root/mediafs; set -e; $2"
}

for name in "$@"; do
  case $name in
    quickstart) # a second run must work as well, and the film must be there when it has ended
      script='packaging/quickstart.sh
              test -f "/root/mediafs-demo/Media/Movies/The Long Way Home (2021)/The Long Way Home (2021).mkv"
              test ! -e "/root/mediafs-demo/ssd/Movies/The Long Way Home (2021)/The Long Way Home (2021).mkv"
              packaging/quickstart.sh >/dev/null
              build-quickstart/app/mediafs unmount /root/mediafs-demo/Media
              test -z "$(ls -A /root/mediafs-demo/Media)"' ;;
    test) script=packaging/test.sh ;;
    *) echo "chroot_test.sh: quickstart or test, not '$name'" >&2; exit 2 ;;
  esac
  start=$SECONDS
  if in_chroot "$name" "$script"; then
    echo "$name: passed ($((SECONDS - start)) s)"
    rm -rf --one-file-system "${WORK:?}/$name"
  else
    echo "$name: FAILED ($((SECONDS - start)) s)"
    FAILED=1
  fi
done
[ -z "$FAILED" ]
