"""The harness tests itself: the servers serve, the faults are faults, and nothing is left behind."""
import http.client
import os
import signal
import subprocess
import sys
import time
import urllib.parse

from harness import (Failure, check, check_equal, clean_environment, need_programs, need_root, run, to_toml)

PAYLOAD = bytes(range(256)) * 4096  # 1 MiB


def request(url, method="GET", path="/", timeout=10, body=None):
    """(status, body) of one request on a connection of its own."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=timeout)
    try:
        connection.request(method, path, body=body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def raises(kind, function, what):
    try:
        function()
    except kind:
        return
    raise Failure(what)


def radosgw_through_the_fault_proxy(bench):
    s3 = bench.radosgw()
    s3.make_bucket("library")
    s3.put("library", "Movies/Ä film (2001)/film.mkv", PAYLOAD)
    check_equal(s3.read("library", "Movies/Ä film (2001)/film.mkv"), PAYLOAD, "the object's bytes")
    listed = s3.objects("library")
    check_equal({k: v["Size"] for k, v in listed.items()}, {"Movies/Ä film (2001)/film.mkv": len(PAYLOAD)}, "the listing")

    wrong = s3.through(s3)
    wrong.secret_key = "no such key"
    raises(Failure, lambda: wrong.objects("library"), "radosgw took a wrong signature")

    proxy = bench.proxy(s3.endpoint)
    via = s3.through(proxy)
    check_equal(via.read("library", "Movies/Ä film (2001)/film.mkv"), PAYLOAD, "the bytes through the proxy")

    proxy.set(http_status=503, http_match="^GET", retry_after=7, http_count=1)
    check_equal(request(proxy.endpoint)[0], 503, "the injected status")
    check(request(proxy.endpoint)[0] != 503, "http_count=1 injected twice")
    check_equal(proxy.counters()["injected"], 1, "the count of injected answers")

    proxy.reset()
    proxy.set(truncate=1000, http_match="film")
    raises(Failure, lambda: via.rclone("cat", "--low-level-retries", "1", "s3:library/Movies/Ä film (2001)/film.mkv"),
           "a truncated answer was taken for whole")

    proxy.reset()
    proxy.set(lose_reply=1, http_match="^PUT /newbucket")
    raises(Exception, lambda: request(proxy.endpoint, "PUT", "/newbucket"), "a lost reply arrived")
    check_equal(proxy.counters()["lost"], 1, "the count of lost replies")

    proxy.reset()
    proxy.set(blackhole=1)
    raises(TimeoutError, lambda: request(proxy.endpoint, timeout=0.5), "the black hole answered")
    proxy.set(refuse=1, blackhole=0)
    raises(ConnectionRefusedError, lambda: request(proxy.endpoint), "the proxy did not refuse")
    proxy.reset()
    check_equal(via.read("library", "Movies/Ä film (2001)/film.mkv"), PAYLOAD, "the bytes after the faults")


def rsyncd_takes_and_never_deletes(bench):
    target, source = bench.folder("incoming"), bench.folder("source")
    with open(os.path.join(source, "A.Film.2001.mkv"), "wb") as file:
        file.write(PAYLOAD)
    rsyncd = bench.rsyncd(target)
    rsyncd.push(source + "/")
    with open(os.path.join(target, "A.Film.2001.mkv"), "rb") as file:
        check_equal(file.read(), PAYLOAD, "what rsync brought")
    os.unlink(os.path.join(source, "A.Film.2001.mkv"))
    for flag in ("--delete", "--delete-after", "--delete-excluded", "--delete-delay"):
        check(rsyncd.push(source + "/", flag, ok=False).returncode != 0, "the module took " + flag)
    check_equal(os.listdir(target), ["A.Film.2001.mkv"], "the files after the refused deletes")
    fetched = subprocess.run(["rsync", rsyncd.url + "/A.Film.2001.mkv", source], capture_output=True, check=False,
                             env=clean_environment())
    check(fetched.returncode != 0, "the module gave a file away")


def small_disks_fill(bench):
    disk = bench.disk(32)
    check(disk.size() < 33 << 20, "the disk is larger than asked for")
    with open(os.path.join(disk.path, "fill"), "wb", buffering=0) as file:
        raises(OSError, lambda: [file.write(PAYLOAD) for _ in range(40)], "a 32 MiB disk took 40 MiB")
    disk.close()
    check(not os.path.ismount(disk.path), "the disk is still mounted")


def toml_is_what_it_should_be(bench):
    import tomllib
    config = {"local": {"path": '/a "b"\\c/ä', "reserve": "8M"}, "jobs": {"upload": 3}, "share": {"passthrough": False},
              "hook": [{"on": "filed", "run": ["/bin/echo", "{}"]}, {"on": "dead", "run": ["x"]}]}
    check_equal(tomllib.loads(to_toml(config)), config, "the configuration read back")


def parallel_tests_get_different_ports(bench):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../servers"))
    from ports import PortBlock
    blocks = [PortBlock() for _ in range(30)]
    check_equal(len({block.first for block in blocks}), 30, "different blocks")
    for block in blocks:
        block.close()


VICTIM = """
import sys, time
sys.path.insert(0, sys.argv[1])
from harness import Bench, Process
bench = Bench("victim")
disk = bench.disk(16)
process = Process(bench, "sleeper", ["sleep", "1000"])
print(bench.dir, disk.path, process.pid, flush=True)
time.sleep(1000)
"""


def a_killed_test_leaves_nothing(bench):
    need_root()
    need_programs("mkfs.ext4")
    here = os.path.dirname(os.path.abspath(__file__))
    for number in (signal.SIGKILL, signal.SIGTERM):
        victim = subprocess.Popen([sys.executable, "-c", VICTIM, here], stdout=subprocess.PIPE, text=True)
        words = victim.stdout.readline().split()
        check(len(words) == 3, "the victim did not start (no loop mounts here?)")
        folder, disk, pid = words[0], words[1], int(words[2])
        check(os.path.ismount(disk), "the victim's disk is not mounted")
        victim.send_signal(number)
        victim.wait(20)
        victim.stdout.close()
        bench.wait_until(lambda: not os.path.exists(folder), 30, "the victim's folder to go")
        check(not os.path.ismount(disk), "the victim's disk is still mounted")
        bench.wait_until(lambda: not os.path.exists("/proc/%d" % pid), 10, "the victim's child to go")


def servers_end_with_their_parent(bench):
    need_programs("rsync", "setpriv")
    here = os.path.dirname(os.path.abspath(__file__))
    shell = subprocess.Popen(["bash", "-c", '"$0/../servers/rsyncd.sh" "$1" "$1" & wait', here, bench.folder("d")],
                             stdout=subprocess.PIPE, text=True)
    line = shell.stdout.readline()
    check(line.startswith("READY"), "the daemon did not start: " + line)
    pid = int(line.rsplit("pid=", 1)[1])
    shell.kill()
    shell.wait(10)
    shell.stdout.close()
    bench.wait_until(lambda: not os.path.exists("/proc/%d" % pid), 15, "the orphaned server to end")


def bounds_hold_and_explain(bench):
    started = time.monotonic()
    try:
        bench.wait_until(lambda: 0, 1, "the impossible")
    except Failure as failure:
        check("the impossible" in str(failure), "the failure does not say what was waited for: %s" % failure)
        check(time.monotonic() - started >= 1, "wait_until gave up early")
        return
    raise Failure("wait_until invented something")


if __name__ == "__main__":
    run(toml_is_what_it_should_be, bounds_hold_and_explain, parallel_tests_get_different_ports,
        rsyncd_takes_and_never_deletes, small_disks_fill, servers_end_with_their_parent, a_killed_test_leaves_nothing,
        radosgw_through_the_fault_proxy, name="harness")
