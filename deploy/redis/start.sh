#!/bin/sh
# Redis with a password. The password is in a file of memory and not among the arguments, which everybody can read.
# Further arguments go to redis-server.
set -eu

configuration="${REDIS_CONFIGURATION:-/tmp/redis.conf}"
umask 077
cat >"$configuration" <<CONF
requirepass ${REDIS_PASSWORD:?run make env}
dir ${REDIS_DIRECTORY:-/data}
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
CONF
# A queued task that was evicted or lost is found again only when Airflow adopts orphans: hence both settings above.
exec redis-server "$configuration" "$@"
