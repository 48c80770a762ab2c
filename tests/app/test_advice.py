"""What the log and doctor say of what is set up wrongly. usage: test_advice.py"""
import json
import os
import signal
import subprocess

from daemon import binary
from harness import check, clean_environment, run


def findings(daemon):
    return json.loads(daemon.run("doctor", "--json").stdout)["findings"]


def log_of(daemon):
    with open(daemon.process.log) as file:
        return file.read()


def found(daemon, *words):
    return [f for f in findings(daemon) if all(word in f["what"] + f["advice"] for word in words)]


def larger_than_the_disk(bench):
    daemon = bench.daemon({"local": {"path": bench.folder("local"), "reserve": "900T"}})
    words = ("local.reserve (900 TiB)", "the disk of local.path", "lower local.reserve")
    finding = found(daemon, *words)
    check(len(finding) == 1 and finding[0]["grade"] == "warning", "doctor does not say it: %s" % findings(daemon))
    daemon.start()
    text = log_of(daemon)
    check(all(word in text for word in words), "the log does not say it: " + text)
    daemon.stop()


def empty_variable(bench):
    """An empty MEDIAFS_CONFIG names no configuration."""
    daemon = bench.daemon({"local": {"path": bench.folder("local")}})
    daemon.start()
    for value in ({}, {"MEDIAFS_CONFIG": ""}):
        done = subprocess.run([daemon.program, "tier", "where", daemon.mount], capture_output=True, text=True, timeout=60,
                              env=clean_environment(value), check=False)
        check(done.returncode == 0, "%s: %d: %s" % (value, done.returncode, done.stderr))
    daemon.stop()


def source_that_is_none(bench):
    """`mount NAME MOUNTPOINT` names what is no configuration."""
    mount = bench.folder("Media")
    for name in ("nosuch", "nosuch.toml", "./nosuch"):
        done = subprocess.run([binary(), "mount", name, mount], capture_output=True, text=True, timeout=60,
                              env=clean_environment({"HOME": bench.dir}), check=False)
        check(done.returncode == 2 and name in done.stderr, "%s: %d: %s" % (name, done.returncode, done.stderr))


def vault_without_attributes(bench):
    """A vault whose filesystem refuses extended attributes answers: what is said is what is wrong."""
    below = bench.daemon({"local": {"path": bench.folder("below")}, "mount": {"path": bench.folder("Below")}}, name="below")
    below.start()
    daemon = bench.daemon({"local": {"path": bench.folder("local")}, "vault": {"url": "file://" + below.path("vault")}})
    os.mkdir(below.path("vault"))
    daemon.start()
    bench.wait_until(lambda: "the vault" in log_of(daemon), 60, "a word about the vault")
    text = log_of(daemon)
    check("does not answer" not in text, "it is said not to answer: " + text)
    check("the vault can't be used" in text and "extended attributes" in text, "the log does not say why: " + text)
    check("extended attributes" in daemon.cli("status"), "status does not say why: " + daemon.cli("status"))
    daemon.stop()
    below.stop()


def names_alike(bench):
    """Names on the share that SMB takes for one are listed, ten at most, and counted."""
    share = bench.folder("share")
    os.mkdir(share + "/Movies")
    for n in range(12):
        for name in ("Film %d.mkv", "film %d.MKV"):
            with open(share + "/Movies/" + name % n, "w") as file:
                file.write(name)
    daemon = bench.daemon({"local": {"path": bench.folder("local")}, "share": {"path": share}})
    check(not found(daemon, "differ only by case"), "before anything is known of the share")
    daemon.start()
    bench.wait_until(lambda: found(daemon, "differ only by case: 12"), 60, "doctor to tell of them")
    finding = found(daemon, "differ only by case")[0]
    check(finding["grade"] == "warning" and finding["what"].count(" | ") == 10, "what it tells: %s" % finding)
    check("Movies/Film 0.mkv | Movies/film 0.MKV" in finding["what"], "what it tells: %s" % finding)
    daemon.stop()
    check(found(daemon, "differ only by case: 12"), "without a daemon")


def vault_tested(bench):
    """`vault test` says what the vault can do, and leaves nothing there; one that is not there, it says so."""
    vault = bench.folder("vault")
    daemon = bench.daemon({"local": {"path": bench.folder("local")}, "vault": {"url": "file://" + vault}})
    done = daemon.run("vault", "test", "--size", "1")
    check(done.returncode == 0 and "upload" in done.stdout and "/s" in done.stdout, done.stdout + done.stderr)
    check(not any(files for _, _, files in os.walk(vault)), "something is left in the vault")
    told = json.loads(daemon.run("vault", "test", "--size", "1", "--json").stdout)
    check(told["ok"] and [s["step"] for s in told["steps"]][:2] == ["answers", "upload"], "as JSON: %s" % told)
    check(not found(daemon, "the vault, "), "doctor finds fault with it: %s" % findings(daemon))
    daemon.start()
    bench.wait_until(lambda: os.path.exists(vault + "/.mediafs/vault-id"), 60, "the vault's marker")
    daemon.stop()
    os.rename(vault, vault + ".away")
    os.mkdir(vault)
    done = daemon.run("vault", "test")
    check(done.returncode == 1 and vault in done.stderr, "of another vault: " + done.stdout + done.stderr)
    check(os.listdir(vault) == [], "another vault was written")


def stopped(bench):
    """A daemon that is stopped answers nobody: commands say so, and end."""
    daemon = bench.daemon({"local": {"path": bench.folder("local")}})
    daemon.start()
    daemon.process.signal(signal.SIGSTOP)
    try:
        done = daemon.run("status")
    finally:
        daemon.process.signal(signal.SIGCONT)
    check(done.returncode == 1 and "kill -CONT" in done.stderr, "%d: %s" % (done.returncode, done.stderr))
    check(daemon.run("status").returncode == 0, "it goes on")
    daemon.stop()


def two_states(bench):
    """One local branch is served by one daemon, wherever that keeps its state."""
    local = bench.folder("local")
    daemon = bench.daemon({"local": {"path": local}})
    daemon.start()
    other = bench.daemon({"local": {"path": local, "state": bench.folder("state")}, "mount": {"path": bench.folder("Other")}},
                         name="other")
    done = other.run("mount")
    check(done.returncode == 1 and local in done.stderr and "another mediafs" in done.stderr, done.stderr)
    daemon.stop()


def watched(bench):
    """--watch shows it again, and ends with the daemon or with whoever reads."""
    daemon = bench.daemon({"local": {"path": bench.folder("local")}})
    daemon.start()
    commands = [subprocess.Popen([daemon.program, *command, "--watch", "--json", "-c", daemon.file], text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=clean_environment({}))
                for command in (("status",), ("tier", "--status"), ("status",))]
    try:
        for command in commands:
            for _ in range(2):
                shown = "".join(iter(command.stdout.readline, "}\n"))
                check("local" in json.loads(shown + "}"), "what is watched: " + shown)
        commands[2].stdout.close()
        check(commands[2].wait(60) == 1, "it goes on though nobody reads")
        daemon.stop()
        check([command.wait(60) for command in commands[:2]] == [3, 3], "it goes on without a daemon")
    finally:
        for command in commands:
            command.kill()
            command.wait()
            command.stdout.close()


if __name__ == "__main__":
    run(names_alike, watched, vault_tested, stopped, two_states, larger_than_the_disk, empty_variable, source_that_is_none, vault_without_attributes)
