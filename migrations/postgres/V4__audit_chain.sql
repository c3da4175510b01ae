-- Audit rows form chains of hashes, are kept by month, and are never changed.

ALTER TABLE audit_logs RENAME TO audit_logs_unchained;
ALTER TABLE audit_logs_unchained DROP CONSTRAINT audit_logs_pkey, DROP CONSTRAINT audit_logs_decision_check;
DROP INDEX audit_logs_occurred_at, audit_logs_user_id, audit_logs_key_id;

CREATE SEQUENCE audit_logs_id;

-- What stands in a row is said in docs/audit.md. `id`, `sidecar` (the session's application_name), `account` and the chain
-- are the trigger's alone.
CREATE TABLE audit_logs (
    id            bigint NOT NULL,
    recorded_at   timestamptz NOT NULL DEFAULT now(),
    occurred_at   timestamptz NOT NULL DEFAULT now(),
    sidecar       text,
    account       text NOT NULL,
    user_id       text,
    key_id        text,
    role          text,
    action        text NOT NULL,
    resource_type text,
    metadata      jsonb,
    store         text,
    objects       text[] NOT NULL DEFAULT '{}' CHECK (array_ndims(objects) = 1 OR cardinality(objects) = 0),
    decision      text CHECK (decision IN ('allow', 'deny')),
    code          text,
    statement     text,
    fingerprint   text,
    rows_affected bigint,
    duration_us   bigint,
    request_id    text,
    trace_id      text,
    event_id      uuid,
    phase         text CHECK (phase IN ('intent', 'outcome')),
    chain         bigint NOT NULL,
    seq           bigint NOT NULL,
    prev_hash     bytea NOT NULL,
    hash          bytea NOT NULL,
    PRIMARY KEY (id, recorded_at),
    CONSTRAINT audit_logs_place UNIQUE (chain, seq, recorded_at)
) PARTITION BY RANGE (recorded_at);

CREATE INDEX audit_logs_occurred_at ON audit_logs (occurred_at);
CREATE INDEX audit_logs_user_id ON audit_logs (user_id, occurred_at);
CREATE INDEX audit_logs_key_id ON audit_logs (key_id, occurred_at);
CREATE INDEX audit_logs_role ON audit_logs (role, occurred_at);
CREATE INDEX audit_logs_request_id ON audit_logs (request_id);
CREATE INDEX audit_logs_trace_id ON audit_logs (trace_id);
CREATE INDEX audit_logs_event_id ON audit_logs (event_id);
CREATE INDEX audit_logs_action ON audit_logs (action, occurred_at);
CREATE INDEX audit_logs_code ON audit_logs (code, occurred_at) WHERE code IS NOT NULL;
-- Each is `ACTION:OBJECT`.
CREATE INDEX audit_logs_objects ON audit_logs USING gin (objects);

-- The last row of each chain. A chain has one session at a time, which has one transaction at a time.
CREATE TABLE audit_chains (
    chain bigint PRIMARY KEY,
    seq   bigint NOT NULL,
    hash  bytea NOT NULL
) WITH (fillfactor = 50);

-- Heads of the chains that moved, together, at intervals; each seal holds the hash of the one before.
CREATE TABLE audit_seals (
    seal      bigint PRIMARY KEY,
    sealed_at timestamptz NOT NULL,
    sidecar   text,
    chains    bigint[] NOT NULL,
    seqs      bigint[] NOT NULL,
    hashes    bytea[] NOT NULL,
    prev_hash bytea NOT NULL,
    hash      bytea NOT NULL,
    key_id    text,
    signature bytea,
    CHECK (cardinality(chains) = cardinality(seqs) AND cardinality(chains) = cardinality(hashes))
);

-- How far each sidecar's spool is in the table, so that each of its events gets there once.
CREATE TABLE audit_spools (
    spool      text PRIMARY KEY,
    position   bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Chains a row: its place, and the hash of the row before and of all that it says. Its owner writes the heads, so that
-- whoever inserts needs INSERT on `audit_logs` alone. Callers' statements set it off, so the catalogue knows it by its text.
CREATE FUNCTION bulkhead_audit_chain() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    whole text;
BEGIN
    IF NEW.recorded_at <> now() THEN
        RAISE EXCEPTION 'recorded_at is set by the database: leave it out' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.action LIKE 'audit.%' AND NOT pg_has_role(session_user,
        (SELECT relowner FROM pg_class WHERE oid = 'public.audit_logs'::regclass), 'MEMBER') THEN
        RAISE EXCEPTION 'actions named audit.… are for the owner of audit_logs' USING ERRCODE = 'insufficient_privilege';
    END IF;
    NEW.id := nextval('public.audit_logs_id');
    NEW.sidecar := nullif(current_setting('application_name'), '');
    NEW.account := session_user;
    NEW.chain := pg_backend_pid();
    -- Locked, since a prepared transaction outlives its session, and another may have its number.
    SELECT seq + 1, hash INTO NEW.seq, NEW.prev_hash FROM public.audit_chains WHERE chain = NEW.chain FOR UPDATE;
    IF NOT FOUND THEN
        NEW.seq := 1;
        NEW.prev_hash := decode(repeat('00', 32), 'hex');
    END IF;
    whole := json_build_array(
        NEW.id, (extract(epoch FROM NEW.recorded_at) * 1000000)::bigint,
        (extract(epoch FROM NEW.occurred_at) * 1000000)::bigint, NEW.sidecar, NEW.account, NEW.user_id, NEW.key_id,
        NEW.role, NEW.action, NEW.resource_type, NEW.metadata, NEW.store, NEW.objects, NEW.decision, NEW.code,
        NEW.statement, NEW.fingerprint, NEW.rows_affected, NEW.duration_us, NEW.request_id, NEW.trace_id, NEW.event_id,
        NEW.phase, NEW.chain, NEW.seq)::text;
    -- A short number may have a long text, and whoever reads the trail would pay for it again and again.
    IF octet_length(whole) > 262144 THEN
        RAISE EXCEPTION 'an audit row has at most 256 KiB' USING ERRCODE = 'program_limit_exceeded';
    END IF;
    NEW.hash := sha256(NEW.prev_hash || convert_to(whole, 'UTF8'));
    INSERT INTO public.audit_chains (chain, seq, hash) VALUES (NEW.chain, NEW.seq, NEW.hash)
        ON CONFLICT (chain) DO UPDATE SET seq = excluded.seq, hash = excluded.hash;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION bulkhead_audit_chain() FROM PUBLIC;

CREATE FUNCTION bulkhead_audit_refuse() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'audit rows are never changed: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;
REVOKE ALL ON FUNCTION bulkhead_audit_refuse() FROM PUBLIC;

CREATE TRIGGER bulkhead_audit_chain BEFORE INSERT ON audit_logs
    FOR EACH ROW EXECUTE FUNCTION bulkhead_audit_chain();
CREATE TRIGGER bulkhead_audit_refuse BEFORE UPDATE OR DELETE ON audit_logs
    FOR EACH ROW EXECUTE FUNCTION bulkhead_audit_refuse();
CREATE TRIGGER bulkhead_audit_refuse_truncate BEFORE TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION bulkhead_audit_refuse();
CREATE TRIGGER bulkhead_audit_refuse BEFORE UPDATE OR DELETE ON audit_seals
    FOR EACH ROW EXECUTE FUNCTION bulkhead_audit_refuse();
CREATE TRIGGER bulkhead_audit_refuse_truncate BEFORE TRUNCATE ON audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION bulkhead_audit_refuse();
ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER bulkhead_audit_chain;
ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER bulkhead_audit_refuse;
ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER bulkhead_audit_refuse_truncate;
ALTER TABLE audit_seals ENABLE ALWAYS TRIGGER bulkhead_audit_refuse;
ALTER TABLE audit_seals ENABLE ALWAYS TRIGGER bulkhead_audit_refuse_truncate;

-- Takes a table's privileges from all but its owner: default privileges may have given some.
CREATE FUNCTION bulkhead_audit_own(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    holder oid;
BEGIN
    FOR holder IN SELECT DISTINCT a.grantee FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.oid = relation AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', relation,
            CASE WHEN holder = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(holder)) END);
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION bulkhead_audit_own(regclass) FROM PUBLIC;

-- Makes the partition of a month (UTC) where it is not there: `audit_logs_2026_11`. False where it was.
CREATE FUNCTION bulkhead_audit_partition(month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    first date := date_trunc('month', month);
    name  text := 'audit_logs_' || to_char(first, 'YYYY_MM');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('bulkhead_audit_partition'));
    IF to_regclass('public.' || name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE public.%I (LIKE public.audit_logs INCLUDING ALL)', name);
    PERFORM public.bulkhead_audit_own(('public.' || name)::regclass);
    -- Attached, since making it in place would wait for every transaction that writes.
    EXECUTE format('ALTER TABLE public.audit_logs ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', name,
        first::text || ' 00:00:00+00', (first + interval '1 month')::date::text || ' 00:00:00+00');
    EXECUTE format('CREATE TRIGGER bulkhead_audit_refuse_truncate BEFORE TRUNCATE ON public.%I
        FOR EACH STATEMENT EXECUTE FUNCTION public.bulkhead_audit_refuse()', name);
    EXECUTE format('ALTER TABLE public.%I ENABLE ALWAYS TRIGGER bulkhead_audit_refuse_truncate,
        ENABLE ALWAYS TRIGGER bulkhead_audit_refuse, ENABLE ALWAYS TRIGGER bulkhead_audit_chain', name);
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION bulkhead_audit_partition(date) FROM PUBLIC;

-- Where nobody has made the month's partition, rows go here rather than nowhere.
CREATE TABLE audit_logs_rest PARTITION OF audit_logs DEFAULT;
CREATE TRIGGER bulkhead_audit_refuse_truncate BEFORE TRUNCATE ON audit_logs_rest
    FOR EACH STATEMENT EXECUTE FUNCTION bulkhead_audit_refuse();
ALTER TABLE audit_logs_rest ENABLE ALWAYS TRIGGER bulkhead_audit_refuse_truncate,
    ENABLE ALWAYS TRIGGER bulkhead_audit_refuse, ENABLE ALWAYS TRIGGER bulkhead_audit_chain;

SELECT bulkhead_audit_own(relation::regclass)
    FROM unnest(ARRAY['audit_logs', 'audit_chains', 'audit_seals', 'audit_spools', 'audit_logs_rest']) AS relation;
SELECT bulkhead_audit_partition((date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month')::date)
    FROM generate_series(0, 2) AS n;

-- The rows of before are chained as they come over. Not by the trigger: each row would leave a version of the chain's
-- head until the end of this transaction, and each next one walk over all of them.
ALTER TABLE audit_logs DISABLE TRIGGER bulkhead_audit_chain;
DO $$
DECLARE
    old    record;
    place  bigint := 0;
    number bigint;
    before bytea;
    head   bytea := decode(repeat('00', 32), 'hex');
BEGIN
    FOR old IN SELECT * FROM audit_logs_unchained ORDER BY id LOOP
        place := place + 1;
        number := nextval('audit_logs_id');
        before := head;
        head := sha256(before || convert_to(json_build_array(
            number, (extract(epoch FROM now()) * 1000000)::bigint, (extract(epoch FROM old.occurred_at) * 1000000)::bigint,
            nullif(current_setting('application_name'), ''), session_user, old.user_id, old.key_id, old.role, old.action,
            old.resource_type, old.metadata, old.store, old.objects, old.decision, old.code, NULL, NULL, old.rows_affected,
            NULL, old.request_id, NULL, NULL, NULL, pg_backend_pid(), place)::text, 'UTF8'));
        INSERT INTO audit_logs (id, occurred_at, sidecar, account, user_id, key_id, role, action, resource_type, metadata,
                store, objects, decision, code, rows_affected, request_id, chain, seq, prev_hash, hash)
            VALUES (number, old.occurred_at, nullif(current_setting('application_name'), ''), session_user, old.user_id,
                old.key_id, old.role, old.action, old.resource_type, old.metadata, old.store, old.objects, old.decision,
                old.code, old.rows_affected, old.request_id, pg_backend_pid(), place, before, head);
    END LOOP;
    IF place > 0 THEN
        INSERT INTO audit_chains (chain, seq, hash) VALUES (pg_backend_pid(), place, head);
    END IF;
END $$;
ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER bulkhead_audit_chain;
DROP TABLE audit_logs_unchained;
