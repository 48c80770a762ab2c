"""What the log and doctor say of what is set up wrongly. usage: test_advice.py"""
import json

from harness import check, run


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


if __name__ == "__main__":
    run(larger_than_the_disk)
