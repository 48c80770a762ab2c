#!/usr/bin/env python3
"""hang.py --program MEDIAFS [--share smb|rclone|mediafs] [--timeout S] [--work DIR]
    What a mount does while the server of its share is stopped (SIGSTOP), as a dead one looks: how long each operation
    takes before and meanwhile, first with the share merely hanging, then counting as absent; how what needs the share
    ends; how quickly SIGKILL ends who waits; how soon after SIGCONT the share is used again.
      smb      Samba's smbd under smbnetfs (tests/servers/smb.sh; root)
      rclone   an rclone mount of a directory: another FUSE filesystem
      mediafs  a mount of mediafs itself
    Operations are tried several times, each on names of their own; the slowest counts. Exit status 1 if one that does
    not need the share took 100 ms more than before, or one that does took longer than the timeout and a second."""
import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from mounts import Mediafs, arguments, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
ROUNDS = 5


def family(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return [pid] + [p for child in f.read().split() for p in family(int(child))]


@contextlib.contextmanager
def served(kind, program, base):
    """(what to put files into, where the share is mounted, the processes that serve it)"""
    point, behind = base + "/share", base + "/behind"
    os.mkdir(point)
    os.mkdir(behind)
    if kind == "smb":
        server = subprocess.Popen([HERE + "/../tests/servers/smb.sh", base + "/smb"], stdout=subprocess.PIPE, text=True)
        try:
            line = server.stdout.readline()
            if not line.startswith("READY"):
                sys.exit("hang.py: no SMB server here")
            values = dict(word.split("=", 1) for word in line.split()[1:])
            yield values["share"], values["mounted"], lambda: family(int(values["smbd"]))
        finally:
            server.terminate()
            server.wait(60)
    elif kind == "rclone":
        server = subprocess.Popen(["rclone", "mount", behind, point, "--vfs-cache-mode", "off", "--dir-cache-time", "1s",
                                   "--config", "/dev/null"], stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: os.path.ismount(point), 30, "rclone's mount")
            yield behind, point, lambda: [server.pid]
        finally:
            server.terminate()
            server.wait(30)
            subprocess.run(["umount", "-l", point], stderr=subprocess.DEVNULL)
    else:
        with Mediafs(program, base + "/server.toml", log=base + "/server.log", local={"path": behind},
                     mount={"path": point}) as server:
            yield behind, point, lambda: [server.process.pid]


def put(path, data):
    with open(path, "wb") as f:
        f.write(data)


def take(path):
    with open(path, "rb") as f:
        return f.read()


def healthy(on, tag):
    """Operations of other branches: name -> action; `tag` keeps the names of the rounds apart."""
    n = on("Near/" + tag)
    return {
        "stat": lambda: os.stat(on("Near/f")),
        "read": lambda: take(on("Near/f")),
        "ls": lambda: os.listdir(on("Near")),
        "ls, merged": lambda: os.listdir(on("Both")),
        "stat, missing name": lambda: os.path.exists(on("Near/missing" + tag)),
        "stat, missing, merged": lambda: os.path.exists(on("Both/missing" + tag)),
        "create": lambda: put(n, b"x"),
        "create, merged": lambda: put(on("Both/" + tag), b"x"),
        "mkdir": lambda: os.mkdir(n + "d"),
        "rename": lambda: os.rename(n, n + "r"),
        "unlink": lambda: os.unlink(n + "r"),
        "rmdir": lambda: os.rmdir(n + "d"),
        "statfs": lambda: os.statvfs(on("")),
    }


def timed(action):
    began = time.monotonic()
    try:
        action()
        outcome = "ok"
    except OSError as e:
        outcome = errno.errorcode[e.errno]
    return 1000 * (time.monotonic() - began), outcome


def slowest(on, tag):
    worst = {}
    for i in range(ROUNDS):
        for name, action in healthy(on, "%s%d" % (tag, i)).items():
            took, outcome = timed(action)
            if outcome != "ok":
                sys.exit("hang.py: %s: %s" % (name, outcome))
            worst[name] = max(worst.get(name, 0), took)
    return worst


def needing(on):
    return {"read": lambda: take(on("Far/a")), "rename": lambda: os.rename(on("Far/a"), on("Far/b")),
            "unlink": lambda: os.unlink(on("Far/a")), "chmod": lambda: os.chmod(on("Far/a"), 0o600)}


def killed(paths):
    waiting = [subprocess.Popen(["cat", p], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for p in paths]
    time.sleep(0.5)
    began = time.monotonic()
    for w in waiting:
        w.kill()
    for w in waiting:
        w.wait()
    return 1000 * (time.monotonic() - began)


def main():
    parser = arguments(__doc__, work="/var/tmp")
    parser.add_argument("--share", choices=("smb", "rclone", "mediafs"), default="smb")
    parser.add_argument("--timeout", type=int, default=5, metavar="S", help="share.timeout")
    options = parser.parse_args()
    bad = False
    os.makedirs(options.work, exist_ok=True)
    base = tempfile.mkdtemp(prefix="mediafs-hang-", dir=options.work)
    try:
        with served(options.share, options.program, base) as (behind, share, pids):
            for path in ("Far/a", "Far/c", "Both/far"):
                os.makedirs(os.path.dirname("%s/%s" % (behind, path)), exist_ok=True)
                put("%s/%s" % (behind, path), b"far")
            put(behind + "/.marker", b"")
            for name in ("local", "vault"):
                os.mkdir("%s/%s" % (base, name))
            with Mediafs(options.program, base + "/m.toml", log=base + "/m.log", local={"path": base + "/local"},
                         mount={"path": base + "/mnt"}, vault={"url": "file://%s/vault" % base},
                         share={"path": share, "marker": ".marker", "timeout": "%ds" % options.timeout}) as m:
                on = lambda p: "%s/mnt/%s" % (base, p)
                os.mkdir(on("Near"))
                put(on("Near/f"), b"near")
                put(on("Both/near"), b"near")
                wait_for(lambda: m.setting("share.walked") == share, 60, "the walk of the share")
                before = slowest(on, "b")
                stopped = pids()
                for pid in stopped:
                    os.kill(pid, signal.SIGSTOP)
                try:
                    hanging = slowest(on, "h")
                    kill_ms = killed([on("Far/a"), on("Far/c"), on("Both/far")] * 4)
                    ends = {name: timed(action) for name, action in needing(on).items()}
                    absent = slowest(on, "a")
                finally:
                    for pid in stopped:
                        os.kill(pid, signal.SIGCONT)
                began = time.monotonic()
                wait_for(lambda: timed(lambda: take(on("Far/a")))[1] == "ok", 60, "the share back")
                back_ms = 1000 * (time.monotonic() - began)
        print("%-24s %10s %10s %10s   ms, the slowest of %d" % ("", "before", "hanging", "absent", ROUNDS))
        for name in before:
            late = max(hanging[name], absent[name]) - before[name] > 100
            bad = bad or late
            print("%-24s %10.1f %10.1f %10.1f%s" % (name, before[name], hanging[name], absent[name], "  LATE" if late else ""))
        for name, (took, outcome) in ends.items():
            late = took > 1000 * (options.timeout + 1) or outcome == "ok"
            bad = bad or late
            print("%-24s %10.0f ms %s%s" % ("needs the share: " + name, took, outcome, "  WRONG" if late else ""))
        print("%-24s %10.0f ms" % ("SIGKILL of 12 waiting", kill_ms))
        print("%-24s %10.0f ms" % ("back after SIGCONT", back_ms))
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
