#!/usr/bin/env python3
"""with_servers.py [--proxy] COMMAND...: runs a command with a radosgw, for tests that are no Python.

It finds in its environment: MEDIAFS_TEST_S3_ENDPOINT, MEDIAFS_TEST_S3_ACCESS_KEY, MEDIAFS_TEST_S3_SECRET_KEY,
MEDIAFS_TEST_S3_REGION; with --proxy also MEDIAFS_TEST_S3_PROXY (the same store behind a fault proxy) and
MEDIAFS_TEST_S3_PROXY_CONTROL (its control address). Ends with the command's exit status, or 77 where no radosgw can run.
"""
import os
import subprocess
import sys

from harness import SKIPPED, Bench, Failure, Skip


def main():
    args = sys.argv[1:]
    with_proxy = args[:1] == ["--proxy"]
    command = args[1:] if with_proxy else args
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    bench = Bench("with-servers")
    try:
        s3 = bench.radosgw()
        env = dict(os.environ, MEDIAFS_TEST_S3_ENDPOINT=s3.endpoint, MEDIAFS_TEST_S3_ACCESS_KEY=s3.access_key,
                   MEDIAFS_TEST_S3_SECRET_KEY=s3.secret_key, MEDIAFS_TEST_S3_REGION=s3.region)
        if with_proxy:
            proxy = bench.proxy(s3.endpoint)
            env.update(MEDIAFS_TEST_S3_PROXY=proxy.endpoint, MEDIAFS_TEST_S3_PROXY_CONTROL=proxy._control)
        status = subprocess.run(command, env=env, check=False).returncode
        return status if status >= 0 else 128 - status
    except Skip as why:
        print("skipped: %s" % why)
        return SKIPPED
    except Failure as error:
        print("with_servers: %s" % error, file=sys.stderr)
        return 1
    finally:
        bench.close()


if __name__ == "__main__":
    sys.exit(main())
