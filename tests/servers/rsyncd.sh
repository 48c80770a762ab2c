#!/bin/bash
# rsyncd.sh DIR TARGET [PORT]    the rsync daemon on 127.0.0.1:PORT (default: a free one) with packaging/rsyncd.conf,
# whose module Incoming is pointed at TARGET. Its log is DIR/log/rsyncd.log.
# Prints "READY url=rsync://127.0.0.1:PORT/Incoming pid=...".
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# -ge 2 ] || { sed -n '2,4p' "$0" >&2; exit 2; }
need rsync setpriv
mkdir -p "$1"
D=$(cd "$1" && pwd)
LOGS=$D/log
mkdir -p "$LOGS"
if [ $# -ge 3 ]; then PORT=$3; else take_port_block; fi

user_lines='s|^ *[ug]id *=.*||'
[ "$(id -u)" != 0 ] || user_lines=
sed -e "s|^\( *path *=\).*|\1 $2|" -e "s|^ *use chroot *=.*|use chroot = no|" -e "s|^ *log file *=.*||" -e "s|^ *pid file *=.*||" \
    -e "$user_lines" -e "1i log file = $LOGS/rsyncd.log\nlock file = $D/rsyncd.lock\naddress = 127.0.0.1\nport = $PORT" \
    "$(dirname "$0")/../../packaging/rsyncd.conf" >"$D/rsyncd.conf"

run rsync rsync --daemon --no-detach --config="$D/rsyncd.conf"
for _ in $(seq 100); do
  if rsync "rsync://127.0.0.1:$PORT/" 2>/dev/null | grep -q '^Incoming'; then
    echo "READY url=rsync://127.0.0.1:$PORT/Incoming pid=$$"
    serve
  fi
  kill -0 "${PIDS[0]}" 2>/dev/null || fail "rsync --daemon died: $(tail -n 2 "$LOGS"/*.log | tr '\n' ' ')"
  sleep 0.1
done
fail "the rsync daemon did not answer; see $LOGS"
