#!/bin/sh
# Run once by PostgreSQL's image, on an empty volume: a role and a database each for Airflow and for the ledger.
# Passwords are made by `make env` and have letters, digits, - and _ only.
set -eu

make_database() {
  # The password comes by the environment: an argument would be readable by everybody who may see processes.
  ROLE_PASSWORD="$2" psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<SQL
\set role_name $1
\getenv role_password ROLE_PASSWORD
CREATE ROLE :"role_name" LOGIN PASSWORD :'role_password';
CREATE DATABASE :"role_name" OWNER :"role_name" TEMPLATE template0 ENCODING 'UTF8';
REVOKE ALL ON DATABASE :"role_name" FROM PUBLIC;
SQL
}

make_database airflow "${AIRFLOW_DB_PASSWORD:?}"
make_database ledger "${LEDGER_DB_PASSWORD:?}"
