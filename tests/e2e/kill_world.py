"""A library whose daemon is killed at named points (common/crash.h), and what must hold of it afterwards.

    world = World(bench, "plain")
    case = world.case("rename")           # a directory of its own in the tree
    case.have({"a": "vault"})             # files in a state; which there are, have() says
    world.start()
    world.arm("rename.after_disk")
    case.rename("a", "b")                 # each step notes what its caller was told
    world.await_death("rename.after_disk")
    world.recover(case)
"""
import contextlib
import gzip
import os
import random
import sqlite3
import subprocess
import time

from files import read, soon
from harness import Failure, check, check_equal
from kill_case import Case, sha1

ADDED, CHANGED, RENAMED, DELETED = 1, 2, 3, 4
SYNC_BOUND = int(os.environ.get("SYNC_BOUND", "60"))


def files_below(root, skip=()):
    """{path below root: bytes} of regular files."""
    out = {}
    for folder, folders, names in os.walk(root):
        below = os.path.relpath(folder, root)
        folders[:] = [f for f in folders if os.path.normpath(os.path.join(below, f)) not in skip]
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                out[os.path.normpath(os.path.join(below, name))] = path
    return out


class World:
    def __init__(self, bench, name, seed=1, vault=True, share=False, s3=None, config=None):
        self.bench, self.name = bench, name
        self.random = random.Random("%s %s" % (seed, name))
        self.folder = bench.folder(name)
        self.arm_file = os.path.join(self.folder, "arm")
        self.vault = os.path.join(self.folder, "vault") if vault and not s3 else None
        self.share = os.path.join(self.folder, "share") if share else None
        sections = {
            "mount": {"path": os.path.join(self.folder, "Media")},
            "local": {"path": os.path.join(self.folder, "local"), "evict_below_free": "17M", "evict_until_free": "18M"},
            "incoming": {"settle": "20ms"},
        }
        self.s3 = s3
        if s3:
            self.bucket = bench.unique("bucket")
            s3.make_bucket(self.bucket)
            sections["vault"] = s3.vault(self.bucket)
        elif self.vault:
            os.mkdir(self.vault)
            sections["vault"] = {"url": "file://" + self.vault, "cache_size": "8M"}
        if self.share:
            os.mkdir(self.share)
            sections["share"] = {"path": self.share}
        if "vault" in sections:
            sections["vault"]["snapshot_every"] = "0"
        for section, values in (config or {}).items():
            sections.setdefault(section, {}).update(values)
        self.daemon = bench.daemon(sections, env={"MEDIAFS_CRASH": "@" + self.arm_file}, name=name)
        self.state = self.daemon.config["local"].get("state", os.path.join(self.daemon.local, ".mediafs"))
        self.cases, self.to_evict = [], []
        self.versions = set()  # the checksums of all that a file ever was
        self.again = None
        self.loses_files = False  # with the disk's power, what nobody synced: only their sidecars may be left
        self.whole = set()     # objects that were read and found whole
        self.elsewhere = {}    # {path: bytes} beside the cases' own
        self.rebuilt = False   # the changelog begins anew

    # Life ---------------------------------------------------------------------------------------------------------

    def bytes(self, size=None):
        return self.random.randbytes(self.random.randint(1, 100_000) if size is None else size)

    def case(self, name, films=False):
        number = len(self.cases)
        letters = chr(ord("A") + number // 26) + chr(ord("a") + number % 26)
        self.cases.append(Case(self, "Movies/The %s (2020)" % letters if films else "%s-%d" % (name, number)))
        return self.cases[-1]

    def state_on_tmpfs(self, size_mib):
        """Before the first start."""
        os.makedirs(self.state, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm" % size_mib, "tmpfs", self.state], check=True)
        self.bench.guard.add("umount", self.state)

    def start(self):
        self.daemon.start()

    def arm(self, point, number=1):
        with open(self.arm_file + ".new", "w") as file:
            file.write("%s:%d" % (point, number))
        os.rename(self.arm_file + ".new", self.arm_file)

    def disarm(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.arm_file)

    def await_death(self, point, bound=30):
        popen = self.daemon.process.popen
        try:
            popen.wait(bound)
        except subprocess.TimeoutExpired:
            raise Failure("%s was not reached within %d s" % (point, bound)) from None
        check_equal(popen.returncode, -9, "how the daemon ended at %s" % point)
        self.daemon.process.kill()
        self.disarm()
        self.check_objects()

    def start_to_die(self, point, number=1, flags=(), bound=30):
        """A start that is killed at the point, before or after the tree is served."""
        self.arm(point, number)
        with contextlib.suppress(Failure):
            self.daemon.start(bound, flags)
        self.await_death(point, bound)

    def recover(self, *cases, flags=()):
        """Started again; returns when the cases are as they must be, and everything else too."""
        again, self.again = self.again, None
        if again:  # not every recovery passes the point
            self.arm(*again)
            with contextlib.suppress(Failure):
                self.begin(flags)
                with contextlib.suppress(Failure):
                    self.settle(*cases, bound=5)
            self.disarm()
            if not self.daemon.process.alive():
                self.await_death(again[0])
                self.begin(flags)
        else:
            self.begin(flags)
        self.settle(*cases)

    def begin(self, flags=()):
        scans = self.scans()
        self.daemon.start(60, flags)
        check(soon(lambda: self.scans() > scans or not self.daemon.process.alive(), 60), "the local branch was not scanned")

    def may_die(self, point, number):
        """At the next recovery."""
        self.again = (point, number)

    def settle(self, *cases, bound=SYNC_BOUND):
        deadline = time.monotonic() + bound
        while self.busy() or self.fault(cases):
            if not self.daemon.process.alive():
                raise Failure("the daemon ended")
            if time.monotonic() > deadline:
                self.check(*cases)
                raise Failure("jobs that don't end: %s" % self.daemon.cli("jobs", "list"))
            time.sleep(0.01)

    def scans(self):
        with open(self.daemon.process.log if self.daemon.process else os.devnull) as log:
            return log.read().count("the local branch is scanned")

    def busy(self):
        with self.database() as db:
            return db.execute("SELECT count(*) FROM job WHERE state < 3").fetchone()[0]

    def fault(self, cases):
        """What check() says just now. The events of the last moments may be on their way yet."""
        try:
            self.check(*cases)
            return None
        except (Failure, OSError) as error:
            return error

    def rest(self):
        """All that is to be done is done."""
        self.daemon.cli("jobs", "wait", bound=SYNC_BOUND)
        if self.to_evict:
            evicting, self.to_evict = self.to_evict, []
            self.daemon.cli("tier", "evict", *evicting)
            self.daemon.cli("jobs", "wait", bound=SYNC_BOUND)
            for path in evicting:
                under = os.path.join(self.daemon.local, os.path.relpath(path, self.daemon.mount))
                check(not os.path.exists(under), "%s is still on the local branch" % under)

    # Questions ----------------------------------------------------------------------------------------------------

    def objects(self):
        """{key: file} in the vault, without what is mediafs's own."""
        return files_below(self.vault, skip={".mediafs"})

    def check_objects(self):
        """At any moment, a dead daemon's included: what stands under a final key is whole."""
        if self.vault:
            for key, file in self.objects().items():
                stat = os.stat(file)
                seen = (key, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
                if seen not in self.whole:
                    check(sha1(read(file)) in self.versions, "%s in the vault is no whole version of any file" % key)
                    self.whole.add(seen)

    def check(self, *cases):
        """At rest. The cases' bytes are read through the mount, of all the others the names."""
        for case in cases:
            case.settle_on({path: read(file) for path, file in self.shown(case.path()).items()})
        wanted = set(self.elsewhere)
        for case in self.cases:
            wanted |= {os.path.join(case.name, path) for path in case.state}
        check_equal(sorted(self.shown(self.daemon.mount)), sorted(wanted), "the names in the tree")
        for path, data in self.elsewhere.items():
            check(read(self.daemon.path(path)) == data, "%s has other bytes" % path)
        self.check_sidecars(cases)
        self.check_temporary()
        self.check_catalogue(wanted)
        if self.vault:
            self.check_vault(cases, wanted)
        elif self.s3:
            self.check_bucket(cases, wanted)

    def shown(self, root):
        found = files_below(root, skip={".mediafs", "Incoming"} if root == self.daemon.mount else ())
        return {path: file for path, file in found.items() if not os.path.basename(path).startswith(".")}

    def check_vault(self, cases, wanted):
        objects = self.objects()
        check_equal(sorted(objects), sorted(wanted - self.on_share()), "the objects in the vault")
        for case in cases:
            for path, data in case.state.items():
                key = os.path.join(case.name, path)
                if key in objects:
                    check(read(objects[key]) == data, "%s in the vault has other bytes than the tree" % key)
        self.check_own({".mediafs/" + path: read(file) for path, file in files_below(os.path.join(self.vault, ".mediafs")).items()})

    def check_own(self, objects):
        """What mediafs has in the vault for itself: the trash holds whole versions, each known to the catalogue."""
        trash = {key for key in objects if key.startswith(".mediafs/trash/")}
        for key in trash:
            check(sha1(objects[key]) in self.versions, "%s in the trash is no whole version of any file" % key)
        with self.database() as db:
            known = [(state, os.fsdecode(key)) for state, key in db.execute("SELECT state, key FROM trash")]
        kept = {key for state, key in known if state == 2}
        check_equal([key for state, key in known if state == 1], [], "what waits for the trash at rest")
        check_equal(sorted(kept - trash), [], "entries of the trash without an object")
        check_equal(sorted(trash - {key for _, key in known}), [], "objects in the trash without an entry")
        snapshots = {key for key in objects if key.startswith(".mediafs/catalogue/")}
        for key in snapshots:
            check(gzip.decompress(objects[key]).startswith(b"SQLite format 3"), "%s is no database" % key)
        check_equal(sorted(set(objects) - trash - snapshots), [".mediafs/vault-id"], "what else is in the vault")

    def check_bucket(self, cases, wanted):
        objects = self.s3.objects(self.bucket)
        check_equal(sorted(k for k in objects if not k.startswith(".mediafs/")), sorted(wanted), "the bucket")
        self.check_own({k: self.s3.read(self.bucket, k) for k in objects if k.startswith(".mediafs/")})
        for case in cases:
            for path, data in case.state.items():
                check(self.s3.read(self.bucket, os.path.join(case.name, path)) == data, "%s in the bucket has other bytes" % path)

    def on_share(self):
        """Files that the share alone has: they are not catalogued, and nobody uploads them."""
        if not self.share:
            return set()
        return {path for path in files_below(self.share) if not os.path.exists(os.path.join(self.daemon.local, path))}

    def check_sidecars(self, cases):
        for case in cases:
            for path, file in files_below(self.under(case.name)).items():
                folder, name = os.path.split(path)
                if name.startswith(".") and name.endswith(".sha1"):
                    of = os.path.join(folder, name[1:-5])
                    if self.loses_files and of not in case.state:
                        continue
                    check(of in case.state, "the sidecar %s is of no file" % path)
                    check_equal(read(file).decode(), sha1(case.state[of]) + "\n", "the sidecar %s" % path)
                elif not name.startswith("."):
                    beside = os.path.join(os.path.dirname(file), ".%s.sha1" % name)
                    check(os.path.exists(beside), "%s has no sidecar" % path)

    def under(self, path):
        return os.path.join(self.daemon.local, path)

    def check_temporary(self):
        check_equal(sorted(files_below(os.path.join(self.daemon.local, ".mediafs/tmp"))), [], "temporary files")
        left = [p for p in files_below(self.daemon.local, skip={".mediafs"}) if os.path.basename(p).startswith(".mediafs-tmp")]
        check_equal(left, [], "temporary files in the tree")

    def database(self):
        return contextlib.closing(sqlite3.connect("file:%s/catalogue.db?mode=ro" % self.state, uri=True))

    def check_catalogue(self, wanted):
        with self.database() as db:
            def rows(query):
                return [[os.fsdecode(v) if isinstance(v, bytes) else v for v in row] for row in db.execute(query)]

            paths = dict(rows("WITH RECURSIVE t(id, path) AS (SELECT id, '' FROM node WHERE id = 1 UNION ALL SELECT n.id, "
                              "CASE t.path WHEN '' THEN '' ELSE t.path || '/' END || CAST(n.name AS TEXT) FROM node n "
                              "JOIN t ON n.parent = t.id AND n.id != 1) SELECT id, path FROM t"))
            files = [paths[row[0]] for row in rows("SELECT id FROM node WHERE kind = 2")]
            check_equal(sorted(files), sorted(wanted - self.on_share()), "the files in the catalogue")
            keys = [(paths[node], key) for node, key in rows("SELECT node, key FROM copy WHERE branch = 2")]
            if self.vault or self.s3:
                check_equal(sorted(keys), sorted((path, path) for path in files), "the vault copies in the catalogue")
            check_equal(rows("SELECT CAST(key AS TEXT) FROM tombstone"), [], "tombstones")
            check_equal(rows("SELECT stage, CAST(path AS TEXT), error FROM job WHERE state != 4"), [], "jobs that are left")
            check_equal(rows("SELECT name FROM setting WHERE name LIKE 'replacing.%'"), [], "renames that are not finished")
            check_equal(rows("PRAGMA integrity_check"), [["ok"]], "the database's own check")
            changes = rows("SELECT version, kind, path, origin FROM change ORDER BY version")
        if not self.rebuilt:
            self.check_changes(changes, set(files))

    def check_changes(self, changes, files):
        """Whoever follows the changelog from its beginning has the library: nothing came, changed or went twice."""
        live, at = set(), 0
        check_equal([c[0] for c in changes], list(range(1, len(changes) + 1)), "the changelog's numbers")
        while at < len(changes):
            _, kind, path, origin = changes[at]
            at += 1
            if kind == ADDED:
                check(path not in live, "%s came twice, by the changelog" % path)
                live.add(path)
            elif kind == CHANGED:
                check(path in live, "%s changed, by the changelog, but was not there" % path)
            elif kind == DELETED:
                check(path in live, "%s went, by the changelog, but was not there" % path)
                live.discard(path)
            else:
                both = {(origin, path)}
                if at < len(changes) and changes[at][1:] == [RENAMED, origin, path]:  # they took each other's names
                    both.add((path, origin))
                    at += 1
                moved = {p: b + p[len(a):] for a, b in both for p in live if p == a or p.startswith(a + "/")}
                check(moved, "%s was renamed to %s, by the changelog, but was not there" % (origin, path))
                live = (live - set(moved) - {path}) | set(moved.values())
        check_equal(sorted(live), sorted(files), "the library by the changelog")
