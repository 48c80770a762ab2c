#!/bin/bash
# packaging/quickstart.sh [DIR]
#   Installs what is missing (packages.sh), builds mediafs, and shows it at work in DIR (default: ~/mediafs-demo): a film
#   is dropped through rsync, filed, copied to a vault, evicted from the disk, and read back. The vault is a plain directory.
#   Leaves the tree mounted, and says how to go on and how to end it. May be run again: it starts its own demo afresh.
#   Exit status: 0 if the film came back byte for byte.
set -euo pipefail
case ${1-} in -h | --help) sed -n '2,6p' "$0"; exit 0 ;; -*) echo "quickstart: unknown option '$1' (see --help)" >&2; exit 2 ;; esac
REPO=$(cd "$(dirname "$0")/.." && pwd)
DEMO=${1:-${HOME:-/root}/mediafs-demo}
mkdir -p "$DEMO"
DEMO=$(cd "$DEMO" && pwd)
BUILD=$REPO/build-quickstart
export LC_ALL=C.UTF-8
unset "${!MEDIAFS_@}"
export MEDIAFS_CONFIG=$DEMO/mediafs.toml # every command below finds its daemon by it

RELEASE=The.Long.Way.Home.2021.1080p.WEB-DL.x264-DEMO.mkv
FILM="Movies/The Long Way Home (2021)/The Long Way Home (2021).mkv"
SIDECAR="$(dirname "$FILM")/.$(basename "$FILM").sha1"

step() { printf '\n== %s\n' "$*"; }
show() { printf '   $ %s\n' "$1"; }
indent() { sed 's/^/   /'; }
die() {
  printf '\nquickstart: %s\n' "$*" >&2
  [ ! -s "$DEMO/mediafs.log" ] || { echo "The end of $DEMO/mediafs.log:" >&2; tail -n 15 "$DEMO/mediafs.log" >&2; }
  exit 1
}
trap 'die "stopped at line $LINENO: $BASH_COMMAND"' ERR

wait_for() { # SECONDS WHAT COMMAND...
  local left=$(($1 * 5)) what=$2; shift 2
  until "$@" 2>/dev/null; do
    ((left-- > 0)) || die "waited in vain for $what (ask: MEDIAFS_CONFIG=$MEDIAFS_CONFIG $MEDIAFS jobs list)"
    sleep 0.2
  done
}

is_mounted() { grep -qF " $(printf %s "$DEMO/Media" | sed 's/ /\\040/g') " /proc/self/mounts; }

build() {
  if [ -e "$BUILD" ] && ! grep -qsx "CMAKE_HOME_DIRECTORY:INTERNAL=$REPO" "$BUILD/CMakeCache.txt"; then rm -rf "$BUILD"; fi
  mkdir -p "$BUILD"
  if ! { cmake -G Ninja -S "$REPO" -B "$BUILD" -DCMAKE_BUILD_TYPE=Release -DMEDIAFS_TESTS=OFF &&
         cmake --build "$BUILD" -j "$(nproc)" --target mediafs; } >"$BUILD/quickstart.log" 2>&1; then
    tail -n 40 "$BUILD/quickstart.log" >&2
    die "the build failed (all of it: $BUILD/quickstart.log)"
  fi
  MEDIAFS=$BUILD/app/mediafs
  [ -x "$MEDIAFS" ] || die "the build made no $MEDIAFS"
}

end_old_demo() {
  if is_mounted; then
    "$MEDIAFS" unmount >/dev/null 2>&1 || :
    ! is_mounted || umount -l "$DEMO/Media" 2>/dev/null || fusermount3 -uz "$DEMO/Media" || die "cannot unmount $DEMO/Media"
  fi
  if [ -e "$DEMO/.quickstart" ]; then
    rm -rf "$DEMO"/{ssd,vault,drop,Media,mediafs.toml,rsyncd.conf,mediafs.log}
  elif [ -n "$(ls -A "$DEMO")" ]; then
    die "$DEMO is not empty and no demo of mine: name another folder"
  fi
  touch "$DEMO/.quickstart"
}

write_config() {
  mkdir "$DEMO"/{ssd,vault,drop,Media}
  cat >"$MEDIAFS_CONFIG" <<TOML
# The demo of packaging/quickstart.sh; packaging/mediafs.toml explains every key.
[mount]
path = "$DEMO/Media"
allow_other = $([ "$(id -u)" = 0 ] && echo true || echo false)
[local]
path = "$DEMO/ssd"
reserve = "64M"
evict_below_free = "128M"
evict_until_free = "192M"
[vault]
url = "file://$DEMO/vault"
cache_size = "256M"
[incoming]
settle = "500ms"
[log]
file = "$DEMO/mediafs.log"
TOML
  local owner='s/^ *[ug]id *=.*//'
  [ "$(id -u)" != 0 ] || owner=
  sed -e "s|^\( *path *=\).*|\1 $DEMO/Media/Incoming|" -e 's/^ *\(log\|pid\) file *=.*//' -e "$owner" \
    "$REPO/packaging/rsyncd.conf" >"$DEMO/rsyncd.conf"
}

