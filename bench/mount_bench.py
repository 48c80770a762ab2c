#!/usr/bin/env python3
"""How much slower a tree is through the mount than in a plain directory; and through its peers, where they are there.

  bench/mount_bench.py --program BUILD/app/mediafs --work /var/tmp/bench [--files 100000] [--rounds 5] [--only walk,stat]
                       [--mergerfs NEWER/mergerfs] [--no-peers] [--no-vault]

As root, on an otherwise quiet machine, with some GiB free in --work. Makes the same files in a plain directory and below
a mediafs mount (local and a directory as its vault, no share), mounts mergerfs (and a newer one with passthrough, --mergerfs) and rclone on
the plain directory, runs each workload on each of them in turn, round by round, and prints the median of the rounds'
ratios to the plain directory: 1.00 is as fast. Absolute times say more about the machine than about the filesystem.
"cold" is after `echo 3 > drop_caches`; "warm" is a second time, two seconds after the first, so that what lives for a
second only has gone. Each workload checks what it found. "Vault:" rows are about files that mediafs has in its vault
only, as its first listing showed them; the others have them on the disk.
Needs Python 3.9; changes nothing outside --work.
"""
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time

from mounts import Mediafs, arguments, drop_caches, new_folder, wait_for

MIB = 1 << 20
PER_FOLDER = 10
PROBES = 1000
SMALL = 2000
VAULT_PROBES = 200
FLAT = 20_000
BIG = 256 * MIB
VAULT = "/vaulted"
OLD = 1_700_000_000  # files that were changed a moment ago are no library


def elapsed(action):
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


