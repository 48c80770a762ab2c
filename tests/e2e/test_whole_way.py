"""The whole way: releases are dropped by rsync, cp and mv; they are named, filed, checksummed, in the vault, evicted,
and read back. usage: test_whole_way.py plain | kills   (kills: the daemon gets kill -9 at 20 random moments)"""
import os
import random
import time

import library
import releases
from droppers import Droppers, FreeSpace
from harness import check, need_programs, run

BUCKET = "library"
RESERVE = 64 << 20
MTIME = 1_500_000_000_123_456_789
KILLS = 20


def start(bench):
    disk = bench.disk(512)
    s3 = bench.radosgw()
    s3.make_bucket(BUCKET)
    daemon = bench.daemon({
        "local": {"path": disk.path + "/local", "reserve": "64M", "evict_below_free": "50%", "evict_until_free": "55%"},
        "vault": s3.vault(BUCKET, cache_size="48M"),
    })
    return disk, s3, daemon


def drop_all(bench, disk, daemon, rsyncd, dropped):
    """Each way takes its share; the seasons go in whole, by a rename underneath and by mv."""
    ways = {"rsync": [], "rsync-temp": [], "cp": [], "mv": [], "rename": []}
    seasons = [r for r in dropped if len(r.files) > 2]
    ways["rename"].append(seasons[0])
    ways["mv"].append(seasons[1])
    rest = [r for r in dropped if r not in seasons]
    for number, release in enumerate(rest):
        ways[("rsync", "rsync-temp", "cp", "mv")[number % 4]].append(release)
    started = []
    for way, share in ways.items():
        folder = os.path.join(disk.path, "staging") if way == "rename" else bench.folder("drop-" + way)
        os.makedirs(folder, exist_ok=True)
        started.append(Droppers(way, share, folder, MTIME, daemon, rsyncd))
    for dropper in started:
        dropper.start()
    return started


def kill_at_random(daemon, droppers, seed):
    """Until 20 kills are done: also after the droppers have finished, in the middle of what is left to do."""
    moments = random.Random(seed)
    for number in range(KILLS):
        time.sleep(moments.uniform(0.05, 3.0))
        daemon.restart()
    return number + 1


def test(bench, mode):
    need_programs("rsync", "rclone", "sha1sum")
    seed = int(os.environ.get("SEED", "0")) or random.randrange(1, 1 << 32)
    print("seed", seed, flush=True)
    dropped = releases.whole_set(seed)
    expected = library.expected_of(dropped)
    disk, s3, daemon = start(bench)
    daemon.start()
    rsyncd = bench.rsyncd(daemon.path("Incoming"))
    space = FreeSpace(disk)
    space.start()
    droppers = drop_all(bench, disk, daemon, rsyncd, dropped)
    if mode == "kills":
        kill_at_random(daemon, droppers, seed)
    for dropper in droppers:
        dropper.finish()
    bench.wait_until(lambda: set(expected) <= library.tree_files(daemon.mount), 240, "every file to be filed")
    bench.wait_until(daemon.jobs_done, 240, "the queue to be empty")
    bench.wait_until(lambda: disk.free() >= disk.size() // 2, 60, "the SSD to be back over its mark")
    least = space.finish()

    library.check_places(daemon, expected)
    library.check_no_dead_jobs(daemon)
    library.check_changes(daemon, expected)
    library.check_version_txt(daemon)
    library.check_sidecars(daemon, expected)
    library.check_objects(s3, BUCKET, expected, MTIME)
    check(least >= RESERVE, "only %d bytes were free at a time, the reserve is %d" % (least, RESERVE))
    streamed, total = library.check_reads_back(daemon, expected)
    check(disk.free() >= RESERVE, "the block cache filled the disk into the reserve")
    print("%d files, %d MiB, %d MiB of them streamed; least free %d MiB; tries again: %s" % (
        len(expected), total >> 20, streamed >> 20, least >> 20, {d.way: d.tries for d in droppers}))
    daemon.stop("--drain")


def plain(bench):
    test(bench, "plain")


def kills(bench):
    test(bench, "kills")


if __name__ == "__main__":
    run(plain, kills)
