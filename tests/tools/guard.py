"""Undoes what a test has started once the test is gone. Reads JSON lines [token, kind, args...] from the test's harness:
kill PID, umount PATH, remove PATH; [token, "done"] takes one back. At the end of input the rest is undone, newest first."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time


def started_at(pid):
    """The process's start time: tells it from a later one with the same id."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[19]
    except OSError:
        return None


def kill(pid, start):
    """The process and the session that it leads: politely, and after 5 s for good."""
    for number, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        if started_at(pid) != start or start is None:
            return
        try:
            os.kill(pid, number)
            if number == signal.SIGKILL:
                os.killpg(pid, number)
        except OSError:
            pass
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and alive(pid, start):
            time.sleep(0.05)


def alive(pid, start):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z" and started_at(pid) == start
    except OSError:
        return False


def mounted(path):
    with open("/proc/self/mounts") as file:
        names = [line.split()[1].encode().decode("unicode_escape") for line in file]
    return path in names


def umount(path):
    for _ in range(8):  # one mount may hide another
        if not mounted(path):
            return
        subprocess.run(["umount", "-l", path] if os.geteuid() == 0 else ["fusermount3", "-uz", path], check=False,
                       stderr=subprocess.DEVNULL, timeout=30)


def remove(path):
    with open("/proc/self/mounts") as file:
        below = [line.split()[1] for line in file if line.split()[1].startswith(path + "/")]
    for mount in reversed(below):
        umount(mount)
    shutil.rmtree(path, ignore_errors=True)


def main():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    todo = {}
    for line in sys.stdin:
        token, kind, *args = json.loads(line)
        if kind == "done":
            todo.pop(token, None)
        else:
            todo[token] = (kind, args + [started_at(args[0])] if kind == "kill" else args)
    for kind, args in reversed(list(todo.values())):
        {"kill": kill, "umount": umount, "remove": remove}[kind](*args)


if __name__ == "__main__":
    main()
