#!/bin/bash
# radosgw.sh DIR [PORT]    a real, strict S3 server: Ceph's gateway over a one-node cluster of its own (1 mon, 1 osd).
# Listens on 127.0.0.1:PORT (default: a free one; PORT+1 to PORT+40 are used too). State and logs are in DIR.
# Environment: S3_ACCESS_KEY (test), S3_SECRET_KEY (testing), STORE_SIZE in bytes (10 GiB; sparse),
#              STORE: memstore (default: RAM, forgotten at the end) or bluestore (a file; kept if DIR and PORT are the same again).
# Prints "READY endpoint=... access_key=... secret_key=... region=... pid=..." after 5 to 20 s.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# -ge 1 ] || { sed -n '2,6p' "$0" >&2; exit 2; }
need ceph-mon ceph-osd radosgw radosgw-admin monmaptool ceph uuidgen curl setpriv
mkdir -p "$1"
D=$(cd "$1" && pwd)
LOGS=$D/log
mkdir -p "$D"/{log,mon,osd,rgw}
if [ $# -ge 2 ]; then PORT=$2; else take_port_block; fi
AK=${S3_ACCESS_KEY:-test} SK=${S3_SECRET_KEY:-testing} STORE=${STORE:-memstore} SIZE=${STORE_SIZE:-10737418240}
[ "$STORE" != memstore ] || PATIENCE=2 # there is nothing to save
[ -f "$D/fsid" ] || uuidgen >"$D/fsid"
FSID=$(cat "$D/fsid")
export CEPH_CONF=$D/ceph.conf CEPH_ARGS=

cat >"$CEPH_CONF" <<CONF
[global]
fsid = $FSID
mon_host = [v2:127.0.0.1:$((PORT + 1)),v1:127.0.0.1:$((PORT + 2))]
mon_initial_members = a
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_port_min = $((PORT + 10))
ms_bind_port_max = $((PORT + 40))
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_mon_client_mode = crc
keyring = $D/keyring
log_to_stderr = true
err_to_stderr = true
log_file =
mon_cluster_log_file =
admin_socket =
run_dir = $D
crash_dir = $LOGS
mon_data = $D/mon
osd_data = $D/osd
rgw_data = $D/rgw
mon_allow_pool_size_one = true
mon_warn_on_insecure_global_id_reclaim_allowed = false
mon_data_avail_crit = 1
mon_osd_full_ratio = .99
mon_max_pg_per_osd = 1000
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_fast_shutdown_notify_mon = false
osd_objectstore = $STORE
osd_memory_target = 939524096
osd_max_object_name_len = 2048
bluestore_block_size = $SIZE
memstore_device_bytes = $SIZE
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:$PORT tcp_nodelay=1
rgw_enable_usage_log = false
rgw_override_bucket_index_max_shards = 1
rgw_dynamic_resharding = false
rgw_gc_obj_min_wait = 60
rgw_thread_pool_size = 64
CONF
touch "$D/keyring"

step() { # COMMAND...: a step of the set-up; its output is in setup.log
  echo "+ $*" >>"$LOGS/setup.log"
  timeout 100 "$@" >>"$LOGS/setup.log" 2>&1 </dev/null &
  wait $! || fail "'$1' failed: $(tail -n 2 "$LOGS/setup.log" | tr '\n' ' ')(all of it: $LOGS)"
}

if [ ! -d "$D/mon/store.db" ]; then
  step monmaptool --create --clobber --addv a "[v2:127.0.0.1:$((PORT + 1)),v1:127.0.0.1:$((PORT + 2))]" --fsid "$FSID" "$D/monmap"
  step ceph-mon --mkfs -i a --monmap "$D/monmap"
fi
run mon ceph-mon -i a -f
if [ ! -f "$D/osd.uuid" ] || { [ "$STORE" = memstore ] && [ ! -f "$D/osd/fsid" ]; }; then
  uuidgen >"$D/osd.uuid"
  step ceph osd new "$(cat "$D/osd.uuid")" 0
  step ceph-osd -i 0 --mkfs --osd-uuid "$(cat "$D/osd.uuid")" --no-mon-config
fi
run osd ceph-osd -i 0 -f
run rgw radosgw -n client.rgw -f
radosgw-admin -n client.rgw user info --access-key "$AK" >>"$LOGS/setup.log" 2>&1 </dev/null ||
  step radosgw-admin -n client.rgw user create --uid test --display-name test --access-key "$AK" --secret-key "$SK"

for _ in $(seq 300); do
  if curl -s -o "$D/.probe" -m 2 "http://127.0.0.1:$PORT/"; then
    echo "READY endpoint=http://127.0.0.1:$PORT access_key=$AK secret_key=$SK region=us-east-1 pid=$$"
    serve
  fi
  parent_lives || exit 0
  kill -0 "${PIDS[-1]}" 2>/dev/null || fail "radosgw died; see $LOGS"
  sleep 0.2
done
fail "radosgw did not answer; see $LOGS"
