"""A film's life tells each hook once; a pinned directory keeps its films; waiting ends when nothing is left to do."""
import os
import signal
import subprocess

from harness import check, check_equal, clean_environment, need_root, run
from daemon import binary

EVENTS = ("arrived", "filed", "uploaded", "evicted", "deleted")
RELEASE = "The.Quiet.Harbor.2014.1080p.BluRay.x264-GRP.mkv"
FILED = "Movies/The Quiet Harbor (2014)/The Quiet Harbor (2014).mkv"


def told(log):
    """[(event, path)] so far."""
    if not os.path.exists(log):
        return []
    with open(log) as file:
        return sorted(tuple(line.rstrip("\n").split(" ", 1)) for line in file)


def drop(daemon, name, data):
    with open(daemon.path("Incoming", name), "wb") as file:
        file.write(data)


def hooks_and_pins(bench):
    log, environment = bench.dir + "/told", bench.dir + "/environment"
    script = 'echo "$MEDIAFS_EVENT $1" >> %s; env >> %s; echo heard' % (log, environment)
    daemon = bench.daemon({"vault": {"url": "file://" + bench.folder("vault")},
                           "local": {"reserve": "0", "evict_below_free": "0%", "evict_until_free": "0%"},  # by hand only
                           "hook": [{"on": event, "run": ["/bin/sh", "-c", script, "sh", "{}"]} for event in EVENTS]},
                          env={"SOME_SECRET": "hush"})
    daemon.start()
    drop(daemon, RELEASE, b"film")
    bench.wait_until(lambda: os.path.exists(daemon.path(FILED)), 60, "the film to be filed")
    daemon.cli("jobs", "wait")
    check_equal(told(log), sorted([("arrived", daemon.path("Incoming", RELEASE)), ("filed", daemon.path(FILED)),
                                   ("uploaded", daemon.path(FILED))]), "what the hooks were told")
    daemon.cli("tier", "pin", daemon.path("Movies"))
    check_equal(daemon.xattr(FILED, "pin"), "1", "pin of a film in a pinned directory")
    done = daemon.run("tier", "evict", daemon.path(FILED))
    check(done.returncode == 1 and "pinned" in done.stderr, "evict of a pinned film: " + done.stderr)
    daemon.cli("tier", "unpin", daemon.path("Movies"))
    daemon.cli("tier", "evict", daemon.path(FILED))
    os.unlink(daemon.path(FILED))
    daemon.cli("jobs", "wait")
    check_equal([entry for entry in told(log) if entry[0] in ("evicted", "deleted")],
                [("deleted", daemon.path(FILED)), ("evicted", daemon.path(FILED))], "what the hooks were told at last")
    with open(environment) as file:
        check("hush" not in file.read(), "a hook got what only the daemon is to know")
    jobs = daemon.ask("jobs", "list", "--state", "done")["jobs"]
    check(any(job["stage"] == "hook" and "heard" in (job["error"] or "") for job in jobs), "output is not kept")
    return daemon


def interrupted_wait(daemon):
    """Ctrl-C ends the waiting, not the work."""
    daemon.cli("jobs", "pause", "checksum")
    drop(daemon, "notes.pdf", b"notes")
    daemon.bench.wait_until(lambda: os.path.exists(daemon.path("Unsorted/notes.pdf")), 60, "notes to be filed")
    env = clean_environment({"MEDIAFS_CONFIG": daemon.file})
    wait = subprocess.Popen([daemon.program, "unmount", "--drain"], env=env, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)
    try:
        check(wait.stdout.readline() != "", "no progress is shown")
        wait.send_signal(signal.SIGINT)
        wait.communicate(timeout=30)
    finally:
        wait.kill()
    check(wait.returncode != 0, "an interrupted --drain ends with 0")
    check(daemon.version() > 0, "the daemon ended with the waiting")
    daemon.cli("jobs", "resume", "checksum")
    daemon.stop("--drain")


def test(bench):
    need_root()
    binary()
    interrupted_wait(hooks_and_pins(bench))


if __name__ == "__main__":
    run(test)
