-- Rotation keeps the old secret in force for a while, and sidecars are told at once of what they hold in memory.

ALTER TABLE api_keys
    -- The secret before the last rotation, hashed, and until when it still opens.
    ADD COLUMN previous_hashed_key text UNIQUE,
    ADD COLUMN previous_expires_at timestamptz,
    ADD COLUMN rotated_at          timestamptz,
    ADD CONSTRAINT previous_ends CHECK (num_nonnulls(previous_hashed_key, previous_expires_at) IN (0, 2));

-- Tells on channel `bulkhead_TABLE` the id of each row that comes, changes or goes; an empty text stands for any row.
-- Callers' statements set it off, so the catalogue knows it by its text: a change of it takes a change there.
CREATE FUNCTION bulkhead_note_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    id_bytes_max CONSTANT pg_catalog.int4 := 1000;
    id pg_catalog.text;
BEGIN
    IF TG_OP OPERATOR(pg_catalog.=) 'TRUNCATE' THEN
        PERFORM pg_catalog.pg_notify(TG_ARGV[0], '');
        RETURN NULL;
    END IF;
    IF TG_OP OPERATOR(pg_catalog.<>) 'INSERT' THEN
        id := OLD.id;
        PERFORM pg_catalog.pg_notify(TG_ARGV[0],
            CASE WHEN pg_catalog.octet_length(id) OPERATOR(pg_catalog.<=) id_bytes_max THEN id ELSE '' END);
    END IF;
    IF TG_OP OPERATOR(pg_catalog.<>) 'DELETE' THEN
        id := NEW.id;
        PERFORM pg_catalog.pg_notify(TG_ARGV[0],
            CASE WHEN pg_catalog.octet_length(id) OPERATOR(pg_catalog.<=) id_bytes_max THEN id ELSE '' END);
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION bulkhead_note_change() FROM PUBLIC;

-- Not for `last_used_at`, which every sidecar writes again and again.
CREATE TRIGGER bulkhead_note_change
    AFTER INSERT OR DELETE OR UPDATE OF id, hashed_key, previous_hashed_key, previous_expires_at, user_id, role,
        expires_at, revoked_at
    ON api_keys FOR EACH ROW EXECUTE FUNCTION bulkhead_note_change('bulkhead_api_keys');
CREATE TRIGGER bulkhead_note_truncate AFTER TRUNCATE
    ON api_keys FOR EACH STATEMENT EXECUTE FUNCTION bulkhead_note_change('bulkhead_api_keys');
CREATE TRIGGER bulkhead_note_change AFTER INSERT OR UPDATE OR DELETE
    ON rate_limit_overrides FOR EACH ROW EXECUTE FUNCTION bulkhead_note_change('bulkhead_rate_limit_overrides');
CREATE TRIGGER bulkhead_note_truncate AFTER TRUNCATE
    ON rate_limit_overrides FOR EACH STATEMENT EXECUTE FUNCTION bulkhead_note_change('bulkhead_rate_limit_overrides');

-- Also where rows come by logical replication, which leaves other triggers out.
ALTER TABLE api_keys ENABLE ALWAYS TRIGGER bulkhead_note_change;
ALTER TABLE api_keys ENABLE ALWAYS TRIGGER bulkhead_note_truncate;
ALTER TABLE rate_limit_overrides ENABLE ALWAYS TRIGGER bulkhead_note_change;
ALTER TABLE rate_limit_overrides ENABLE ALWAYS TRIGGER bulkhead_note_truncate;
