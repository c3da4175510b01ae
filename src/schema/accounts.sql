-- What the sidecar's own account (1) may do, and what that of callers' statements (2) needs beside the policy's grants.
GRANT USAGE ON SCHEMA public TO $1, $2;
GRANT SELECT, INSERT, UPDATE, DELETE ON api_keys, rate_limit_overrides TO $1;
GRANT SELECT ON refinery_schema_history TO $1;

-- Audit rows are added and read, never changed.
REVOKE ALL ON audit_logs, audit_chains, audit_seals, audit_spools FROM $1, $2;
GRANT SELECT, INSERT ON audit_logs TO $1;
GRANT INSERT ON audit_logs TO $2;
GRANT SELECT, INSERT ON audit_seals TO $1;
GRANT SELECT ON audit_chains TO $1;
GRANT SELECT, INSERT, UPDATE, DELETE ON audit_spools TO $1;
GRANT EXECUTE ON FUNCTION bulkhead_audit_partition(date) TO $1;
