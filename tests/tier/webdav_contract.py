#!/usr/bin/env python3
"""webdav_contract.py TEST_VAULT: the vault's contract suite against real WebDAV servers, and what rclone makes of its objects."""
import json
import os
import re
import subprocess
import sys
import urllib.request

from harness import SERVERS, Failure, Process, check, check_equal, clean_environment, need_programs, run, skip

TEST_VAULT = sys.argv.pop(1)


class Server:
    def __init__(self, bench, kind, *flags):
        os.chmod(bench.dir, 0o755)  # apache and nginx serve as another user
        self.kind, self.folder = kind, os.path.join(bench.dir, bench.unique(kind))
        if kind == "nextcloud":
            argv = [sys.executable, os.path.join(SERVERS, "nextcloud_stub.py"), *flags]
        else:
            need_programs("curl", "openssl", "setpriv")
            argv = [os.path.join(SERVERS, "webdav.sh"), kind, self.folder]
        self.values = Process(bench, bench.unique("webdav-" + kind), argv, ready="READY", bound=60).values
        self.endpoint = self.values["endpoint"]
        self.proxy = bench.proxy(self.endpoint.split("/")[2])

    def suite(self, *args, **more):
        env = clean_environment({"MEDIAFS_TEST_DAV_URL": self.endpoint.replace("http", "webdav", 1),
                                 "MEDIAFS_TEST_DAV_USER": self.values["user"], "MEDIAFS_TEST_DAV_KIND": self.kind,
                                 "MEDIAFS_TEST_DAV_PASSWORD": self.values["password"],
                                 "MEDIAFS_TEST_DAV_PROXY": self.proxy.endpoint,
                                 "MEDIAFS_TEST_DAV_PROXY_CONTROL": self.proxy._control, **more})
        done = subprocess.run([TEST_VAULT, *args], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", check=False, timeout=480)
        if done.returncode or "skipped:" in done.stdout:
            raise Failure("test_vault %s on %s ended with %d:\n%s" % (" ".join(args), self.kind, done.returncode, done.stdout))
        for line in sorted(set(re.findall(r"left out: .*", done.stdout))):
            print(line)
        if self.values["password"] in done.stdout:
            raise Failure("the password stands in the output:\n" + done.stdout)
        return int(re.search(r"test cases: *(\d+)", done.stdout).group(1))

    def contract(self, *left_out):
        count = self.suite("--test-case=*DavSubject*", "--test-case-exclude=" + ",".join(["child*", *left_out]))
        check(count >= 25, "only %d tests ran" % count)

    def requests(self):
        url = self.endpoint.split("/remote.php")[0] + "/requests"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
            return json.load(answer)


def rclone(server, *args):
    obscured = subprocess.run(["rclone", "obscure", server.values["password"]], check=True, capture_output=True, text=True)
    env = clean_environment({"RCLONE_CONFIG": "", "RCLONE_CONFIG_DAV_TYPE": "webdav", "RCLONE_CONFIG_DAV_VENDOR": "other",
                             "RCLONE_CONFIG_DAV_URL": server.endpoint, "RCLONE_CONFIG_DAV_USER": server.values["user"],
                             "RCLONE_CONFIG_DAV_PASS": obscured.stdout.strip()})
    return subprocess.run(["rclone", "--retries", "1", *args], env=env, check=True, capture_output=True).stdout


def on_apache(bench):
    need_programs("apache2", "rclone")
    server = Server(bench, "apache")
    server.contract()
    # The vault is plain files: any client reads it, and what a client puts there is read.
    check_equal(server.suite("--no-skip", "--test-case=webdav and other clients: write*", MEDIAFS_TEST_CHILD="dav/for others"), 1, "tests")
    there = rclone(server, "lsf", "-R", "--files-only", "--exclude", "/.mediafs/**", "dav:for others").decode().split("\n")
    check_equal(sorted(there), ["", "copied", "empty", "large", "small + %41/ü.mkv"], "rclone's listing")
    check_equal(rclone(server, "cat", "dav:for others/large"), rclone(server, "cat", "dav:for others/copied"), "the copy's bytes")
    theirs = os.path.join(bench.folder("rclone"), "f + %41")
    with open(theirs, "w") as file:
        file.write("theirs")
    rclone(server, "copyto", theirs, "dav:for others/theirs/f + %41")
    server.suite("--no-skip", "--test-case=webdav and other clients: read*", MEDIAFS_TEST_CHILD="dav/for others")


def on_nginx(bench):
    if not os.path.exists("/usr/lib/nginx/modules/ngx_http_dav_ext_module.so"):
        skip("libnginx-mod-http-dav-ext is not installed (packaging/packages.sh test)")
    Server(bench, "nginx").contract("webdav faults*")


def on_rclone(bench):
    need_programs("rclone")
    Server(bench, "rclone").contract("webdav faults*")


def on_nextcloud_stub(bench):
    stub = Server(bench, "nextcloud")
    stub.contract("webdav faults*")
    joined = [path for method, path in stub.requests() if method == "MOVE" and path.endswith("/.file")]
    check(len(joined) >= 5, "only %d uploads went in pieces" % len(joined))
    # One that refuses every MOVE onto a file: the old object steps aside.
    Server(bench, "nextcloud", "--never-overwrite").suite(
        "--test-case=*metadata*DavSubject*,*another version*DavSubject*,*must be new*DavSubject*,*checksummed*DavSubject*")
    Server(bench, "nextcloud", "--lie").suite("--no-skip", "--test-case=webdav and liars*")


run(on_apache, on_nginx, on_rclone, on_nextcloud_stub)
