#!/bin/sh
# Makes Trueup's database and its logins, once, when the PostgreSQL of compose.yaml is new.
#
# trueup_owner owns the tables and is used by `trueup db upgrade` alone. The workers' login holds the role
# trueup_worker, which may not alter what the audit chain says. Logins and passwords are those of the secret URLs.
set -eu
secrets=${TRUEUP_INIT_SECRETS:-/run/secrets}

part() { # owner_database_url | database_url, and which part of postgresql://1:2@...
    sed -n "s|^postgresql://\([A-Za-z0-9_]*\):\([A-Za-z0-9_-]\{1,\}\)@.*|\\$2|p" "$secrets/$1"
}

owner=$(part owner_database_url 1)
worker=$(part database_url 1)
if [ -z "$owner" ] || [ -z "$worker" ] || [ "$owner" = "$worker" ]; then
    echo "owner_database_url and database_url have to be postgresql://login:password@postgres:5432/trueup, with two" \
        "logins, and passwords of letters, digits, - and _ only." >&2
    exit 1
fi

# Passwords go through psql's variables, so that they stand in no list of processes.
OWNER_PASSWORD=$(part owner_database_url 2) WORKER_PASSWORD=$(part database_url 2) \
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set owner="$owner" --set worker="$worker" \
    --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv owner_password OWNER_PASSWORD
\getenv worker_password WORKER_PASSWORD
CREATE ROLE :"owner" LOGIN PASSWORD :'owner_password';
CREATE ROLE trueup_worker NOLOGIN;
CREATE ROLE :"worker" LOGIN PASSWORD :'worker_password' IN ROLE trueup_worker;
-- PostgreSQL's built-in locale sorts the same in every image.
CREATE DATABASE trueup OWNER :"owner" TEMPLATE template0 ENCODING 'UTF8'
    LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C';
REVOKE ALL ON DATABASE trueup FROM PUBLIC;
GRANT CONNECT ON DATABASE trueup TO trueup_worker;
SQL
