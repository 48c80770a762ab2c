"""Changes made underneath, beside the mount, are seen through it although the kernel keeps what it was told.
usage: test_underneath.py directories"""
import os

from harness import check, check_equal, run


def directories(bench):
    """A catalogued directory that is renamed or removed underneath leaves no ghost, and the kernel no memory of one."""
    daemon = bench.daemon({"local": {"path": bench.folder("local")}})
    daemon.start()
    base = daemon.path("Shows")
    os.makedirs(base + "/Old/Season 01")
    with open(base + "/Old/Season 01/e1.mkv", "wb") as f:
        f.write(b"episode")
    os.makedirs(base + "/Gone")
    bench.wait_until(daemon.jobs_done, 60, "the queue to be empty")
    bench.wait_until(lambda: sorted(os.listdir(base)) == ["Gone", "Old"], 60, "the listing")
    under = daemon.config["local"]["path"] + "/Shows"
    os.rename(under + "/Old", under + "/New")
    os.rmdir(under + "/Gone")
    bench.wait_until(lambda: os.path.exists(base + "/New/Season 01/e1.mkv"), 20, "the new name")
    bench.wait_until(lambda: not os.path.exists(base + "/Old"), 20, "the old name to go")
    bench.wait_until(lambda: not os.path.exists(base + "/Gone"), 20, "the removed directory to go")
    bench.wait_until(lambda: os.listdir(base) == ["New"], 20, "the listing to follow")
    with open(base + "/New/Season 01/e1.mkv", "rb") as f:
        check_equal(f.read(), b"episode", "what stands under the new name")
    status = daemon.ask("status")
    check("on" in status["passthrough"], "status does not say whether the kernel passes through")
    daemon.stop()


if __name__ == "__main__":
    run(directories)