class Data:
    """The same files everywhere."""

    def __init__(self, files, rounds, vault):
        self.files, self.rounds, self.vault = files, rounds, vault
        self.chunk = random.Random(1).randbytes(MIB)

    def make_local(self, root):
        self.make_tree(root, PROBES)
        self.file(root + "/big.mkv", self.chunk * (BIG // MIB))

    def make_tree(self, root, probes):
        for first in range(0, self.files, PER_FOLDER):
            folder = "%s/library/Show %04d/Season %02d" % (root, first // 50, first % 50 // PER_FOLDER)
            os.makedirs(folder)
            for n in range(first, min(first + PER_FOLDER, self.files)):
                self.file("%s/Episode %06d.mkv" % (folder, n), self.chunk[:64])
        os.makedirs(root + "/flat")
        for n in range(FLAT):
            self.file(self.flat(root, n), b"x")
        os.makedirs(root + "/probe")
        for n in range(probes):
            self.file(self.probe(root, n), self.chunk[:65537])

    def make_vault(self, root, labels):
        """What the vault alone has: below VAULT, and files that each of `labels` renames and removes in each round."""
        if not self.vault:
            return
        self.make_tree(root + VAULT, VAULT_PROBES)
        for label in labels:
            for number in range(self.rounds):
                folder = "%s%s/gone/%s/%d" % (root, VAULT, label, number)
                os.makedirs(folder)
                for n in range(SMALL):
                    self.file("%s/a%05d" % (folder, n), b"x")

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


# --- workloads: (data, root, label, number of the round) -> {name: seconds}

def sequential(data, root, *_):
    def once():
        buffer = memoryview(bytearray(MIB))
        got = 0
        with open(root + "/big.mkv", "rb", buffering=0) as f:
            while n := f.readinto(buffer):
                got += n
        assert got == BIG, got
    once()
    return {"sequential read, warm": elapsed(once)}


def random_reads(data, root, *_):
    offsets = [random.Random(7).randrange(BIG // 4096) * 4096 for _ in range(20_000)]

    def once():
        buffer = [memoryview(bytearray(4096))]
        fd = os.open(root + "/big.mkv", os.O_RDONLY)
        for offset in offsets:
            os.preadv(fd, buffer, offset)
        os.close(fd)
    once()
    return {"random 4 KiB read, warm": elapsed(once)}


def seeks(data, root, *_):
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


def writing(data, root, *_):
    block = random.Random(5).randbytes(16384)
    os.sync()
    fd = os.open(root + "/written", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    seconds = elapsed(lambda: [os.write(fd, block) for _ in range(64 * MIB // 16384)])
    os.close(fd)
    assert os.stat(root + "/written").st_size == 64 * MIB
    os.unlink(root + "/written")
    return {"write 16 KiB": seconds}


def small_files(data, root, *_):
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


def stats(data, root, *_):
    def once():
        for n in range(FLAT):
            os.stat(data.flat(root, n))
    once()
    time.sleep(2)
    return {"stat %d, warm" % FLAT: elapsed(once)}


def walks(data, root, *_):
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


def probes(data, root, *_, count=PROBES):
    def once():
        buffer = [memoryview(bytearray(65536))]
        for n in range(count):
            fd = os.open(data.probe(root, n), os.O_RDONLY)
            assert os.readv(fd, buffer) == 65536
            os.close(fd)
    once()
    time.sleep(2)
    return {"media probe (open + 64 KiB), warm": elapsed(once)}


def vault_rows(found):
    return {"vault: " + name: seconds for name, seconds in found.items()}


def vault_names(data, root, label, number):
    folder = "%s%s/gone/%s/%d" % (root, VAULT, label, number)
    olds = ["%s/a%05d" % (folder, n) for n in range(SMALL)]
    news = ["%s/b%05d" % (folder, n) for n in range(SMALL)]
    assert len(os.listdir(folder)) == SMALL
    for path in olds:
        os.stat(path)
    os.sync()
    times = {"rename": elapsed(lambda: [os.rename(a, b) for a, b in zip(olds, news)])}
    assert sorted(os.listdir(folder))[0] == "b00000"
    times["unlink"] = elapsed(lambda: [os.unlink(b) for b in news])
    assert not os.listdir(folder)
    return vault_rows(times)


WORKLOADS = {"sequential": sequential, "random": random_reads, "seek": seeks, "write": writing,
             "small": small_files, "stat": stats, "walk": walks, "probe": probes}
VAULT_WORKLOADS = {"small": vault_names,
                   "stat": lambda data, root, *_: vault_rows(stats(data, root + VAULT)),
                   "walk": lambda data, root, *_: vault_rows(walks(data, root + VAULT)),
                   "probe": lambda data, root, *_: vault_rows(probes(data, root + VAULT, count=VAULT_PROBES))}


# --- the trees

class Ours(Mediafs):
    label = "mediafs"

    def __init__(self, program, base, data):
        self.data, self.vault = data, base + "/mediafs-vault"
        sections = {"mount": {"path": base + "/mediafs"},
                    "local": {"path": base + "/mediafs-disk", "state": base + "/state", "reserve": "1G",
                              "evict_below_free": "1G", "evict_until_free": "2G"},
                    "checksum": {"sidecar": "none"}}  # the same files everywhere
        if data.vault:
            sections["vault"] = {"url": "file://" + self.vault}
        super().__init__(program, base + "/mediafs.toml", **sections)

    def make(self):
        os.makedirs(self.local)
        os.makedirs(self.vault)
        self.data.make_local(self.local)
        self.data.make_vault(self.vault, [self.label])

    def start(self):
        super().start()
        # What would go on besides: it takes its time.
        for stage in ("checksum", "upload", "relocate", "forget"):
            subprocess.run([self.program, "jobs", "pause", stage, "-c", self.config], check=True)
        self.wait_for_scan()
        print("passthrough:", self.status()["passthrough"], file=sys.stderr)

    def wait_for_scan(self):
        """Until the catalogue has seen all: a library at rest."""
        seen = None

        def quiet():
            nonlocal seen
            before, now = seen, self.status()
            seen = now["local"]["files"], now["vault"]["files"] if self.data.vault else 0
            time.sleep(3)
            found = seen[0] > FLAT and (seen[1] > FLAT or not self.data.vault)
            return found and seen == before and now["watcher"]["pending"] == 0
        wait_for(quiet, 1800, "the scan")


class Peer:
    """On the plain directory itself."""

    def __init__(self, label, base, command):
        self.label, self.mount = label, base + "/" + label
        self.command = [part.format(disk=base + "/plain", mount=self.mount, base=base) for part in command]

    def start(self):
        os.makedirs(self.mount)
        subprocess.run(self.command, check=True, stdout=subprocess.DEVNULL)
        wait_for(lambda: os.path.ismount(self.mount), 30, self.label)

    def stop(self):
        subprocess.run(["umount", self.mount], check=True)


def peers(base, other_mergerfs):
    found = []
    options = ["-o", "allow_other,cache.files=auto-full,category.create=ff,minfreespace=1M", "{disk}", "{mount}"]
    if shutil.which("mergerfs"):
        found.append(Peer("mergerfs", base, ["mergerfs"] + options))
    if other_mergerfs:
        passing = ["-o", options[1] + ",passthrough.io=rw"] + options[2:]
        found.append(Peer("newer mergerfs", base, [os.path.abspath(other_mergerfs)] + passing))
    if shutil.which("rclone"):
        found.append(Peer("rclone", base, ["rclone", "mount", "--daemon", "--allow-other", "--vfs-cache-mode", "writes",
                                           "--cache-dir", "{base}/rclone-cache", "--config", "", "{disk}", "{mount}"]))
    return found


def run(data, trees, only, rounds):
    ratios, seconds = {}, {}
    groups = [(n, w) for n, w in WORKLOADS.items()] + [(n, w) for n, w in VAULT_WORKLOADS.items() if data.vault]
    for name, workload in groups:
        if only and name not in only:
            continue
        for number in range(rounds):
            turn = number % len(trees)
            times = {label: workload(data, root, label, number) for label, root in trees[turn:] + trees[:turn]}
            for metric, plain in times["plain"].items():
                for label, found in times.items():
                    seconds.setdefault(metric, {}).setdefault(label, []).append(found[metric])
                    ratios.setdefault(metric, {}).setdefault(label, []).append(found[metric] / plain)
        print("done:", name, file=sys.stderr, flush=True)
    return ratios, seconds


def main():
    parser = arguments(__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="of " + ",".join(WORKLOADS))
    parser.add_argument("--mergerfs", help="a newer mergerfs program, which can pass through, beside the installed one")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--no-vault", action="store_true")
    parser.add_argument("--json", help="all figures into this file")
    a = parser.parse_args()
    base = new_folder(a.work, "mediafs-bench")
    data = Data(a.files, a.rounds, not a.no_vault)
    others = [] if a.no_peers else peers(base, a.mergerfs)
    os.makedirs(base + "/plain")
    ours = Ours(a.program, base, data)
    data.make_local(base + "/plain")
    data.make_vault(base + "/plain", ["plain"] + [p.label for p in others])
    ours.make()
    os.sync()
    mounts, started = [ours] + others, []
    try:
        for m in mounts:
            started.append(m)
            m.start()
        trees = [("plain", base + "/plain")] + [(m.label, m.mount) for m in mounts]
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
