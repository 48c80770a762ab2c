#!/usr/bin/env python3
"""s3_large.py TEST_VAULT GIB: a sparse file of that size goes up in parts, in bounded memory, to a server that forgets."""
import os
import re
import subprocess
import sys

from harness import Failure, check, check_equal, clean_environment, run
from s3_sink import Sink

TEST_VAULT, GIB = sys.argv.pop(1), int(sys.argv.pop(1))
MEMORY_MIB = 256
PART = 16 << 20


def large(bench):
    sink = Sink()
    path = os.path.join(bench.dir, "sparse")
    with open(path, "wb") as file:
        file.truncate((GIB << 30) + 1)  # the last part is one byte
        file.write(b"begin")
        file.seek((GIB << 30) // 2)
        file.write(b"middle")
    env = clean_environment({"MEDIAFS_TEST_S3_ENDPOINT": sink.endpoint, "MEDIAFS_TEST_S3_ACCESS_KEY": "a",
                             "MEDIAFS_TEST_S3_SECRET_KEY": "b", "MEDIAFS_TEST_S3_REGION": "us-east-1",
                             "MEDIAFS_TEST_FILM": path})
    done = subprocess.run([TEST_VAULT, "--no-skip", "--test-case=child: a large file"], env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    if done.returncode:
        raise Failure(done.stdout)
    peak = int(re.search(r"peak_kib=(\d+)", done.stdout).group(1)) >> 10
    check(peak < MEMORY_MIB, "%d MiB of memory" % peak)
    check_equal(sink.faults, [], "the server's complaints")
    check_equal(sink.uploads, {}, "unfinished uploads")
    check_equal([(entry["size"], entry["parts"]) for entry in sink.objects.values()],
                [((GIB << 30) + 1, [PART] * ((GIB << 30) // PART) + [1])], "objects and their parts")
    check_equal(sink.parts_sent, (GIB << 30) // PART + 1, "parts that were sent")
    print("%d GiB in %d parts, %d MiB of memory" % (GIB, sink.parts_sent, peak))
    sink.close()


run(large)
