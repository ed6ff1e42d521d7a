#!/bin/sh
# SeaweedFS as one S3 server: signatures are checked, and only S3 listens to other machines. Two identities: the
# pipelines', and that of Milvus, which may use its own bucket and no other. Further arguments go to `weed server`.
set -eu

keys="${SEAWEED_KEYS:-/tmp/s3.json}"
umask 077
cat >"$keys" <<JSON
{"identities": [
  {"name": "pipelines",
   "credentials": [{"accessKey": "${S3_ACCESS_KEY:?run make env}", "secretKey": "${S3_SECRET_KEY:?run make env}"}],
   "actions": ["Admin", "Read", "Write", "List", "Tagging"]},
  {"name": "milvus",
   "credentials": [{"accessKey": "${MILVUS_S3_ACCESS_KEY:?run make env}", "secretKey": "${MILVUS_S3_SECRET_KEY:?run make env}"}],
   "actions": ["Read:milvus", "Write:milvus", "List:milvus", "Tagging:milvus"]}
]}
JSON
exec weed server -dir="${SEAWEED_DIRECTORY:-/data}" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
  -master.telemetry=false -master.electionTimeout=1s -master.volumeSizeLimitMB=1024 -volume.max=0 \
  -filer -s3 -s3.config="$keys" -s3.ip.bind=0.0.0.0 -s3.port.iceberg=0 -s3.port.lance=0 "$@"
