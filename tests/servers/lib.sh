# Shared by the server scripts here; sourced. bash.
# A server is one foreground process: it prints "READY key=value ..." on stdout once it answers, and ends, with all that
# it started, on SIGTERM or SIGINT, or when its parent or one of its own processes dies.
export LC_ALL=C.UTF-8
PIDS=()
PARENT=$PPID
PATIENCE=40 # tenths of a second that each process gets to end

# take_port_block: sets PORT to the first of 64 ports on 127.0.0.1 that no other test holds. They lie below the range that
# the kernel gives to outgoing connections. The lock (descriptor 9) is held until this process and its children are gone.
# ports.py follows the same protocol.
take_port_block() {
  local try
  for try in $(seq 400); do
    PORT=$((20032 + 64 * (RANDOM % 187)))
    PORT_LOCK=${TMPDIR:-/tmp}/.mediafs-port-$(id -u)-$PORT
    exec 9>>"$PORT_LOCK"
    if flock -n 9 && [ "$PORT_LOCK" -ef /proc/self/fd/9 ] && ! (: </dev/tcp/127.0.0.1/$PORT) 2>/dev/null; then return; fi
    exec 9>&-
  done
  fail "no free block of ports"
}

fail() { echo "$(basename "$0"): $*" >&2; exit 1; }

need() { # PROGRAM...
  local p
  for p in "$@"; do command -v "$p" >/dev/null || fail "$p is not installed (packaging/packages.sh test)"; done
}

# run NAME COMMAND...: in the background, output to $LOGS/NAME.log, killed with this shell even if that gets SIGKILL.
run() {
  local name=$1; shift
  setpriv --pdeathsig KILL "$@" >>"$LOGS/$name.log" 2>&1 </dev/null &
  PIDS+=($!)
}

stop_all() { # newest first
  trap '' INT TERM
  trap - EXIT
  local i k p
  for ((k = ${#PIDS[@]} - 1; k >= 0; k--)); do
    p=${PIDS[k]}
    kill "$p" 2>/dev/null || continue
    for i in $(seq "$PATIENCE"); do kill -0 "$p" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$p" 2>/dev/null || :
  done
  wait || :
  [ -z "${PORT_LOCK:-}" ] || rm -f "$PORT_LOCK"
}
trap stop_all EXIT
trap 'exit 0' INT TERM

parent_lives() { local _ ppid; read -r _ _ _ ppid _ <"/proc/$$/stat" && [ "$ppid" = "$PARENT" ]; }

serve() { # returns never: waits for the end of the parent or of one of ours
  local p
  while parent_lives; do
    for p in "${PIDS[@]}"; do kill -0 "$p" 2>/dev/null || fail "a process of ours died; see $LOGS"; done
    sleep 0.5 &
    wait $! || :
  done
  exit 0
}
