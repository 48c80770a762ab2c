#!/usr/bin/env python3
"""How a mount over an S3 bucket compares with curl on the same bucket, and with its peers, where they are there.

  bench/vault_bench.py --program BUILD/app/mediafs --work /var/tmp/bench [--shape lan,wan] [--only abcdefghi] [--rounds 3]
                       [--quick] [--endpoint URL --access-key K --secret-key S [--bucket B] [--region R]]
                       [--peers rclone,s3fs] [--json FILE]

As root, with some GiB free in --work; the bucket takes up to 6 GiB, which without --endpoint is memory: a radosgw is
started then (tests/servers/radosgw.sh). All clients reach the server through bench/s3_proxy.py, which gives the way its shape
(lan: none; wan: 20 ms each way, 50 MB/s a connection, one more round trip for a new one) and counts requests and bytes. In each round of each
workload every client has its turn with empty caches, its own and the kernel's; the table has the medians of the
rounds, and in brackets how many times as fast as curl on one connection (h: as `rclone copy`, i: as a local file).
Whatever is read is compared, byte by byte, after the clock has stopped; of uploads, names and sizes.

  a  open and read 64 KiB, nothing cached             f  mount an empty-handed client and walk 10,000 files in 400 folders
  b  read 256 MiB from the beginning to the end       g  two readers of one file at the same time
  c  a player starts: 1 MiB, the last MiB, 8 MiB      h  200 files of 1 MiB, and 4 of 256 MiB, until the bucket has them
  d  1 MiB at 30 places of 1 GiB                      i  read again what the kernel has
  e  a scanner: head and tail of 200 files, 4 at once

--quick: one round, fewer and smaller files. What this starts it ends, on Ctrl-C and SIGTERM too. Needs Python 3.9 and curl 7.75.
"""
import concurrent.futures
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time

from mounts import arguments, drop_caches, new_folder, wait_for
from s3_store import KIB, MIB, Store, check, content
from vault_clients import Curl, Ours, Proxy, peers, rclone_copy, read, start_server, stream

SHAPES = {"lan": (0, 0), "wan": (20, 50)}
FOLDERS, PER_FOLDER = 400, 25
UPLOADS = {"h 1 MiB files": (200, 1), "h 256 MiB files": (4, 256)}


