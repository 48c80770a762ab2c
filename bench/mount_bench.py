#!/usr/bin/env python3
"""How much slower a tree is through the mount than in a plain directory; and through mergerfs, where it is installed.

  bench/mount_bench.py --program BUILD/app/mediafs --work /var/tmp/bench [--files 100000] [--rounds 5] [--only walk,stat]

As root, on an otherwise quiet machine, with some GiB free in --work. Makes the same files in a plain directory, below a
mediafs mount (no vault, no share) and below a mergerfs mount (one branch), runs each workload on each of them in turn,
round by round, and prints the median of the rounds' ratios to the plain directory: 1.00 is as fast. Absolute times say
more about the machine than about the filesystem. "cold" is after `echo 3 > drop_caches`; "warm" is a second time, two
seconds after the first, so that what lives for a second only has gone. Each workload checks what it found.
Needs Python 3.9; changes nothing outside --work.
"""
import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time

MIB = 1 << 20
PER_FOLDER = 10
PROBES = 1000
SMALL = 2000
FLAT = 20_000
BIG = 256 * MIB
OLD = 1_700_000_000  # files that were changed a moment ago are no library


def elapsed(action):
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")


class Data:
    """The same files everywhere."""

    def __init__(self, files):
        self.files = files

    def make(self, root):
        chunk = random.Random(1).randbytes(MIB)
        for first in range(0, self.files, PER_FOLDER):
            folder = "%s/library/Show %04d/Season %02d" % (root, first // 50, first % 50 // PER_FOLDER)
            os.makedirs(folder)
            for n in range(first, min(first + PER_FOLDER, self.files)):
                self.file("%s/Episode %06d.mkv" % (folder, n), chunk[:64])
        os.makedirs(root + "/flat")
        for n in range(FLAT):
            self.file(self.flat(root, n), b"")
        os.makedirs(root + "/probe")
        for n in range(PROBES):
            self.file(self.probe(root, n), chunk[:65537])
        self.file(root + "/big.mkv", chunk * (BIG // MIB))
        os.sync()

    @staticmethod
    def file(path, data):
        with open(path, "wb", buffering=0) as f:
            f.write(data)
        os.utime(path, (OLD, OLD))

    @staticmethod
    def flat(root, n):
        return "%s/flat/%05d.nfo" % (root, n)

    @staticmethod
    def probe(root, n):
        return "%s/probe/%04d.mkv" % (root, n)


# --- workloads: (data, root) -> {name: seconds}

def sequential(data, root):
    def once():
        buffer = memoryview(bytearray(MIB))
        got = 0
        with open(root + "/big.mkv", "rb", buffering=0) as f:
            while n := f.readinto(buffer):
                got += n
        assert got == BIG, got
    once()
    return {"sequential read, warm": elapsed(once)}


def random_reads(data, root):
    offsets = [random.Random(7).randrange(BIG // 4096) * 4096 for _ in range(20_000)]

    def once():
        buffer = [memoryview(bytearray(4096))]
        fd = os.open(root + "/big.mkv", os.O_RDONLY)
        for offset in offsets:
            os.preadv(fd, buffer, offset)
        os.close(fd)
    once()
    return {"random 4 KiB read, warm": elapsed(once)}


def seeks(data, root):
    places = random.Random(3)
    offsets = [places.randrange(BIG // MIB - 1) * MIB + 4096 * places.randrange(200) for _ in range(64)]

    def once():
        buffer = [memoryview(bytearray(MIB))]
        fd = os.open(root + "/big.mkv", os.O_RDONLY)
        for offset in offsets:
            assert os.preadv(fd, buffer, offset) == MIB
        os.close(fd)
    drop_caches()
    return {"seek + 1 MiB, cold": elapsed(once), "seek + 1 MiB, warm": elapsed(once)}


def writing(data, root):
    block = random.Random(5).randbytes(16384)
    os.sync()
    fd = os.open(root + "/written", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    seconds = elapsed(lambda: [os.write(fd, block) for _ in range(64 * MIB // 16384)])
    os.close(fd)
    assert os.stat(root + "/written").st_size == 64 * MIB
    os.unlink(root + "/written")
    return {"write 16 KiB": seconds}


def small_files(data, root):
    folder = root + "/small"
    os.mkdir(folder)
    block = b"x" * 4096
    olds = ["%s/a%05d" % (folder, n) for n in range(SMALL)]
    news = ["%s/b%05d" % (folder, n) for n in range(SMALL)]

    def create():
        for path in olds:
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            os.write(fd, block)
            os.close(fd)
    os.sync()
    times = {"create 4 KiB file": elapsed(create),
             "rename": elapsed(lambda: [os.rename(a, b) for a, b in zip(olds, news)])}
    assert len(os.listdir(folder)) == SMALL
    times["unlink"] = elapsed(lambda: [os.unlink(b) for b in news])
    os.rmdir(folder)
    return times


def stats(data, root):
    def once():
        for n in range(FLAT):
            os.stat(data.flat(root, n))
    once()
    time.sleep(2)
    return {"stat %d, warm" % FLAT: elapsed(once)}


def walks(data, root):
    def once():
        found, folders = 0, [root + "/library"]
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    size = entry.stat(follow_symlinks=False).st_size
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        found += size == 64
        assert found == data.files, found
    drop_caches()
    cold = elapsed(once)
    time.sleep(2)
    return {"walk %d, cold" % data.files: cold, "walk %d, warm" % data.files: elapsed(once)}


def probes(data, root):
    def once():
        buffer = [memoryview(bytearray(65536))]
        for n in range(PROBES):
            fd = os.open(data.probe(root, n), os.O_RDONLY)
            assert os.readv(fd, buffer) == 65536
            os.close(fd)
    once()
    time.sleep(2)
    return {"media probe (open + 64 KiB), warm": elapsed(once)}


WORKLOADS = {"sequential": sequential, "random": random_reads, "seek": seeks, "write": writing,
             "small": small_files, "stat": stats, "walk": walks, "probe": probes}


# --- the trees

def wait_for(test, seconds, what):
    deadline = time.time() + seconds
    while not test():
        if time.time() > deadline:
            sys.exit("waited in vain for " + what)
        time.sleep(0.1)


class Mediafs:
    def __init__(self, program, base):
        self.program, self.base = program, base
        self.disk, self.mount = base + "/mediafs-disk", base + "/mediafs"
        self.process = None

    def start(self):
        os.makedirs(self.mount)
        config = self.base + "/mediafs.toml"
        with open(config, "w") as f:
            f.write('[mount]\npath = "%s"\n[local]\npath = "%s"\nstate = "%s/state"\nreserve = "1G"\n'
                    'evict_below_free = "1G"\nevict_until_free = "2G"\n' % (self.mount, self.disk, self.base))
            f.write('[checksum]\nsidecar = "none"\n')  # the same files everywhere
        os.chmod(config, 0o600)
        self.process = subprocess.Popen([self.program, "mount", "--foreground", "--config", config])
        wait_for(lambda: os.path.ismount(self.mount), 30, "the mount")
        self.wait_for_scan()
        status = self.status()
        print("passthrough:", status["passthrough"], file=sys.stderr)

    def status(self):
        with open(self.mount + "/.mediafs/status.json") as f:
            return json.load(f)

    def wait_for_scan(self):
        """Until the catalogue has seen all: a library at rest. Its checksums are left for later, they take their time."""
        subprocess.run([self.program, "jobs", "pause", "checksum", "-c", self.base + "/mediafs.toml"], check=True)
        seen = -1

        def quiet():
            nonlocal seen
            before, now = seen, self.status()
            seen = now["local"]["files"]
            time.sleep(3)
            return seen == before and now["watcher"]["pending"] == 0 and seen > FLAT
        wait_for(quiet, 1800, "the scan")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


class Mergerfs:
    def __init__(self, base):
        self.disk, self.mount = base + "/mergerfs-disk", base + "/mergerfs"

    def start(self):
        os.makedirs(self.mount)
        subprocess.run(["mergerfs", "-o", "allow_other,cache.files=auto-full,category.create=ff,minfreespace=1M",
                        self.disk, self.mount], check=True)

    def stop(self):
        subprocess.run(["umount", self.mount], check=True)


def run(data, trees, only, rounds):
    ratios, seconds = {}, {}
    for name, workload in WORKLOADS.items():
        if only and name not in only:
            continue
        for number in range(rounds):
            turn = number % len(trees)
            times = {label: workload(data, root) for label, root in trees[turn:] + trees[:turn]}
            for metric, plain in times["plain"].items():
                for label, found in times.items():
                    seconds.setdefault(metric, {}).setdefault(label, []).append(found[metric])
                    ratios.setdefault(metric, {}).setdefault(label, []).append(found[metric] / plain)
        print("done:", name, file=sys.stderr, flush=True)
    return ratios, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="of " + ",".join(WORKLOADS))
    parser.add_argument("--json", help="all figures into this file")
    a = parser.parse_args()
    base = os.path.join(os.path.abspath(a.work), "mediafs-bench")
    if os.path.exists(base):
        sys.exit(base + " is left from another run: unmount what is below it, and remove it")
    data = Data(a.files)
    mounts = [Mediafs(os.path.abspath(a.program), base)]
    if shutil.which("mergerfs"):
        mounts.append(Mergerfs(base))
    for root in [base + "/plain"] + [m.disk for m in mounts]:
        os.makedirs(root)
        data.make(root)
    started = []
    try:
        for m in mounts:
            started.append(m)
            m.start()
        trees = [("plain", base + "/plain")] + [(type(m).__name__.lower(), m.mount) for m in mounts]
        ratios, seconds = run(data, trees, a.only.split(",") if a.only else None, a.rounds)
    finally:
        for m in started:
            m.stop()
    labels = [label for label, _ in trees[1:]]
    print("| slowdown against a plain directory | " + " | ".join(labels) + " |")
    print("|---" * (len(labels) + 1) + "|")
    for metric, found in ratios.items():
        cells = ["%.2f (%.2f-%.2f)" % (statistics.median(found[n]), min(found[n]), max(found[n])) for n in labels]
        print("| %s | %s |" % (metric, " | ".join(cells)))
    if a.json:
        with open(a.json, "w") as f:
            json.dump({"ratios": ratios, "seconds": seconds, "kernel": os.uname().release}, f, indent=1)
    shutil.rmtree(base)


if __name__ == "__main__":
    main()
