"""The way of a few films with a vault on apache: dropped, uploaded through kills, evicted, read back, renamed, removed;
and a library rebuilt from the vault alone."""
import hashlib
import os
import shutil

from harness import check, check_equal, need_programs, run
from webdav import WebDav

FILMS = {"The.Long.Way.Home.2021.1080p.WEB.mkv": "Movies/The Long Way Home (2021)/The Long Way Home (2021).mkv",
         "Another.Film.1999.720p.mkv": "Movies/Another Film (1999)/Another Film (1999).mkv"}
SIZE = 12 << 20


def sha1(path):
    with open(path, "rb") as file:
        return hashlib.sha1(file.read()).hexdigest()


def objects(server):
    """{path in the vault: size} of what a plain look at the server's disk finds, mediafs's own things apart."""
    found, top = {}, os.path.join(server.data, "My Library")
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), top)
            if ".DAV" not in path.split("/") and not path.startswith(".mediafs/"):
                found[path] = os.path.getsize(os.path.join(top, path))
    return found


def webdav_way(bench):
    need_programs("apache2")
    server = WebDav(bench, "apache")
    proxy = bench.proxy(server.address)
    daemon = bench.daemon({"local": {"reserve": "1M", "evict_below_free": "2M", "evict_until_free": "3M"},
                           "vault": server.vault("My%20Library", proxy, cache_size="64M")})
    daemon.start()
    sums = {}
    proxy.set(rate_up_kbs=4096)  # so that the kill meets an upload
    for release, place in FILMS.items():
        data = os.urandom(SIZE)
        sums[place] = hashlib.sha1(data).hexdigest()
        with open(daemon.path("Incoming", release), "wb") as file:
            file.write(data)
    bench.wait_until(lambda: proxy.counters()["up"] > SIZE // 2, 60, "an upload to be under way")
    check(not [path for path in objects(server) if path in sums], "something is in its place before it is whole")
    daemon.restart()
    proxy.reset()
    bench.wait_until(lambda: set(sums) <= set(objects(server)), 120, "the films to be in the vault")
    bench.wait_until(daemon.jobs_done, 60, "the queue to be empty")
    for place, sum_ in sums.items():
        check_equal(sha1(os.path.join(server.data, "My Library", place)), sum_, "the object of " + place)
        daemon.cli("tier", "evict", daemon.path(place))
        check(not os.path.exists(os.path.join(daemon.local, place)), place + " is still on the SSD")
        check_equal(sha1(daemon.path(place)), sum_, "what is read back of " + place)

    first, second = sorted(sums)
    os.rename(os.path.dirname(daemon.path(first)), daemon.path("Movies/Renamed (1999)"))
    renamed = "Movies/Renamed (1999)/" + os.path.basename(first)
    os.remove(daemon.path(second))
    os.utime(daemon.path(renamed), ns=(10**18, 10**18 + 123456789))
    bench.wait_until(daemon.jobs_done, 60, "the queue to be empty")
    there = objects(server)
    check(renamed in there and first not in there and second not in there, "the vault holds %r" % sorted(there))
    daemon.stop()

    # All that is left is the vault, which a new catalogue takes over on a person's word.
    shutil.rmtree(daemon.local)
    os.mkdir(daemon.local)
    daemon.start(flags=["--new-vault"])
    bench.wait_until(lambda: os.path.exists(daemon.path(renamed)), 60, "the library to be rebuilt")
    check_equal(os.stat(daemon.path(renamed)).st_mtime_ns, 10**18 + 123456789, "the film's own time")
    check_equal(sha1(daemon.path(renamed)), sums[first], "the film's bytes")
    daemon.stop()


run(webdav_way)
