"""`mediafs verify` over a plain directory: files that vanish while it looks."""
import hashlib
import json
import os
import subprocess
import sys
import tempfile

from harness import check, check_equal


def main():
    with tempfile.TemporaryDirectory() as folder:
        for name in ("stays.mkv", "vanishes.mkv"):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(name.encode())
        with open(os.path.join(folder, ".stays.mkv.sha1"), "w") as file:
            file.write(hashlib.sha1(b"stays.mkv").hexdigest() + "\n")
        # A pipe as its sidecar says when it is read: the walk is over then, and the file not yet open.
        pipe = os.path.join(folder, ".vanishes.mkv.sha1")
        os.mkfifo(pipe)
        verify = subprocess.Popen([os.environ["MEDIAFS_TEST_BINARY"], "verify", "--json", folder],
                                  stdout=subprocess.PIPE, text=True)
        with open(pipe, "w") as file:
            os.unlink(os.path.join(folder, "vanishes.mkv"))
            file.write(hashlib.sha1(b"vanishes.mkv").hexdigest() + "\n")
        out, _ = verify.communicate(timeout=60)
        report = json.loads(out)
        check_equal(verify.returncode, 0, "exit status")
        check_equal(report["files"], 1, "files verified")
        check_equal(report["bad"], [], "bad files")
        check_equal([os.path.basename(entry["path"]) for entry in report["gone"]], ["vanishes.mkv"], "files gone")
        typo = subprocess.run([os.environ["MEDIAFS_TEST_BINARY"], "verify", folder + "/typo"],
                              stderr=subprocess.PIPE, check=False)
        check(typo.returncode == 1, "a name that is not there is an error")


if __name__ == "__main__":
    sys.exit(main())
