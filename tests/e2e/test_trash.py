"""Deleted by mistake: what was in the vault is listed in the trash, comes back with the same bytes, time and mode, is
emptied by hand, and goes by itself when it is old enough. usage: test_trash.py [directory | s3 | webdav]"""
import hashlib
import json
import os
import shutil

from harness import check, check_equal, need_programs, need_root, run
from webdav import WebDav

MTIME = 1_500_000_000_123_456_789
PLACE = "Movies/Ähnliches & Co (2020)/a film.mkv"
OTHER = "Shows/Some Show/Season 01/e1.mkv"
BUCKET = "trash"


class Folder:
    """A vault in a directory."""

    def __init__(self, bench):
        self.path = bench.folder("vault")

    def section(self, **more):
        return {"url": "file://" + self.path, **more}

    def objects(self):
        found = {}
        for folder, _, names in os.walk(self.path):
            for name in names:
                path = os.path.join(folder, name)
                found[os.path.relpath(path, self.path)] = os.path.getsize(path)
        return found


class Bucket:
    """A vault in a radosgw's bucket."""

    def __init__(self, bench):
        self.s3 = bench.radosgw()
        self.s3.make_bucket(BUCKET)

    def section(self, **more):
        return self.s3.vault(BUCKET, "a prefix", **more)

    def objects(self):
        return {key: entry["Size"] for key, entry in self.s3.objects(BUCKET, "a prefix").items()}


class Dav(Folder):
    """A vault on apache; its disk is looked at."""

    def __init__(self, bench):
        need_programs("apache2")
        self.server = WebDav(bench, "apache")
        self.path = os.path.join(self.server.data, "Library")

    def section(self, **more):
        return self.server.vault("Library", **more)

    def objects(self):
        return {key: size for key, size in super().objects().items() if ".DAV" not in key.split("/")}


def library_objects(vault):
    return sorted(key for key in vault.objects() if not key.startswith(".mediafs/"))


def trash_objects(vault):
    return sorted(key for key in vault.objects() if key.startswith(".mediafs/trash/"))


def settled(daemon):
    daemon.cli("jobs", "wait")
    return daemon.jobs_done()


def put(daemon, place, data):
    os.makedirs(os.path.dirname(daemon.path(place)), exist_ok=True)
    with open(daemon.path(place), "wb") as file:
        file.write(data)
    os.chmod(daemon.path(place), 0o640)
    os.utime(daemon.path(place), ns=(MTIME, MTIME))


def store(bench, daemon, files, vault):
    for place, data in files.items():
        put(daemon, place, data)
    bench.wait_until(lambda: set(files) <= set(library_objects(vault)), 120, "the films to be in the vault")
    bench.wait_until(lambda: settled(daemon), 60, "the queue to be empty")
    for place in files:
        daemon.cli("tier", "evict", daemon.path(place))


def trashed(daemon, *paths):
    return daemon.ask("trash", "list", *paths)["trash"]


def by_mistake(bench, daemon, vault, files):
    """Both are removed, the folder of one with it; then they are brought back by path and by number."""
    shutil.rmtree(os.path.dirname(daemon.path(PLACE)))
    os.unlink(daemon.path(OTHER))
    bench.wait_until(lambda: not library_objects(vault), 60, "the objects to be out of the library")
    check_equal(len(trash_objects(vault)), 2, "objects in the trash")
    check(any("a film.mkv" in key for key in trash_objects(vault)), "names that nobody can read: %r" % trash_objects(vault))
    report = daemon.ask("trash", "list")
    check_equal((report["files"], report["bytes"]), (2, sum(map(len, files.values()))), "the trash's sum")
    with open(daemon.path(".mediafs/status.json")) as file:
        check_equal(json.load(file)["vault"]["trash"], {"files": 2, "bytes": report["bytes"]}, "the trash in status.json")
    check("2 deleted files" in daemon.cli("status"), "status does not tell of the trash")
    cut = daemon.ask("trash", "list", "--limit", "1")
    check_equal((cut["files"], cut["more"], report["more"]), (1, True, False), "a list that is cut")
    entry = trashed(daemon, daemon.path(OTHER))[0]
    check_equal((entry["path"], entry["state"]), (OTHER, "kept"), "the entry of " + OTHER)
    check(entry["expires"] > entry["deleted"], "it expires before it was deleted")

    version = daemon.version()
    daemon.cli("trash", "restore", str(entry["id"]))
    daemon.cli("trash", "restore", os.path.dirname(daemon.path(PLACE)))
    for place, data in files.items():
        at = os.stat(daemon.path(place))
        check_equal((at.st_mtime_ns, at.st_mode & 0o7777, at.st_size), (MTIME, 0o640, len(data)), "stat of " + place)
        check_equal(daemon.xattr(place, "branch"), "vault", "branch of " + place)
        with open(daemon.path(place), "rb") as file:
            check_equal(hashlib.sha1(file.read()).hexdigest(), hashlib.sha1(data).hexdigest(), "bytes of " + place)
    check_equal(daemon.version(), version + 2, "the data version")
    check_equal(sorted(path for _, path in daemon.changelog()[:2]), sorted(files), "what the changelog says")
    bench.wait_until(lambda: settled(daemon), 60, "the queue to be empty")
    check_equal((library_objects(vault), trash_objects(vault)), (sorted(files), []), "the vault's objects")


