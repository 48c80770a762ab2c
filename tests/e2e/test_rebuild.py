"""The catalogue can be lost: damaged in every way, with a snapshot in the vault and without one, and made again.
usage: test_rebuild.py dir_vault | s3_vault"""
import os
import random
import sqlite3

from files import read, write
from harness import check, check_equal, run

FILES = {"Movies/here.mkv": b"here" * 5000, "Movies/there.mkv": b"there" * 5000, "Movies/pinned.mkv": b"pin" * 5000,
         "Shows/One/e1.mkv": b"e1" * 5000, "Shows/One/e2.mkv": b"e2" * 5000, "Shows/old name.mkv": b"renamed" * 5000}
EVICTED = ("Movies/there.mkv", "Shows/One/e2.mkv")
MTIME = 1_600_000_000


def zeroed(file):
    with open(file, "r+b") as f:
        f.seek(8192)
        f.write(bytes(16384))


def truncated(file):
    os.truncate(file, os.path.getsize(file) // 2 + 100)


def scrambled(file):
    with open(file, "r+b") as f:
        f.write(random.Random(7).randbytes(os.path.getsize(file)))


def state_of(daemon, place):
    path = daemon.path(place)
    return (read(path), os.stat(path).st_size, os.stat(path).st_mtime_ns, daemon.xattr(place, "state"))


def objects_below(folder):
    found = {}
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.relpath(os.path.join(base, name), folder)
            if not path.startswith(".mediafs/"):
                found[path] = read(os.path.join(folder, path))
    return found


class Library:
    """Files that are in both branches, evicted, pinned, renamed and dirty."""

    def __init__(self, bench, daemon, objects):
        self.bench, self.daemon, self.objects = bench, daemon, objects
        self.database = os.path.join(daemon.local, ".mediafs/catalogue.db")

    def fill(self):
        daemon, bench = self.daemon, self.bench
        daemon.start()
        for place, data in FILES.items():
            os.makedirs(os.path.dirname(daemon.path(place)), exist_ok=True)
            write(daemon.path(place), data)
            os.utime(daemon.path(place), (MTIME, MTIME))
        bench.wait_until(lambda: len(self.objects()) == len(FILES), 120, "the uploads")
        bench.wait_until(daemon.jobs_done, 60, "the queue to be empty")
        os.rename(daemon.path("Shows/old name.mkv"), daemon.path("Shows/new name.mkv"))
        bench.wait_until(daemon.jobs_done, 60, "the renamed object")
        daemon.cli("tier", "pin", daemon.path("Movies/pinned.mkv"))
        for place in EVICTED:
            daemon.cli("tier", "evict", daemon.path(place))

    def places(self):
        return sorted(set(FILES) - {"Shows/old name.mkv"} | {"Shows/new name.mkv"})

    def look(self):
        return {place: state_of(self.daemon, place) for place in self.places()}

    def damage(self, how):
        if how == "deleted":
            for part in ("", "-wal", "-shm"):
                if os.path.exists(self.database + part):
                    os.unlink(self.database + part)
        else:
            how(self.database)

    def serves_locally(self):
        """Nothing of the vault is touched meanwhile, and status and doctor say what to do."""
        daemon, before = self.daemon, self.objects()
        daemon.start()
        status = daemon.ask("status")
        check_equal(status["catalogue"]["state"], "incomplete", "what status says")
        check("mediafs rebuild" in status["catalogue"]["advice"], "status gives no advice")
        check("mediafs rebuild" in daemon.run("doctor").stdout, "doctor gives no advice")
        self.bench.wait_until(lambda: daemon.ask("status")["vault"]["identity"] == "incomplete", 60, "the vault's state")
        check_equal(read(daemon.path("Movies/here.mkv")), FILES["Movies/here.mkv"], "a local file")
        write(daemon.path("Movies/meanwhile.mkv"), b"made while it was incomplete")
        self.bench.wait_until(lambda: self.summed("Movies/meanwhile.mkv"), 60, "its checksum")
        done = daemon.run("tier", "evict", daemon.path("Movies/here.mkv"))
        check(done.returncode != 0, "a file was evicted")
        done = daemon.run("rebuild")
        check(done.returncode == 1 and "mediafs unmount" in done.stderr, "rebuilt beside a daemon: " + done.stderr)
        version = daemon.version()
        daemon.stop()
        check_equal(self.objects(), before, "the vault's objects")
        return version

    def summed(self, place):
        try:
            return self.daemon.xattr(place, "checksum") != ""
        except OSError:
            return False

    def rebuild(self, snapshot):
        report = self.daemon.ask("rebuild")
        check((report["snapshot"] is not None) == snapshot, "the snapshot: %r" % report)
        check_equal(report["back"], 0, "files that are back")
        return report

    def kills(self, snapshot):
        """Killed at each step it is run again, and completes. All that a snapshot brings has its metadata."""
        points = ["rebuild.after_snapshot", "rebuild.after_scan", "rebuild.after_listing", "rebuild.before_publish",
                  "rebuild.after_aside"]
        for point in points if snapshot else [*points, "rebuild.after_publish", "rebuild.after_metadata"]:
            env, self.daemon.env = self.daemon.env, dict(self.daemon.env, MEDIAFS_CRASH=point)
            done = self.daemon.run("rebuild")
            self.daemon.env = env
            check_equal(done.returncode, -9, "the end of rebuild at %s: %s" % (point, done.stderr))


def lose_and_rebuild(library, how, snapshot, kills=False):
    daemon = library.daemon
    before, objects = library.look(), library.objects()
    version = daemon.version()
    daemon.stop()
    library.damage(how)
    meanwhile = library.serves_locally()
    check(meanwhile > version, "the data version went back: %d, then %d" % (version, meanwhile))
    if kills:
        library.kills(snapshot)
    library.rebuild(snapshot)
    daemon.start()
    check(daemon.version() > meanwhile, "the data version went back")
    library.bench.wait_until(daemon.jobs_done, 120, "the queue to be empty")
    check_equal(daemon.ask("status")["catalogue"]["state"], "whole", "what status says")
    after = library.look()
    for place, was in before.items():
        check_equal(after[place][1:], was[1:], "size, time and state of " + place)
        check(after[place][0] == was[0], "other bytes: " + place)
    found = library.objects()
    check_equal({k: v for k, v in found.items() if k in objects}, objects, "the objects of before")
    check_equal(sorted(set(found) - set(objects)), ["Movies/meanwhile.mkv"], "the objects that are new")
    os.unlink(daemon.path("Movies/meanwhile.mkv"))
    library.bench.wait_until(lambda: "Movies/meanwhile.mkv" not in library.objects(), 60, "its object to go")
    check_equal(daemon.xattr("Movies/pinned.mkv", "pin"), "1" if snapshot else "0", "the pin")
    if not snapshot:
        daemon.cli("tier", "pin", daemon.path("Movies/pinned.mkv"))


def snapshots(library):
    """Puts one into the vault that has all of it."""
    folder = library.snapshot_folder
    daemon = library.daemon
    daemon.stop()
    daemon.config["vault"]["snapshot_every"] = "1s"
    daemon.write_config()
    before = set(library.snapshot_names())
    daemon.start()
    write(daemon.path("Movies/more.mkv"), b"so that something has changed")
    library.bench.wait_until(lambda: set(library.snapshot_names()) - before, 60, "a snapshot in " + folder)
    os.unlink(daemon.path("Movies/more.mkv"))
    library.bench.wait_until(daemon.jobs_done, 60, "the queue to be empty")
    daemon.stop()
    # As of now: with the next change of anything.
    daemon.start()
    before = set(library.snapshot_names())
    daemon.cli("tier", "pin", daemon.path("Movies/here.mkv"))
    daemon.cli("tier", "unpin", daemon.path("Movies/here.mkv"))
    library.bench.wait_until(lambda: set(library.snapshot_names()) - before, 60, "another snapshot")
    daemon.stop()
    daemon.config["vault"]["snapshot_every"] = "0"
    daemon.write_config()
    daemon.start()


def dir_vault(bench):
    vault = bench.folder("vault")
    daemon = bench.daemon({"local": {"evict_below_free": "17M", "evict_until_free": "18M"},
                           "vault": {"url": "file://" + vault, "snapshot_every": "0"}})
    library = Library(bench, daemon, lambda: objects_below(vault))
    library.snapshot_folder = os.path.join(vault, ".mediafs/catalogue")
    library.snapshot_names = lambda: (os.listdir(library.snapshot_folder) if os.path.isdir(library.snapshot_folder) else [])
    library.fill()
    lose_and_rebuild(library, "deleted", snapshot=False, kills=True)
    snapshots(library)
    for how in ("deleted", zeroed, truncated, scrambled):
        lose_and_rebuild(library, how, snapshot=True, kills=how == "deleted")
    check(len(library.snapshot_names()) <= 3, "more than three snapshots")
    done = daemon.run("rebuild")
    check(done.returncode != 0, "rebuilt beside a daemon")
    daemon.stop()
    done = daemon.run("rebuild")
    check("nothing to rebuild" in done.stderr, "a whole catalogue: " + done.stderr)
    aside = [name for name in os.listdir(os.path.dirname(library.database)) if ".damaged-" in name]
    check(len(aside) >= 3, "the damaged catalogues were not kept: %r" % aside)
    for name in aside:  # as they were: what can be opened is not what was damaged
        try:
            sqlite3.connect(os.path.join(os.path.dirname(library.database), name)).execute("PRAGMA quick_check").fetchall()
        except sqlite3.DatabaseError:
            pass


def s3_vault(bench):
    s3 = bench.radosgw()
    s3.make_bucket("library")
    daemon = bench.daemon({"local": {"evict_below_free": "17M", "evict_until_free": "18M"},
                           "vault": s3.vault("library", snapshot_every="0")})

    def objects():
        keys = [key for key in s3.objects("library") if not key.startswith(".mediafs/")]
        return {key: s3.read("library", key) for key in keys}

    library = Library(bench, daemon, objects)
    library.snapshot_folder = ".mediafs/catalogue"
    library.snapshot_names = lambda: [k for k in s3.objects("library") if k.startswith(".mediafs/catalogue/")]
    library.fill()
    lose_and_rebuild(library, "deleted", snapshot=False)
    snapshots(library)
    lose_and_rebuild(library, zeroed, snapshot=True)
    daemon.stop()


if __name__ == "__main__":
    run(dir_vault, s3_vault)
