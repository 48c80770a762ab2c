#!/usr/bin/env python3
"""s3_contract.py TEST_VAULT [kills]: the vault's contract suite against a real radosgw, and what rclone makes of its objects.

kills: instead, an upload of 2 GiB that is killed ten times."""
import os
import re
import subprocess
import sys

from harness import Failure, check, check_equal, clean_environment, run
from wrong_name import wrong_name

PREFIX = "for rclone"
BUCKET = "mediafs-contract"
TEST_VAULT = sys.argv.pop(1)


def suite(s3, proxy, *args, **more):
    env = clean_environment({"MEDIAFS_TEST_S3_ENDPOINT": s3.endpoint, "MEDIAFS_TEST_S3_ACCESS_KEY": s3.access_key,
                             "MEDIAFS_TEST_S3_SECRET_KEY": s3.secret_key, "MEDIAFS_TEST_S3_REGION": s3.region,
                             "MEDIAFS_TEST_S3_PROXY": proxy.endpoint, "MEDIAFS_TEST_S3_PROXY_CONTROL": proxy._control,
                             "MEDIAFS_TEST_CHILD": PREFIX, **more})
    done = subprocess.run([TEST_VAULT, *args], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", check=False, timeout=480)
    if done.returncode or "skipped:" in done.stdout:
        raise Failure("test_vault %s ended with %d:\n%s" % (" ".join(args), done.returncode, done.stdout))
    return int(re.search(r"test cases: *(\d+)", done.stdout).group(1))


def contract(bench):
    s3 = bench.radosgw()
    proxy = bench.proxy(s3.endpoint)
    tls, certificate = wrong_name(bench)
    count = suite(s3, proxy, "--test-case=*S3Subject*", "--test-case-exclude=child*", MEDIAFS_TEST_TLS=tls,
                  MEDIAFS_TEST_TLS_CA=certificate)
    check(count >= 20, "only %d tests ran" % count)

    suite(s3, proxy, "--no-skip", "--test-case=rclone: write*")
    listed = s3.objects(BUCKET, PREFIX)
    wanted = {"small + %41/ü.mkv": (10, "2023-11-14T22:13:20.123456789Z"), "empty": (0, "2001-09-09T01:46:40.000000000Z"),
              "large": (15728641, "2020-09-13T12:26:40.500000000Z"), "copied": (15728641, "2017-07-14T02:40:00.000000001Z")}
    check_equal({path: (entry["Size"], entry["ModTime"]) for path, entry in listed.items()}, wanted, "rclone's listing")
    check_equal(s3.read(BUCKET, PREFIX + "/large"), s3.read(BUCKET, PREFIX + "/copied"), "the copy's bytes")

    theirs = os.path.join(bench.folder("rclone"), "f + %41")
    with open(theirs, "w") as file:
        file.write("theirs")
    os.utime(theirs, ns=(1234567890123456789, 1234567890123456789))
    s3.rclone("copyto", theirs, "s3:%s/%s/theirs/f + %%41" % (BUCKET, PREFIX))
    suite(s3, proxy, "--no-skip", "--test-case=rclone: read*")


def kills(bench):
    s3 = bench.radosgw()
    suite(s3, bench.proxy(s3.endpoint), "--test-case=s3 resume*again and again*", MEDIAFS_TEST_UPLOAD_MIB="2048",
          MEDIAFS_TEST_KILLS="10")


if not sys.argv[1:]:
    sys.argv.append("contract")
run(contract, kills)