def taken(bench, daemon, vault):
    """The name has a new file by now: it stays, and --to brings the old one back beside it."""
    os.unlink(daemon.path(OTHER))
    put(daemon, OTHER, b"another")
    bench.wait_until(lambda: vault.objects().get(OTHER) == len(b"another"), 60, "the new film to be in the vault")
    done = daemon.run("trash", "restore", daemon.path(OTHER))
    check_equal(done.returncode, 1, "status of a restore over a file")
    check("mediafs: restore: %s: " % OTHER in done.stderr and "--to" in done.stderr, done.stderr)
    with open(daemon.path(OTHER), "rb") as file:
        check_equal(file.read(), b"another", "what has the name")
    daemon.cli("trash", "restore", daemon.path(OTHER), "--to", daemon.path("Shows/back.mkv"))
    check(os.path.exists(daemon.path("Shows/back.mkv")), "it is not back under the other name")
    check_equal(daemon.run("trash", "restore", daemon.path("no such")).returncode, 1, "status of a restore of nothing")
    check_equal(daemon.run("trash", "restore", "1", "2", "--to", daemon.path("x")).returncode, 2, "status of wrong usage")
    check_equal(daemon.run("trash", "empty", "--older-than", "soon").returncode, 2, "status of a wrong age")


def emptied(bench, daemon, vault):
    """By age, by number, all; a list without a daemon."""
    for place in (OTHER, "Shows/back.mkv"):
        os.unlink(daemon.path(place))
    bench.wait_until(lambda: len(trash_objects(vault)) == 2, 60, "two objects to be in the trash")
    check("0 files" in daemon.cli("trash", "empty", "--older-than", "1h"), "what is new went")
    daemon.cli("trash", "empty", str(trashed(daemon, daemon.path(OTHER))[0]["id"]))
    check_equal([entry["path"] for entry in trashed(daemon)], ["Shows/back.mkv"], "what is left")
    daemon.stop()
    check_equal([entry["path"] for entry in trashed(daemon)], ["Shows/back.mkv"], "what is left, without a daemon")
    check_equal(trashed(daemon, daemon.path("Movies")), [], "what is left below Movies, without a daemon")
    check_equal(daemon.run("trash", "empty").returncode, 3, "status without a daemon")
    daemon.start()
    bench.wait_until(lambda: daemon.run("trash", "empty").returncode == 0, 30, "the trash to be emptied")
    check_equal((trashed(daemon), trash_objects(vault)), ([], []), "what is left after all went")


def expired(bench, daemon, vault):
    """A short time, killed in between; then none."""
    daemon.stop()
    daemon.config["vault"]["trash"] = "3s"
    daemon.write_config()
    daemon.start()
    os.unlink(daemon.path(PLACE))
    bench.wait_until(lambda: trash_objects(vault), 60, "an object to be in the trash")
    daemon.restart()
    bench.wait_until(lambda: not trash_objects(vault), 60, "the trash to be swept")
    bench.wait_until(lambda: not trashed(daemon), 10, "its entry to be gone")
    daemon.stop()
    daemon.config["vault"]["trash"] = "0"
    daemon.write_config()
    daemon.start()
    store(bench, daemon, {OTHER: b"film"}, vault)
    os.unlink(daemon.path(OTHER))
    bench.wait_until(lambda: not library_objects(vault), 60, "the object to be gone")
    check_equal((trashed(daemon), trash_objects(vault)), ([], []), "the trash that is none")
    check_equal(daemon.ask("jobs", "list", "--state", "dead")["jobs"], [], "dead jobs")
    daemon.stop()


def whole(bench, vault):
    need_root()
    daemon = bench.daemon({"vault": vault.section(cache_size="16M"),
                           "local": {"reserve": "0", "evict_below_free": "0%", "evict_until_free": "0%"}})
    daemon.start()
    files = {PLACE: os.urandom(3 << 20), OTHER: os.urandom(1 << 20)}
    store(bench, daemon, files, vault)
    by_mistake(bench, daemon, vault, files)
    taken(bench, daemon, vault)
    emptied(bench, daemon, vault)
    expired(bench, daemon, vault)


def directory(bench):
    whole(bench, Folder(bench))


def s3(bench):
    whole(bench, Bucket(bench))


def webdav(bench):
    whole(bench, Dav(bench))


if __name__ == "__main__":
    run(directory, s3, webdav)
