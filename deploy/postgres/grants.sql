-- What the account that runs callers' statements may do in PostgreSQL. Run as the owner of the system tables, after
-- `bulkhead schema apply`, which gives the sidecar's own account what that needs:
--
--   bulkhead_owner   owns the tables, and is used to define them alone: `bulkhead schema apply --owner bulkhead_owner`
--   bulkhead_system  the sidecar's own connection: keys, audit, limits
--   bulkhead_app     runs callers' statements, within what the policy allows
--
-- `bulkhead policy grants` writes a narrower one, from the policy.

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO bulkhead_app;

GRANT SELECT, INSERT, UPDATE, DELETE
    ON api_keys, oauth2_tokens, sessions, system_config, rate_limit_overrides
    TO bulkhead_app;

-- Audit rows are added and read, never changed.
GRANT SELECT, INSERT ON audit_logs TO bulkhead_app;
