"""A real WebDAV server under test, or the Nextcloud stand-in: WebDav(bench, "apache" | "nginx" | "rclone" | "nextcloud")."""
import json
import os
import subprocess
import sys
import urllib.request

from harness import SERVERS, Process, clean_environment, need_programs, skip

NGINX_MODULE = "/usr/lib/nginx/modules/ngx_http_dav_ext_module.so"


class WebDav:
    def __init__(self, bench, kind, *flags):
        os.chmod(bench.dir, 0o755)  # apache and nginx serve as another user
        self.bench, self.kind, self.folder = bench, kind, os.path.join(bench.dir, bench.unique(kind))
        if kind == "nextcloud":
            argv = [sys.executable, os.path.join(SERVERS, "nextcloud_stub.py"), *flags]
        else:
            need_programs("curl", "openssl", "setpriv", *{"apache": ["apache2"], "rclone": ["rclone"]}.get(kind, []))
            if kind == "nginx" and not os.path.exists(NGINX_MODULE):
                skip("libnginx-mod-http-dav-ext is not installed (packaging/packages.sh test)")
            argv = [os.path.join(SERVERS, "webdav.sh"), kind, self.folder]
        name = bench.unique("webdav-" + kind)
        self.process = Process(bench, name, argv, ready="READY", bound=60)
        self.endpoint, self.user, self.password = (self.process.values[key] for key in ("endpoint", "user", "password"))
        self.address = self.endpoint.split("/")[2]
        self.data = os.path.join(self.folder, "data")  # not of the stand-in

    def url(self, folder="", proxy=None):
        """As vault.url, perhaps through a fault proxy."""
        endpoint = self.endpoint
        if proxy:
            endpoint = endpoint.replace(self.address, proxy.endpoint.split("/")[2])
        return endpoint.replace("http", "webdav", 1) + ("/" + folder if folder else "")

    def vault(self, folder, proxy=None, **more):
        """The [vault] section for this server."""
        path = os.path.join(self.bench.dir, "webdav.credentials")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write('user = "%s"\npassword = "%s"\n' % (self.user, self.password))
        return {"url": self.url(folder, proxy), "credentials": path, **more}

    def requests(self):
        """[[method, path], ...]; the stand-in's only."""
        url = "http://%s/requests" % self.address
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
            return json.load(answer)

    def rclone(self, *args):
        """rclone ARGS; the server is the remote `dav:`. Returns its standard output as bytes."""
        obscured = subprocess.run(["rclone", "obscure", "-"], input=self.password, check=True, capture_output=True, text=True)
        env = clean_environment({"RCLONE_CONFIG": "", "RCLONE_CONFIG_DAV_TYPE": "webdav", "RCLONE_CONFIG_DAV_VENDOR": "other",
                                 "RCLONE_CONFIG_DAV_URL": self.endpoint, "RCLONE_CONFIG_DAV_USER": self.user,
                                 "RCLONE_CONFIG_DAV_PASS": obscured.stdout.strip()})
        return subprocess.run(["rclone", "--retries", "1", *args], env=env, check=True, capture_output=True).stdout
