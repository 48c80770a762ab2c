"""`mediafs verify` over a plain directory: files that vanish while it looks, sidecars that are none."""
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile

from files import write, written
from harness import check, check_equal


def vanishing(binary, folder):
    first, second = written(folder + "/first.mkv", "first"), written(folder + "/second.mkv", "second")
    for name in ("first", "second"):
        write(folder + "/.%s.mkv.sha1" % name, hashlib.sha1(name.encode()).hexdigest() + "\n")
    # Whoever opens the first file waits for our lease, and we are told: the walk is over then, the second not yet open.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
    held = os.open(first, os.O_RDWR)
    fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    verify = subprocess.Popen([binary, "verify", "--json", first, second], stdout=subprocess.PIPE, text=True)
    check(signal.sigtimedwait({signal.SIGIO}, 60) is not None, "verify opens the first file")
    os.unlink(second)
    os.close(held)
    out, _ = verify.communicate(timeout=60)
    report = json.loads(out)
    check_equal(verify.returncode, 0, "exit status")
    check_equal(report["files"], 1, "files verified")
    check_equal(report["bad"], [], "bad files")
    check_equal([os.path.basename(entry["path"]) for entry in report["gone"]], ["second.mkv"], "files gone")


def odd_sidecar(binary, folder):
    film = written(folder + "/film.mkv", "film")
    os.mkfifo(os.path.join(folder, ".film.mkv.sha1"))
    out = subprocess.run([binary, "verify", "--json", film], stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    check_equal(json.loads(out.stdout)["without_checksum"], 1, "a pipe is no sidecar, and nothing waits for it")


def main():
    binary = os.environ["MEDIAFS_TEST_BINARY"]
    with tempfile.TemporaryDirectory() as folder:
        vanishing(binary, folder)
    with tempfile.TemporaryDirectory() as folder:
        odd_sidecar(binary, folder)
        typo = subprocess.run([binary, "verify", folder + "/typo"], stderr=subprocess.PIPE, check=False)
        check_equal(typo.returncode, 1, "exit status for a name that is not there")


if __name__ == "__main__":
    sys.exit(main())
