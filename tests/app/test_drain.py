"""What `mediafs unmount --drain` says and does where waiting does not help. usage: test_drain.py dead | paused | absent"""
import os
import sqlite3
import subprocess

from harness import check, check_equal, clean_environment, run


def library(bench):
    vault = bench.folder("vault")
    daemon = bench.daemon({"local": {"path": bench.folder("local")}, "vault": {"url": "file://" + vault}})
    daemon.start()
    daemon.cli("jobs", "pause", "upload")
    for name, size in (("one.mkv", 1000), ("two.mkv", 24)):
        with open(daemon.path(name), "wb") as file:
            file.write(b"x" * size)
    bench.wait_until(lambda: len(uploads(daemon)) == 2, 60, "the files to be queued")
    return daemon


def uploads(daemon):
    return [job for job in daemon.ask("jobs", "list")["jobs"] if job["stage"] == "upload" and job["state"] != "done"]


def refused(daemon, *words):
    done = daemon.run("unmount", "--drain", bound=60)
    check_equal(done.returncode, 1, "the status of a drain that can't end (%s)" % done.stderr)
    for word in words:
        check(word in done.stderr, "the error does not say %r: %s" % (word, done.stderr))
    check(os.path.ismount(daemon.mount), "the tree is no longer mounted")
    with open(daemon.path("one.mkv"), "rb") as file:
        check_equal(len(file.read()), 1000, "what the tree holds")


def dead(bench):
    """Jobs that failed for good are named, with what to do, and nobody waits for them."""
    daemon = library(bench)
    daemon.stop()
    with sqlite3.connect(daemon.config["local"]["path"] + "/.mediafs/catalogue.db") as catalogue:
        catalogue.execute("UPDATE job SET state = 3, error = 'the server said no' WHERE stage = 'upload'")
    daemon.start()
    daemon.cli("jobs", "resume", "upload")
    job = uploads(daemon)[0]["id"]
    refused(daemon, "2 files (1.0 KiB)", "job %d upload" % job, "the server said no", "mediafs jobs retry")
    daemon.cli("jobs", "retry", "--dead")
    daemon.stop("--drain")


def paused(bench):
    """Nor does anybody wait for a stage that is paused."""
    daemon = library(bench)
    refused(daemon, "2 files", "upload is paused", "mediafs jobs resume upload")
    daemon.cli("jobs", "resume", "upload")
    daemon.stop("--drain")


def absent(bench):
    """While the vault is away it waits, and says for what and why."""
    daemon = library(bench)
    vault = daemon.config["vault"]["url"][len("file://"):]
    os.rename(vault, vault + ".away")
    daemon.cli("jobs", "resume", "upload")
    bench.wait_until(lambda: daemon.ask("status")["vault"]["state"] == "unreachable", 90, "the vault to be missed")
    said = bench.dir + "/said"
    with open(said, "wb") as out:
        wait = subprocess.Popen([daemon.program, "unmount", "--drain"], env=clean_environment({"MEDIAFS_CONFIG": daemon.file}),
                                stdout=subprocess.DEVNULL, stderr=out)

    def text():
        with open(said) as file:
            return file.read()

    bench.wait_until(lambda: "2 files to upload" in text() and "it is not there" in text(), 60, "the reason")
    check_equal(wait.poll(), None, "the end of a drain while the vault is away")
    os.rename(vault + ".away", vault)
    check_equal(wait.wait(120), 0, "the status of the drain: " + text())
    check(os.path.isfile(vault + "/one.mkv"), "what was drained is not in the vault")


if __name__ == "__main__":
    run(dead, paused, absent)
