#!/bin/bash
# smb.sh DIR [HOST]    Samba's smbd with the share "media" (DIR/share), mounted at DIR/mnt/HOST/media by smbnetfs: a real
# SMB share in a directory, without the kernel's cifs. HOST is an address of 127/8 of which port 445 is free (default: one
# by chance); smbnetfs can reach no other port. All state lies in DIR. Root only.
# Prints "READY share=DIR/share mounted=DIR/mnt/HOST/media smbd=PID smbnetfs=PID pid=...". Both may be stopped and
# continued; their end is this script's.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# -ge 1 ] || { sed -n '2,6p' "$0" >&2; exit 2; }
PATH=$PATH:/usr/sbin
need smbd smbpasswd smbnetfs setpriv fusermount3
[ "$(id -u)" = 0 ] || fail "needs root (smbd)"
mkdir -p "$1"
D=$(cd "$1" && pwd)
HOST=${2:-127.$((1 + RANDOM % 250)).$((RANDOM % 250)).$((1 + RANDOM % 250))}
LOGS=$D/log
SHARE=$D/share
MOUNTED=$D/mnt/$HOST/media
mkdir -p "$LOGS" "$SHARE" "$D/mnt" "$D/home/.smb" "$D"/{private,lock,state,cache,run,ncalrpc}
chmod 700 "$D/private"
unmount() { fusermount3 -uzq "$D/mnt" || :; }
trap 'unmount; stop_all' EXIT

echo 'root = mediafs' >"$D/users.map"
cat >"$D/smb.conf" <<CONF
[global]
server role = standalone server
netbios name = MEDIAFSTEST
disable netbios = yes
smb ports = 445
interfaces = $HOST/8
bind interfaces only = yes
private dir = $D/private
lock directory = $D/lock
state directory = $D/state
cache directory = $D/cache
pid directory = $D/run
ncalrpc dir = $D/ncalrpc
usershare path =
log file = $LOGS/smbd.%m.log
username map = $D/users.map
map to guest = never
server min protocol = SMB2_10
load printers = no
printing = bsd
printcap name = /dev/null
disable spoolss = yes
[media]
path = $SHARE
read only = no
force user = root
ea support = no
create mask = 0644
directory mask = 0755
strict sync = yes
CONF
printf 'test\ntest\n' | smbpasswd -c "$D/smb.conf" -s -a root >"$LOGS/smbpasswd.log" 2>&1 || fail "smbpasswd: $(tail -n 1 "$LOGS/smbpasswd.log")"
run smbd smbd -F -s "$D/smb.conf" -l "$LOGS"
answers() { (: <"/dev/tcp/$HOST/445") 2>/dev/null; }
for _ in $(seq 200); do
  kill -0 "${PIDS[0]}" 2>/dev/null || fail "smbd died: $(tail -qn 2 "$LOGS"/*.log | tr '\n' ' ')"
  if answers; then break; fi
  sleep 0.05
done

cat >"$D/home/.smb/smb.conf" <<CONF
[global]
client min protocol = SMB2_10
disable netbios = yes
name resolve order = host
CONF
echo 'auth "mediafs" "test"' >"$D/home/.smb/smbnetfs.auth"
echo "host $HOST visible=true" >"$D/home/.smb/smbnetfs.host"
cat >"$D/home/.smb/smbnetfs.conf" <<CONF
show_\$_shares "false"
show_hidden_hosts "false"
smb_query_browsers "false"
smb_timeout 10000
local_charset "UTF-8"
samba_charset "UTF-8"
include "smbnetfs.auth"
include "smbnetfs.host"
CONF
chmod 600 "$D/home/.smb/"*
cd /
HOME=$D/home run smbnetfs smbnetfs -f -o direct_io "$D/mnt"
for _ in $(seq 200); do
  if [ -d "$MOUNTED/." ]; then
    echo "READY share=$SHARE mounted=$MOUNTED smbd=${PIDS[0]} smbnetfs=${PIDS[1]} pid=$$"
    serve
  fi
  kill -0 "${PIDS[1]}" 2>/dev/null || fail "smbnetfs died: $(tail -n 2 "$LOGS/smbnetfs.log" | tr '\n' ' ')"
  sleep 0.05
done
fail "smbnetfs did not mount the share; see $LOGS"
