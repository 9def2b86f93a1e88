#!/bin/sh
# Makes etcd ask who is there: `root` may do everything, `coordinator` may read and write below one prefix. Once, on an etcd that
# asks nobody yet, with etcdctl 3.4 or later:
#
#   ETCDCTL_ENDPOINTS=http://etcd:2379 FARM_ETCD_ROOT_PASSWORD=… FARM_ETCD_PASSWORD=… deploy/etcd/users.sh [PREFIX]
#
# ETCDCTL_CACERT, ETCDCTL_CERT and ETCDCTL_KEY where it speaks TLS. Coordinators then need `user = "coordinator"` in [etcd], and
# FARM_ETCD_PASSWORD. Backups need root.
set -eu
prefix=${1:-/farm}
: "${FARM_ETCD_ROOT_PASSWORD:?}" "${FARM_ETCD_PASSWORD:?}"
export ETCDCTL_API=3

# Passwords go in by standard input: arguments can be seen by others.
printf '%s\n' "$FARM_ETCD_ROOT_PASSWORD" | etcdctl user add root --interactive=false
printf '%s\n' "$FARM_ETCD_PASSWORD" | etcdctl user add coordinator --interactive=false
etcdctl role add farm
etcdctl role grant-permission farm --prefix readwrite "$prefix/"
etcdctl user grant-role coordinator farm
etcdctl user grant-role root root 2>/dev/null || { etcdctl role add root && etcdctl user grant-role root root; }
etcdctl auth enable
