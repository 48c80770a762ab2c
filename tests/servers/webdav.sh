#!/bin/bash
# webdav.sh KIND DIR [PORT]    a real WebDAV server over DIR/data, behind a password. KIND:
#   apache   mod_dav: the reference; properties, real ETags, a MOVE that removes what it overwrites
#   nginx    with dav_ext: no properties, no ETag in a PROPFIND; makes missing folders by itself
#   rclone   `rclone serve webdav`: no properties; an interrupted PUT leaves a partial file
# Listens on 127.0.0.1:PORT (default: a free one). Environment: DAV_USER (dav), DAV_PASSWORD (dav-password).
# Prints "READY endpoint=http://... user=... password=... kind=... pid=..." within seconds; the vault may lie below it.
# As root apache and nginx serve as www-data: the folders above DIR must let it pass.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# -ge 2 ] || { sed -n '2,8p' "$0" >&2; exit 2; }
KIND=$1
need curl openssl setpriv
mkdir -p "$2"
D=$(cd "$2" && pwd)
LOGS=$D/log
mkdir -p "$D"/{data,log,lock,tmp,empty}
if [ $# -ge 3 ]; then PORT=$3; else take_port_block; fi
U=${DAV_USER:-dav} PW=${DAV_PASSWORD:-dav-password}
printf '%s:%s\n' "$U" "$(openssl passwd -apr1 "$PW")" >"$D/users"
ME=$(id -un)
if [ "$ME" = root ] && [ "$KIND" != rclone ]; then
  ME=www-data
  chown "$ME" "$D" "$D"/{data,lock,tmp,log}
fi
GROUP=$(id -gn "$ME")

apache() {
  need apache2
  local modules=/usr/lib/apache2/modules m
  {
    cat <<CONF
ServerRoot "$D"
ServerName localhost
PidFile "$D/httpd.pid"
DefaultRuntimeDir "$D"
Mutex file:$D/lock
Listen 127.0.0.1:$PORT
User $ME
Group $GROUP
CONF
    for m in mpm_event alias authn_core authn_file authz_core authz_user auth_basic dav dav_fs dav_lock; do
      [ ! -f "$modules/mod_$m.so" ] || echo "LoadModule ${m}_module $modules/mod_$m.so"
    done
    cat <<CONF
ErrorLog "$D/log/error.log"
DavLockDB "$D/lock/DavLock"
DocumentRoot "$D/empty"
Alias /dav "$D/data"
KeepAlive On
Timeout 10
MaxKeepAliveRequests 0
LimitXMLRequestBody 0
<Directory "$D/data">
  Dav On
  AllowOverride None
  AuthType Basic
  AuthName dav
  AuthUserFile "$D/users"
  Require valid-user
</Directory>
CONF
  } >"$D/apache.conf"
  run apache apache2 -D FOREGROUND -f "$D/apache.conf"
}

nginx() {
  [ -x /usr/sbin/nginx ] || fail "nginx is not installed (packaging/packages.sh test)"
  local ext=/usr/lib/nginx/modules/ngx_http_dav_ext_module.so
  [ -f $ext ] || fail "libnginx-mod-http-dav-ext is not installed (packaging/packages.sh test)"
  cat >"$D/nginx.conf" <<CONF
load_module $ext;
$([ "$(id -u)" != 0 ] || echo "user $ME $GROUP;")
worker_processes 2;
daemon off;
pid $D/nginx.pid;
error_log $D/log/error.log warn;
events { worker_connections 512; }
http {
  access_log off;
  client_body_temp_path $D/tmp/body;
  proxy_temp_path $D/tmp/proxy; fastcgi_temp_path $D/tmp/fcgi; uwsgi_temp_path $D/tmp/uwsgi; scgi_temp_path $D/tmp/scgi;
  server {
    listen 127.0.0.1:$PORT;
    location /dav/ {
      alias $D/data/;
      client_max_body_size 0;
      create_full_put_path on;
      dav_access user:rw group:r all:r;
      dav_methods PUT DELETE MKCOL COPY MOVE;
      dav_ext_methods PROPFIND OPTIONS;
      auth_basic dav;
      auth_basic_user_file $D/users;
    }
  }
}
CONF
  run nginx /usr/sbin/nginx -p "$D" -e "$D/log/error.log" -c "$D/nginx.conf"
}

rclone_serve() {
  need rclone
  run rclone rclone serve webdav "$D/data" --config "$D/none" --addr "127.0.0.1:$PORT" --baseurl dav \
    --user "$U" --pass "$PW" --vfs-cache-mode off
}

case $KIND in
  apache | nginx) $KIND ;;
  rclone) rclone_serve ;;
  *) fail "no kind '$KIND' (apache, nginx, rclone)" ;;
esac

for _ in $(seq 200); do
  status=$(printf 'user = "%s:%s"\n' "$U" "$PW" | curl -s -K - -o "$D/.probe" -w '%{http_code}' -m 2 -X PROPFIND \
    -H 'Depth: 0' "http://127.0.0.1:$PORT/dav/") || :
  if [ "$status" = 207 ]; then
    echo "READY endpoint=http://127.0.0.1:$PORT/dav user=$U password=$PW kind=$KIND pid=$$"
    serve
  fi
  parent_lives || exit 0
  kill -0 "${PIDS[-1]}" 2>/dev/null || fail "$KIND died; see $LOGS"
  sleep 0.1
done
fail "$KIND did not answer; see $LOGS"
