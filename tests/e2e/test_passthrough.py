"""The kernel reads and writes local files by itself: status says so, what is written so is filed and not evicted while it
is open, and kill -9 of the daemon in the middle leaves nobody waiting."""
import os
import threading

from harness import check, check_equal, run

RELEASE = "Film.2021.1080p.mkv"
FILED = "Movies/Film (2021)/Film (2021).mkv"


def start(bench):
    daemon = bench.daemon({"vault": {"url": "file://" + bench.folder("vault")},
                           "local": {"reserve": "0", "evict_below_free": "0%", "evict_until_free": "0%"}})  # by hand only
    daemon.start()
    passing = daemon.ask("status")["passthrough"]
    line = [text for text in daemon.cli("status").splitlines() if text.strip().startswith("passthrough ")]
    check(line and ("passthrough on" in line[0] if passing["on"] else passing["why_not"] in line[0]), "status: %r" % line)
    return daemon


def writers(daemon):
    return daemon.ask("status")["passthrough"]["files_open_for_writing"]


def filed(bench):
    daemon = start(bench)
    passing = daemon.ask("status")["passthrough"]["on"]
    with open(daemon.path("Incoming", RELEASE), "wb", buffering=0) as f:
        f.write(b"x" * 100_000)
        check_equal(writers(daemon), 1 if passing else 0, "files open for writing that the kernel writes")
        f.write(b"y" * 100_000)
    bench.wait_until(lambda: os.path.exists(daemon.path(FILED)), 60, "the film to be filed")
    bench.wait_until(daemon.jobs_done, 60, "the queue to be empty")
    with open(daemon.path(FILED), "rb", buffering=0) as f:
        done = daemon.run("tier", "evict", daemon.path(FILED))
        check(done.returncode == 1 and daemon.xattr(FILED, "branch") == "local", "an open film was evicted: " + done.stderr)
        check_equal(len(f.read()), 200_000, "bytes of the open film")
    bench.wait_until(lambda: daemon.run("tier", "evict", daemon.path(FILED)).returncode == 0, 30, "the closed film's eviction")
    with open(daemon.path(FILED), "rb") as f:
        check_equal(f.read(), b"x" * 100_000 + b"y" * 100_000, "the evicted film")
    daemon.stop("--drain")


class Client(threading.Thread):
    """Writes one file over and over, and reads another, until the mount fails it."""

    def __init__(self, daemon, number):
        super().__init__(daemon=True)
        self.own = daemon.path("Incoming", "client%d.part" % number)
        self.shared = daemon.path("Incoming", "shared.part")
        self.under_way = threading.Event()

    def run(self):
        try:
            while True:
                with open(self.own, "wb", buffering=0) as f, open(self.shared, "r+b", buffering=0) as shared:
                    self.under_way.set()
                    for _ in range(16):
                        f.write(b"x" * 65536)
                        shared.write(b"y" * 4096)
                    os.fsync(f.fileno())
                os.stat(self.own)
        except OSError:
            pass


def kills(bench):
    daemon = start(bench)
    for _ in range(10):
        with open(daemon.path("Incoming", "shared.part"), "wb") as f:
            f.write(b"whole")
        clients = [Client(daemon, n) for n in range(6)]
        with open(daemon.path("Incoming", "shared.part"), "rb", buffering=0):
            for client in clients:
                client.start()
            for client in clients:
                check(client.under_way.wait(60), "a client does not get on")
            daemon.kill()
            for client in clients:
                client.join(30)
            check(not any(client.is_alive() for client in clients), "somebody hangs after kill -9 of the daemon")
            daemon.restart()
    daemon.stop()


if __name__ == "__main__":
    run(filed, kills)
