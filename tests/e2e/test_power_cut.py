"""The power fails under a library that is being written, renamed, deleted, uploaded, evicted and fetched: the SSD is a loop-mounted
ext4 or xfs, which is shut down at a random moment. What was synced is there whole, under one of its names; the catalogue
opens; tree, catalogue and vault agree again.
usage: test_power_cut.py few | many     SEED in the environment repeats a run's decisions, CUTS says how many."""
import os
import random
import threading
import time

from files import read
from harness import Failure, check, need_programs, run
from kill_case import sha1
from kill_world import World

THREADS = 3


class Owner(threading.Thread):
    """Works in a directory of its own until the disk fails. Knows at each moment what must be there."""

    def __init__(self, world, case, seed):
        super().__init__()
        self.world, self.case, self.draw = world, case, random.Random(seed)
        self.must = dict(case.must)    # {name: bytes}: synced
        self.may = set(case.may)       # names of which nothing was promised
        self.unsynced = {}             # of `may`, what was written
        self.under_way = None          # (names that may bear them, bytes): its answer has not come
        self.number = case.number

    def run(self):
        try:
            os.makedirs(self.case.path(), exist_ok=True)
            while True:
                self.draw.choice([self.create, self.create, self.create_unsynced, self.rename, self.delete, self.evict, self.fetch])()
        except OSError:
            pass
        self.case.number = self.number

    def fresh(self):
        self.number += 1
        return "f%d" % self.number

    def data(self):
        data = self.draw.randbytes(self.draw.choice([1, 4096, 70_000, 1 << 20]))
        self.world.versions.add(sha1(data))
        return data

    def sync_directory(self):
        fd = os.open(self.case.path(), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def put(self, name, data, synced):
        fd = os.open(self.case.path(name), os.O_WRONLY | os.O_CREAT)
        try:
            os.write(fd, data)
            if synced:
                os.fsync(fd)
        finally:
            os.close(fd)

    def create(self):
        name, data = self.fresh(), self.data()
        self.may.add(name)
        self.put(name, data, True)
        self.sync_directory()
        self.may.discard(name)
        self.must[name] = data

    def create_unsynced(self):
        name, data = self.fresh(), self.data()
        self.may.add(name)
        self.put(name, data, False)
        self.unsynced[name] = data

    def one(self):
        return self.draw.choice(sorted(self.must)) if self.must else None

    def rename(self):
        old, new = self.one(), self.fresh()
        if old is None:
            return
        data = self.must.pop(old)
        self.under_way = ((old, new), data)
        os.rename(self.case.path(old), self.case.path(new))
        self.sync_directory()
        self.under_way = None
        self.must[new] = data

    def delete(self):
        name = self.one()
        if name is None or len(self.must) < 5:
            return
        self.must.pop(name)
        self.may.add(name)
        self.unsynced.pop(name, None)
        os.unlink(self.case.path(name))
        self.sync_directory()
        self.may.discard(name)

    def evict(self):
        self.world.daemon.run("tier", "evict", *[self.case.path(name) for name in sorted(self.must)[:3]], bound=20)

    def fetch(self):
        name = self.one()
        if name is not None:
            read(self.case.path(name))

    # Afterwards ---------------------------------------------------------------------------------------------------

    def note_uploaded(self):
        """What nobody synced, but the vault had whole, is not to be given up for what the disk kept of it."""
        objects = self.world.objects()
        for name, data in self.unsynced.items():
            key = os.path.join(self.case.name, name)
            if key in objects and read(objects[key]) == data:
                self.must[name] = data

    def check(self):
        """The case takes over what is there."""
        found = {path: read(file) for path, file in self.world.shown(self.case.path()).items()}
        if self.under_way:
            names, data = self.under_way
            there = [name for name in names if name in found]
            check(len(there) == 1, "%s: a file under rename is there as %s" % (self.case.name, there))
            check(found[there[0]] == data, "%s/%s is not what was synced" % (self.case.name, there[0]))
            self.must[there[0]] = data
        for name, data in self.must.items():
            check(name in found, "%s/%s was synced and is gone" % (self.case.name, name))
            check(found[name] == data, "%s/%s is not what was synced: %d bytes, wanted %d" %
                  (self.case.name, name, len(found[name]), len(data)))
        strange = sorted(set(found) - set(self.must) - self.may)
        check(not strange, "%s: what was deleted is there again: %s" % (self.case.name, strange))
        self.case.states, self.case.must, self.case.may = [found], {**found, **self.must}, set()


def cut_once(world, disk, owners, pause):
    for owner in owners:
        owner.start()
    time.sleep(pause)  # the load's time, not a wait for anything
    disk.cut()
    for owner in owners:
        owner.join(60)
        check(not owner.is_alive(), "somebody waits for ever for a disk that is gone")
    world.daemon.clear()
    for owner in owners:
        owner.note_uploaded()
    disk.replug()
    world.daemon.start()
    world.rest()
    for owner in owners:
        owner.check()
    world.check(*[owner.case for owner in owners])


def cuts(bench, kind, count, draw):
    need_programs("xfs_io", "mkfs." + kind)
    disk = bench.disk(400, kind, kind)
    world = World(bench, kind + "-world", config={"local": {"path": disk.path + "/local", "reserve": "16M"}})
    world.loses_files = True
    world.start()
    cases = [world.case(str(n)) for n in range(THREADS)]
    for case in cases:
        case.must, case.may, case.number = {}, set(), 0
    for number in range(count):
        owners = [Owner(world, case, draw.random()) for case in cases]
        try:
            cut_once(world, disk, owners, draw.uniform(0.1, 1.5))
        except (Failure, OSError) as error:
            raise Failure("%s, cut %d: %s" % (kind, number + 1, error)) from error
    world.daemon.stop()
    disk.close()


def few(bench):
    many(bench, 5)


def many(bench, count=400):
    seed = int(os.environ.get("SEED", "0")) or random.randrange(1, 1 << 32)
    count = int(os.environ.get("CUTS", count))
    print("seed", seed, flush=True)
    draw = random.Random(seed)
    cuts(bench, "ext4", (count + 1) // 2, draw)
    cuts(bench, "xfs", count // 2, draw)


if __name__ == "__main__":
    run(few, many)
