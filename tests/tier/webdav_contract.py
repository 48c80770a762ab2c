#!/usr/bin/env python3
"""webdav_contract.py TEST_VAULT [TEST]: the vault's contract suite against real WebDAV servers, and what rclone makes of its objects."""
import os
import re
import subprocess
import sys

from harness import Failure, check, check_equal, clean_environment, need_programs, run
from webdav import WebDav
from wrong_name import wrong_name

TEST_VAULT = sys.argv.pop(1)
FAULTS = "webdav faults*"


def suite(server, *args, proxy=None, **more):
    env = clean_environment({"MEDIAFS_TEST_DAV_URL": server.url(), "MEDIAFS_TEST_DAV_KIND": server.kind,
                             "MEDIAFS_TEST_DAV_USER": server.user, "MEDIAFS_TEST_DAV_PASSWORD": server.password, **more})
    if proxy:
        env.update(MEDIAFS_TEST_DAV_PROXY=proxy.endpoint, MEDIAFS_TEST_DAV_PROXY_CONTROL=proxy._control)
    done = subprocess.run([TEST_VAULT, *args], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", check=False, timeout=480)
    if done.returncode or "skipped:" in done.stdout:
        raise Failure("test_vault %s on %s ended with %d:\n%s" % (" ".join(args), server.kind, done.returncode, done.stdout))
    if server.password in done.stdout:
        raise Failure("the password stands in the output:\n" + done.stdout)
    for line in sorted(set(re.findall(r"left out: .*", done.stdout))):
        print(line)
    return int(re.search(r"test cases: *(\d+)", done.stdout).group(1))


def contract(server, *left_out, proxy=None, **more):
    count = suite(server, "--test-case=*DavSubject*", "--test-case-exclude=" + ",".join(["child*", *left_out]), proxy=proxy, **more)
    check(count >= 25, "only %d tests ran" % count)


def on_apache(bench):
    need_programs("rclone")
    server = WebDav(bench, "apache")
    tls, certificate = wrong_name(bench)
    contract(server, proxy=bench.proxy(server.address), MEDIAFS_TEST_TLS=tls, MEDIAFS_TEST_TLS_CA=certificate)
    # The vault is plain files: any client reads it, and what a client puts there is read.
    ran = suite(server, "--no-skip", "--test-case=webdav and other clients: write*", MEDIAFS_TEST_CHILD="dav/for others")
    check_equal(ran, 1, "tests")
    there = server.rclone("lsf", "-R", "--files-only", "--exclude", "/.mediafs/**", "dav:for others").decode().split("\n")
    check_equal(sorted(there), ["", "copied", "empty", "large", "small + %41/ü.mkv"], "rclone's listing")
    check_equal(server.rclone("cat", "dav:for others/large"), server.rclone("cat", "dav:for others/copied"), "the copy's bytes")
    theirs = os.path.join(bench.folder("rclone"), "f + %41")
    with open(theirs, "w") as file:
        file.write("theirs")
    server.rclone("copyto", theirs, "dav:for others/theirs/f + %41")
    ran = suite(server, "--no-skip", "--test-case=webdav and other clients: read*", MEDIAFS_TEST_CHILD="dav/for others")
    check_equal(ran, 1, "tests")


def on_nginx(bench):
    contract(WebDav(bench, "nginx"), FAULTS)


def on_rclone(bench):
    contract(WebDav(bench, "rclone"), FAULTS)


def on_nextcloud_stub(bench):
    stub = WebDav(bench, "nextcloud")
    contract(stub, FAULTS)
    joined = [path for method, path in stub.requests() if method == "MOVE" and path.endswith("/.file")]
    check(len(joined) >= 5, "only %d uploads went in pieces" % len(joined))
    # One that refuses every MOVE onto a file: the old object steps aside.
    suite(WebDav(bench, "nextcloud", "--never-overwrite"),
          "--test-case=*metadata*DavSubject*,*another version*DavSubject*,*must be new*DavSubject*,*checksummed*DavSubject*")
    suite(WebDav(bench, "nextcloud", "--lie"), "--no-skip", "--test-case=webdav and liars*")


run(on_apache, on_nginx, on_rclone, on_nextcloud_stub)
