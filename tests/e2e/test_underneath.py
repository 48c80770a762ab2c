"""Changes made underneath, beside the mount, are seen through it although the kernel keeps what it was told.
usage: test_underneath.py directories | other_kind | too_long"""
import os
import shutil

from files import read_text, write
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


def other_kind(bench):
    """A file in a directory's place, and a directory in a file's, are of the library as anything else is."""
    vault = bench.folder("vault")
    local = {"path": bench.folder("local"), "evict_below_free": "17M", "evict_until_free": "18M"}
    daemon = bench.daemon({"local": local, "vault": {"url": "file://" + vault}})
    daemon.start()
    under = daemon.config["local"]["path"]

    def holds(path, text):
        return os.path.isfile(path) and read_text(path) == text

    for folder in ("two", "three"):
        os.mkdir(daemon.path(folder))
    write(daemon.path("one"), "a file")
    write(daemon.path("two/in"), "within")
    write(daemon.path("three/in"), "within")
    bench.wait_until(lambda: holds(vault + "/one", "a file") and holds(vault + "/two/in", "within") and
                     holds(vault + "/three/in", "within"), 60, "the uploads")
    bench.wait_until(daemon.jobs_done, 60, "the queue to be empty")
    os.unlink(under + "/one")
    os.mkdir(under + "/one")
    write(under + "/one/in", "a directory now")
    shutil.rmtree(under + "/two")
    write(under + "/two", "a file now")
    bench.wait_until(lambda: holds(vault + "/one/in", "a directory now") and holds(vault + "/two", "a file now"),
                     60, "the uploads of what took their places")
    bench.wait_until(lambda: holds(daemon.path("two (from the vault)/in"), "within"), 60, "what the vault had")
    daemon.stop()
    shutil.rmtree(under + "/three")
    write(under + "/three", "a file now")
    daemon.start()
    bench.wait_until(lambda: holds(vault + "/three", "a file now"), 60, "the upload of what came meanwhile")
    bench.wait_until(lambda: holds(daemon.path("three (from the vault)/in"), "within"), 60, "what the vault had")
    check_equal(read_text(daemon.path("three")), "a file now", "what stands there")
    daemon.stop()


def too_long(bench):
    """A file made by relative paths, below more names than a path may have bytes: its owner is told that nothing saves it."""
    daemon = bench.daemon({"local": {"path": bench.folder("local")}})
    daemon.start()
    name = "d" * 250
    at = os.open(daemon.mount, os.O_RDONLY)
    for _ in range(17):
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    with open(os.open("film.mkv", os.O_CREAT | os.O_WRONLY, dir_fd=at), "wb") as file:
        file.write(b"film")
    os.close(at)

    def told():
        return daemon.ask("status")["too_long"]["files"] > 0

    bench.wait_until(told, 60, "status to tell of the path")
    check("NOT SAVED" in daemon.cli("status"), "the screen does not say that it is not saved")
    daemon.restart()
    bench.wait_until(told, 60, "status to tell of the path after a restart")
    daemon.stop()


if __name__ == "__main__":
    run(directories, other_kind, too_long)
