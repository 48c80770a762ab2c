"""`cmake --install` puts the program, the mount helpers where mount(8) looks, and a unit that starts that very program."""
import os
import subprocess
import sys
import tempfile

from harness import check, check_equal, clean_environment


def installed(cmake, build, prefix):
    root = tempfile.mkdtemp(prefix="mediafs-install-")
    subprocess.run([cmake, "--install", build, "--prefix", prefix], check=True, stdout=subprocess.DEVNULL,
                   env=clean_environment({"DESTDIR": root}))
    return root


def main():
    cmake, build = sys.argv[1:]
    for prefix, sbin in (("/usr/local", os.path.realpath("/sbin")), ("/opt/mediafs", "/opt/mediafs/sbin")):
        root = installed(cmake, build, prefix)
        check(os.access(root + prefix + "/bin/mediafs", os.X_OK), "the program")
        for helper in ("mount.mediafs", "mount.fuse.mediafs"):
            check_equal(os.readlink(root + sbin + "/" + helper), prefix + "/bin/mediafs", helper)
        with open(root + prefix + "/lib/systemd/system/mediafs.service") as file:
            unit = file.read()
        check("ExecStart=%s/bin/mediafs mount -f -c" % prefix in unit, unit)
        check("Type=notify" in unit, unit)
        subprocess.run(["rm", "-r", root], check=True)


if __name__ == "__main__":
    main()
