#!/bin/sh
# Runs once, when the volume is empty: the two accounts of the sidecar, each with a password of its own, and the owner of
# the system tables, as whom nobody logs in. bulkhead_system is the sidecar's own; bulkhead_app runs callers' statements.
set -eu
psql -v ON_ERROR_STOP=1 -v system="$(cat /run/secrets/postgres_system_password)" \
  -v app="$(cat /run/secrets/postgres_app_password)" -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
CREATE ROLE bulkhead_owner NOLOGIN;
CREATE ROLE bulkhead_system LOGIN PASSWORD :'system';
CREATE ROLE bulkhead_app LOGIN PASSWORD :'app' NOSUPERUSER NOCREATEDB NOCREATEROLE;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO bulkhead_owner;
GRANT USAGE ON SCHEMA public TO bulkhead_app;
ALTER DEFAULT PRIVILEGES FOR ROLE bulkhead_owner IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO bulkhead_app;
ALTER DEFAULT PRIVILEGES FOR ROLE bulkhead_owner IN SCHEMA public
  GRANT USAGE ON SEQUENCES TO bulkhead_app;
SQL