make_film() {
  local film=$DEMO/drop/$RELEASE
  if ! command -v ffmpeg >/dev/null ||
     ! ffmpeg -nostdin -loglevel error -y -f lavfi -i testsrc2=size=640x360:rate=24 -f lavfi -i sine=frequency=330 -t 8 \
       -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac "$film" 2>/dev/null; then
    head -c 16M /dev/urandom >"$film" # no ffmpeg here; for mediafs bytes are bytes
  fi
  SUM=$(sha1sum <"$film")
}

# The real daemon with the real rsyncd.conf, on a pair of pipes instead of a port.
push() { RSYNC_CONNECT_PROG="rsync --daemon --config=$DEMO/rsyncd.conf" rsync -a "$1" rsync://demo/Incoming/; }

step "Packages and build"
"$REPO/packaging/packages.sh" build demo
build
[ -c /dev/fuse ] || die "/dev/fuse is missing: load the fuse module, or run the container with --device /dev/fuse --cap-add SYS_ADMIN"
echo "   $("$MEDIAFS" --version)"

step "Mount: $DEMO/ssd and $DEMO/vault become $DEMO/Media"
end_old_demo
write_config
show "mediafs mount -c $MEDIAFS_CONFIG"
"$MEDIAFS" mount -c "$MEDIAFS_CONFIG" </dev/null || die "mediafs did not mount; ask: $MEDIAFS doctor"
is_mounted || die "$DEMO/Media is not mounted"
mkdir -p "$DEMO/Media/Incoming"

step "Drop a film into Incoming, through rsync"
make_film
show "rsync -a $RELEASE rsync://.../Incoming/"
push "$DEMO/drop/$RELEASE"
wait_for 60 "the film to be filed as $FILM" test -f "$DEMO/Media/$FILM"
"$MEDIAFS" jobs wait >/dev/null
wait_for 60 "the film's copy in the vault" test -f "$DEMO/vault/$FILM"
"$MEDIAFS" jobs wait >/dev/null
echo "   filed:   $FILM"

step "Its checksum, beside it"
wait_for 30 "the sidecar" test -f "$DEMO/Media/$SIDECAR"
show "cat '$SIDECAR'"
indent <"$DEMO/Media/$SIDECAR"
[ "$(cut -c1-40 "$DEMO/Media/$SIDECAR")" = "${SUM%% *}" ] || die "the sidecar is not the film's SHA-1"

step "The vault holds it under its own name"
show "ls -l vault/"
(cd "$DEMO/vault" && find Movies -type f -printf '%s %p\n') | indent
cmp "$DEMO/vault/$FILM" "$DEMO/drop/$RELEASE"

step "Evict it from the local disk"
show "mediafs tier evict '$DEMO/Media/$FILM'"
"$MEDIAFS" tier evict "$DEMO/Media/$FILM" 2>&1 | indent
show "mediafs tier where '$DEMO/Media/$FILM'"
"$MEDIAFS" tier where "$DEMO/Media/$FILM" | indent
[ ! -e "$DEMO/ssd/$FILM" ] || die "the film is still on the local disk"

step "It is listed as ever, and plays from the vault"
show "ls -l Media/Movies/*/"
ls -l "$DEMO/Media/$(dirname "$FILM")" | indent
cmp "$DEMO/Media/$FILM" "$DEMO/drop/$RELEASE" || die "the film read back differs from the one dropped"
echo "   read back through the mount: identical, $(stat -c %s "$DEMO/Media/$FILM") bytes"
rm -rf "$DEMO/drop"

cat <<TEXT

== It works, and is still mounted: $DEMO/Media

Try it:       cp a film into $DEMO/Media/Incoming and look into $DEMO/Media
              export MEDIAFS_CONFIG=$MEDIAFS_CONFIG PATH=$BUILD/app:\$PATH
              mediafs status; mediafs tier --status; mediafs jobs; mediafs doctor
End it:       $MEDIAFS unmount $DEMO/Media && rm -rf $DEMO
Your own:     install -m 755 $MEDIAFS /usr/local/bin/
              install -D -m 644 $REPO/packaging/mediafs.toml /etc/mediafs/mediafs.toml     (then edit: mount, local, vault)
              mediafs config check && mediafs mount
At each boot: install -m 644 $REPO/packaging/mediafs.service /etc/systemd/system/ && systemctl enable --now mediafs
rsync drop:   install -m 644 $REPO/packaging/rsyncd.conf /etc/rsyncd.conf && systemctl enable --now rsync
More:         docs/install.md, docs/configure.md, docs/operate.md, docs/troubleshoot.md in $REPO
TEXT
