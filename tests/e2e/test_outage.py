"""The vault is refused, and later black-holed, for 60 s in the middle of a drop: the drop goes on, listings stay whole and
quick to come, what needs the vault fails in bounded time, and everything arrives afterwards."""
import os
import random
import time

import library
import releases
from droppers import Droppers
from harness import check, check_equal, run

BUCKET = "library"
MTIME = 1_500_000_000_123_456_789
OUTAGE = 60


def drop(bench, daemon, some):
    dropper = Droppers("cp", some, bench.folder("drop"), MTIME, daemon, deadline=OUTAGE / 2)
    dropper.start()
    dropper.finish()


def outage(bench, daemon, proxy, fault, before, during):
    """While the vault is away: the drop goes on and is filed, and everything that was there stays listed."""
    listed = library.expected_of(before)
    start = time.monotonic()
    proxy.set(**{fault: 1})
    proxy.kill()
    drop(bench, daemon, during)
    arrived = library.expected_of(before + during)
    bench.wait_until(lambda: set(arrived) <= library.tree_files(daemon.mount), OUTAGE / 2, "the drop to be filed without a vault")
    evicted = [p for p in listed if daemon.xattr(p, "branch") == "vault"]
    check(evicted, "nothing was evicted before the outage")
    while time.monotonic() - start < OUTAGE:
        check_equal(sorted(set(arrived) - library.tree_files(daemon.mount)), [], "missing in the listing during the outage")
        for place, data in listed.items():
            check_equal(os.stat(daemon.path(place)).st_size, len(data), "size during the outage of " + place)
        time.sleep(2)
    check(daemon.ask("status")["vault"]["state"] == "unreachable", "status does not say that the vault is unreachable")
    proxy.reset()


def test(bench):
    seed = int(os.environ.get("SEED", "0")) or random.randrange(1, 1 << 32)
    print("seed", seed, flush=True)
    make = releases.Maker(seed, scale=0.5)
    sets = [[make.film() for _ in range(12)] for _ in range(3)]
    disk = bench.disk(512)
    s3 = bench.radosgw()
    s3.make_bucket(BUCKET)
    proxy = bench.proxy(s3.endpoint)
    daemon = bench.daemon({"local": {"path": disk.path + "/local", "reserve": "32M"},
                           "vault": s3.through(proxy).vault(BUCKET, cache_size="32M")})
    daemon.start()
    drop(bench, daemon, sets[0])
    bench.wait_until(daemon.jobs_done, 120, "the first drop to be in the vault")
    some = sorted(library.expected_of(sets[0]))[:4]
    daemon.cli("tier", "evict", *[daemon.path(p) for p in some])

    outage(bench, daemon, proxy, "refuse", sets[0], sets[1])
    bench.wait_until(daemon.jobs_done, 180, "everything to arrive after the refusal")
    outage(bench, daemon, proxy, "blackhole", sets[0] + sets[1], sets[2])
    bench.wait_until(daemon.jobs_done, 180, "everything to arrive after the black hole")

    expected = library.expected_of(sum(sets, []))
    library.check_places(daemon, expected)
    library.check_no_dead_jobs(daemon)
    library.check_changes(daemon, expected)
    library.check_objects(s3, BUCKET, expected, MTIME)
    library.check_reads_back(daemon, expected, streamed_share=0.05)
    daemon.stop("--drain")


if __name__ == "__main__":
    run(test)
