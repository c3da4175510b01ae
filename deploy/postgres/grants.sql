-- What the sidecar's two PostgreSQL accounts may do. Run as the owner of the system tables, after
-- `bulkhead schema apply`:
--
--   bulkhead_system  the sidecar's own connection: keys, audit, limits; owns the tables
--   bulkhead_app     runs callers' statements, within what the policy allows
--
-- Both must exist (CREATE ROLE … LOGIN PASSWORD …), each with a password of its own.

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO bulkhead_app;

GRANT SELECT, INSERT, UPDATE, DELETE
    ON api_keys, oauth2_tokens, sessions, system_config, rate_limit_overrides
    TO bulkhead_app;

-- Audit rows are added and read, never changed: not by callers, and not by a slip of our own.
REVOKE ALL ON audit_logs FROM bulkhead_app;
GRANT SELECT, INSERT ON audit_logs TO bulkhead_app;
REVOKE UPDATE, DELETE, TRUNCATE ON audit_logs FROM CURRENT_USER;