class Plan:
    """How much of each: names, sizes in MiB."""

    def __init__(self, quick):
        self.quick = quick
        self.heads = {"head/%02d.mkv" % n: 16 * MIB for n in range(6 if quick else 20)}
        self.bigs = {"big/%02d.mkv" % n: (64 if quick else 256) * MIB for n in range(2 if quick else 5)}
        self.seek = {"seek/film.mkv": (256 if quick else 1024) * MIB}
        self.probes = {"probe/%03d.mkv" % n: 8 * MIB for n in range(40 if quick else 200)}
        self.root = "tree-quick" if quick else "tree"
        self.tree = {"%s/s%02d/d%03d/f%02d.nfo" % (self.root, d // 20, d, n): KIB
                     for d in range(FOLDERS // (20 if quick else 1)) for n in range(PER_FOLDER)}
        self.uploads = {name: (count // (10 if quick and count > 9 else 1), size // (4 if quick and size > 1 else 1))
                        for name, (count, size) in UPLOADS.items()}
        self.sizes = {**self.heads, **self.bigs, **self.seek, **self.probes, **self.tree}

    def of(self, letters):
        needed = {"a": self.heads, "b": self.bigs, "c": self.bigs, "d": self.seek, "e": self.probes, "f": self.tree,
                  "g": self.bigs, "h": {}, "i": self.bigs}
        return {name: size for letter in letters for name, size in needed[letter].items()}


class Run:
    def __init__(self, plan, base, server, proxy, clients):
        self.plan, self.base, self.server, self.proxy, self.clients = plan, base, server, proxy, clients
        self.found = {}  # row -> client -> values
        self.buffers = [bytearray(max(plan.bigs.values())) for _ in range(2)]

    def put(self, row, label, *values):
        self.found.setdefault(row, {}).setdefault(label, []).extend(values)

    def cold(self, client):
        client.cold()
        drop_caches()
        self.proxy.counted_at_rest()

    def run(self, letters, rounds):
        for letter in letters:
            workload = getattr(self, "measure_" + letter)
            began = time.monotonic()
            for number in range(rounds):
                turn = number % len(self.clients)
                for client in self.clients[turn:] + self.clients[:turn]:
                    try:
                        workload(client, number)
                    except (OSError, SystemExit) as error:
                        print("%s of %s failed: %s" % (letter, client.label, error), file=sys.stderr)
                    client.stop()
            print("done: %s, %.0f s" % (letter, time.monotonic() - began), file=sys.stderr, flush=True)

    def counting(self, letter, client, needed, action):
        """Runs it, and notes what it asked of the network and the processor."""
        before, cpu = self.proxy.counted(), client.cpu_seconds()
        result = action()
        after = self.proxy.counted_at_rest()
        # At rest: the client's other threads have done their work, too.
        self.put("%s   processor, s a GiB" % letter, client.label, (client.cpu_seconds() - cpu) * 1024 * MIB / needed)
        self.put("%s   fetched / needed" % letter, client.label, (after["down"] - before["down"]) / needed)
        self.put("%s   requests" % letter, client.label, after["requests"] - before["requests"])
        return result

    def read_parts(self, client, parts, known=True):
        """Seconds of the open and of each part, of one file."""
        name = parts[0][0]
        if known:
            os.stat(client.path(name))  # the listing is not what is measured
        began = time.perf_counter()
        fd = os.open(client.path(name), os.O_RDONLY)
        try:
            return [time.perf_counter() - began] + [read(fd, *part) for part in parts]
        finally:
            os.close(fd)

    # --- workloads
    def measure_a(self, client, _):
        parts = [(name, 0, 64 * KIB) for name in self.plan.heads]
        if client.mount is None:
            seconds = client.fetch(parts)[0]
        else:
            self.cold(client)
            seconds = self.counting("a", client, len(parts) * 64 * KIB,
                                    lambda: [sum(self.read_parts(client, [part])) for part in parts])
        self.put("a open + 64 KiB, ms", client.label, *(s * 1e3 for s in seconds))

    def measure_b(self, client, number):
        name = list(self.plan.bigs)[number % len(self.plan.bigs)]
        size = self.plan.bigs[name]
        if client.mount is None:
            eighth = size // 8
            many = client.fetch([(name, n * eighth, eighth) for n in range(8)], 8)[1]
            self.put("b sequential, MiB/s", "curl, 8 connections", size / MIB / many)
            seconds = self.counting("b", client, size, lambda: client.fetch([(name, 0, size)])[0][0])
        else:
            self.cold(client)
            os.stat(client.path(name))
            into = memoryview(self.buffers[0])[:size]
            seconds = self.counting("b", client, size, lambda: stream(client.path(name), into))
            check(name, 0, into)
        self.put("b sequential, MiB/s", client.label, size / MIB / seconds)

    def measure_c(self, client, number):
        films = [[(name, 0, MIB), (name, size - MIB, MIB), (name, size // 3, 8 * MIB)]
                 for name, size in self.plan.bigs.items()]
        if client.mount is None:
            seconds = [sum(client.fetch(parts)[0]) for parts in films]
        else:
            self.cold(client)
            seconds = self.counting("c", client, len(films) * 10 * MIB,
                                    lambda: [sum(self.read_parts(client, parts)) for parts in films])
        self.put("c player start, ms", client.label, *(s * 1e3 for s in seconds))

    def measure_d(self, client, number):
        (name, size), = self.plan.seek.items()
        places = random.Random(7 + number)
        parts = [(name, places.randrange(size - MIB), MIB) for _ in range(10 if self.plan.quick else 30)]
        if client.mount is None:
            seconds = self.counting("d", client, len(parts) * MIB, lambda: client.fetch(parts)[0])
        else:
            self.cold(client)
            seconds = self.counting("d", client, len(parts) * MIB, lambda: self.read_parts(client, parts)[1:])
        seconds.sort()
        self.put("d seek + 1 MiB, median ms", client.label, statistics.median(seconds) * 1e3)
        self.put("d seek + 1 MiB, 95 of 100 ms", client.label, seconds[int(len(seconds) * 0.95)] * 1e3)

    def measure_e(self, client, _):
        files = [[(name, 0, 64 * KIB), (name, size - 64 * KIB, 64 * KIB)] for name, size in self.plan.probes.items()]
        needed = len(files) * 128 * KIB
        if client.mount is None:
            parts = [part for file in files for part in file]
            seconds = self.counting("e", client, needed, lambda: client.fetch(parts, 4)[1])
        else:
            self.cold(client)

            def scan():
                began = time.perf_counter()
                with concurrent.futures.ThreadPoolExecutor(4) as pool:
                    list(pool.map(lambda parts: self.read_parts(client, parts, known=False), files))
                return time.perf_counter() - began
            seconds = self.counting("e", client, needed, scan)
        self.put("e scanner, files/s", client.label, len(files) / seconds)

    def measure_f(self, client, _):
        before, began = self.proxy.counted(), time.perf_counter()
        if client.mount is None:
            client.store.sizes(self.plan.root + "/")
        else:
            drop_caches()
            before, began = self.proxy.counted(), time.perf_counter()
            client.start_empty()
            wait_for(lambda: self.walk(client.path(self.plan.root)) == len(self.plan.tree), 300, "all files to be there")
        self.put("f mount and walk, s", client.label, time.perf_counter() - began)
        self.put("f   requests", client.label, self.proxy.counted()["requests"] - before["requests"])
        if client.mount is not None:
            began = time.perf_counter()
            self.walk(client.path(self.plan.root))
            self.put("f   again, s", client.label, time.perf_counter() - began)

    @staticmethod
    def walk(root):
        count = 0
        for folder, _, names in os.walk(root):
            for name in names:
                if os.lstat(folder + "/" + name).st_size != KIB:
                    raise SystemExit("%s/%s has another size" % (folder, name))
            count += len(names)
        return count

    def measure_g(self, client, number):
        name = list(self.plan.bigs)[-1 - number % len(self.plan.bigs)]
        size = self.plan.bigs[name]
        if client.mount is None:
            return
        self.cold(client)

        def both():
            began = time.perf_counter()
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda into: stream(client.path(name), memoryview(into)[:size]), self.buffers))
            return time.perf_counter() - began
        self.put("g two readers, s", client.label, self.counting("g", client, size, both))
        for into in self.buffers:
            check(name, 0, memoryview(into)[:size])

    def measure_h(self, client, number):
        for row, (count, size) in self.plan.uploads.items():
            prefix = "up-%d-%d" % (number, size)
            block = os.urandom(MIB)

            def write(folder):
                os.makedirs(folder, exist_ok=True)
                for n in range(count):
                    with open("%s/f%03d.mkv" % (folder, n), "wb", buffering=0) as f:
                        for _ in range(size):
                            f.write(block[n:] + block[:n])

            def arrived():
                there = self.server.sizes(prefix + "/")
                return sum(1 for key, z in there.items() if key.endswith(".mkv") and z == size * MIB) == count
            try:
                if client.mount is None:
                    write(self.base + "/source")
                    copied = rclone_copy(client.store, self.base + "/source", prefix)
                    shutil.rmtree(self.base + "/source")
                    if copied is None:
                        return
                    seconds, cpu = copied
                else:
                    self.cold(client)
                    cpu, began = client.cpu_seconds(), time.perf_counter()
                    write(client.mount + "/" + prefix)
                    self.put(row + ", written, s", client.label, time.perf_counter() - began)
                    wait_for(arrived, 120, "the uploads", 0.05)
                    seconds = time.perf_counter() - began
                    cpu = client.cpu_seconds() - cpu
                label = "rclone copy" if client.mount is None else client.label
                self.put(row + ", s", label, seconds)
                self.put(row + ": processor, s a GiB", label, cpu * 1024 / (count * size))
            finally:
                client.stop()
                self.server.remove(prefix + "/")

    def measure_i(self, client, _):
        name, size = next(iter(self.plan.bigs.items()))
        path = client.path(name) if client.mount else self.base + "/local.mkv"
        if client.mount is None:
            with open(path, "wb") as f:
                f.write(content(name, 0, size))
        else:
            self.cold(client)
        stream(path, memoryview(self.buffers[0])[:size])
        check(name, 0, memoryview(self.buffers[0])[:size])
        into, began = memoryview(bytearray(MIB)), time.perf_counter()
        with open(path, "rb", buffering=0) as f:
            while f.readinto(into):
                pass
        self.put("i read again, MiB/s", client.label if client.mount else "local file",
                 size / MIB / (time.perf_counter() - began))
        if client.mount is None:
            os.unlink(path)


def words(text):
    return [word for word in text.split(",") if word]


BASELINES = {"h": "rclone copy", "i": "local file"}


def table(shape, found):
    labels = []
    for row in found.values():
        labels += [label for label in row if label not in labels]
    print("\n| %s | %s |\n%s|" % (shape.upper(), " | ".join(labels), "|---" * (len(labels) + 1)))
    for name in sorted(found, key=lambda row: row[0]):
        row, cells = {label: statistics.median(values) for label, values in found[name].items()}, []
        base = row.get(BASELINES.get(name[0], "curl"))
        for label in labels:
            text = "%.3g" % row[label] if label in row and row[label] < 100 else "%.0f" % row[label] if label in row else ""
            if base and text and "   " not in name and ":" not in name and row[label] != base:
                text += " (%.2f)" % (row[label] / base if "/s" in name else base / row[label])
            cells.append(text)
        print("| %s | %s |" % (name, " | ".join(cells)))
    sys.stdout.flush()


def measure(a, base, plan, server, shape, all_found):
    proxy, clients = Proxy(server, *SHAPES[shape]), []
    try:
        folder = base + "/" + shape
        os.makedirs(folder)
        clients = [Curl(proxy.store), Ours(a.program, folder, proxy.store)] + peers(folder, proxy.store, a.peers)
        run = Run(plan, folder, server, proxy, clients)
        all_found[shape] = run.found
        # Nothing of the way is in what the kernel has already.
        letters = a.only.replace("i", "") if shape != a.shape[0] else a.only
        run.run(letters, a.rounds)
    finally:
        table(shape, all_found.get(shape, {}))  # of one that was interrupted, too
        for client in clients:
            client.stop()
        proxy.stop()


ENDING = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def end(*_):
    for number in ENDING:  # one is enough: what was started is to be ended in peace
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main():
    parser = arguments(__doc__)
    parser.add_argument("--shape", type=words, default=["lan", "wan"], help="of " + ",".join(SHAPES))
    parser.add_argument("--only", default="abcdefghi")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", type=words, default=["rclone", "s3fs"])
    parser.add_argument("--endpoint", help="http://HOST:PORT of an S3 server that runs; what is filled in stays there")
    parser.add_argument("--bucket", default="mediafs-bench")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--access-key", default="test")
    parser.add_argument("--secret-key", default="testing")
    parser.add_argument("--json", help="all figures into this file")
    a = parser.parse_args()
    a.rounds = a.rounds or (1 if a.quick else 3)
    for number in ENDING:
        signal.signal(number, end)
    base, process, found = new_folder(a.work, "mediafs-vault-bench"), None, {}
    os.makedirs(base)
    try:
        if a.endpoint:
            server = Store(a.endpoint, a.bucket, a.access_key, a.secret_key, a.region)
        else:
            process, server = start_server(base + "/server")
        plan = Plan(a.quick)
        server.make_bucket()
        server.fill(plan.of(a.only))
        for shape in a.shape:
            measure(a, base, plan, server, shape, found)
    except KeyboardInterrupt:
        sys.exit("ended by a signal")
    finally:
        if a.json:
            with open(a.json, "w") as f:
                json.dump({"found": found, "kernel": os.uname().release}, f, indent=1)
        if process:
            process.terminate()
            process.wait(60)
        # Not into a mount that could not be ended.
        subprocess.run(["rm", "-rf", "--one-file-system", base], check=False)


if __name__ == "__main__":
    main()
