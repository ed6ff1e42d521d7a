#!/bin/sh
# Everything that Airflow needs before its first component starts. Runs at every `docker compose up`: databases are
# brought up to date, users that exist stay as they are, pools get the slots that .env says.
set -eu

airflow db migrate
python -m include.deployment.airflow_users
airflow pools set etl_embed "${EMBED_POOL_SLOTS:-8}" "embed tasks at a time, over all workers"
airflow pools set etl_sync "${SYNC_POOL_SLOTS:-4}" "sync tasks at a time, over all workers"
etl ledger upgrade
