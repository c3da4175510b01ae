//! What somebody may do who can switch triggers off, who owns the tables, or who has got hold of the files of the server.

/// Who can find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// `verify` alone.
    Inside,
    /// `verify` with the public key and the exported seals.
    Outside,
    /// Nobody; docs/audit.md says so.
    Never,
}

pub struct Case {
    pub what: String,
    pub sql: String,
    pub seen: Seen,
}

/// Hashes rows and seals anew, as one would who knows how the trigger does it: a second reading of the canonical form, in SQL.
pub const FORGERY: &str = r"
CREATE FUNCTION forged(r audit_logs, before bytea) RETURNS bytea LANGUAGE sql AS $$
    SELECT sha256(before || convert_to(json_build_array(r.id, (extract(epoch FROM r.recorded_at) * 1000000)::bigint,
        (extract(epoch FROM r.occurred_at) * 1000000)::bigint, r.sidecar, r.account, r.user_id, r.key_id, r.role, r.action,
        r.resource_type, r.metadata, r.store, r.objects, r.decision, r.code, r.statement, r.fingerprint, r.rows_affected,
        r.duration_us, r.request_id, r.trace_id, r.event_id, r.phase, r.chain, r.seq)::text, 'UTF8')) $$;
CREATE PROCEDURE rehash(of_chain bigint, from_seq bigint) LANGUAGE plpgsql AS $$
DECLARE r audit_logs; before bytea := coalesce((SELECT hash FROM audit_logs WHERE chain = of_chain AND seq = from_seq - 1),
    decode(repeat('00', 32), 'hex'));
BEGIN
    FOR r IN SELECT * FROM audit_logs WHERE chain = of_chain AND seq >= from_seq ORDER BY seq LOOP
        UPDATE audit_logs SET prev_hash = before, hash = forged(r, before) WHERE chain = of_chain AND seq = r.seq;
        before := forged(r, before);
    END LOOP;
    UPDATE audit_chains SET hash = before, seq = (SELECT max(seq) FROM audit_logs WHERE chain = of_chain)
        WHERE chain = of_chain;
END $$;
-- What a seal says of a chain becomes what the chain's rows say now; then all seals are hashed anew from that one on.
CREATE PROCEDURE reseal(from_seal bigint) LANGUAGE plpgsql AS $$
DECLARE s audit_seals; before bytea := coalesce((SELECT hash FROM audit_seals WHERE seal = from_seal - 1),
    decode(repeat('00', 32), 'hex'));
BEGIN
    FOR s IN SELECT * FROM audit_seals WHERE seal >= from_seal ORDER BY seal LOOP
        SELECT array_agg(chain ORDER BY o), array_agg(seq ORDER BY o), array_agg(hash ORDER BY o)
            INTO s.chains, s.seqs, s.hashes FROM unnest(s.chains, s.seqs) WITH ORDINALITY AS u (chain, seq, o)
            JOIN audit_logs USING (chain, seq);
        s.hash := sha256(before || convert_to(json_build_array(s.seal, (extract(epoch FROM s.sealed_at) * 1000000)::bigint,
            s.sidecar, s.chains, s.seqs, (SELECT array_agg(encode(h, 'hex') ORDER BY o)
            FROM unnest(s.hashes) WITH ORDINALITY AS u (h, o)))::text, 'UTF8'));
        UPDATE audit_seals SET chains = s.chains, seqs = s.seqs, hashes = s.hashes, prev_hash = before, hash = s.hash
            WHERE seal = s.seal;
        before := s.hash;
    END LOOP;
END $$;
";

/// Each column, and what it is changed to.
const COLUMNS: [(&str, &str); 27] = [
    ("id", "id + 1000000"),
    ("recorded_at", "recorded_at + interval '1 microsecond'"),
    ("occurred_at", "occurred_at + interval '1 microsecond'"),
    ("sidecar", "'x'"),
    ("account", "'x'"),
    ("user_id", "NULL"),
    ("key_id", "'x'"),
    ("role", "'x'"),
    ("action", "'x'"),
    ("resource_type", "''"),
    ("metadata", "jsonb_set(metadata, '{n}', '1.00')"),
    ("store", "'redis'"),
    ("objects", "objects || 'x'::text"),
    ("decision", "'allow'"),
    ("code", "'x'"),
    ("statement", "'x'"),
    ("fingerprint", "'x'"),
    ("rows_affected", "rows_affected - 1"),
    ("duration_us", "duration_us + 1"),
    ("request_id", "'x'"),
    ("trace_id", "'x'"),
    ("event_id", "gen_random_uuid()"),
    ("phase", "'intent'"),
    ("chain", "b()"),
    ("seq", "100"),
    ("prev_hash", "sha256('x')"),
    ("hash", "sha256('x')"),
];

const SWAP: &str = "UPDATE audit_logs SET seq = 1003 WHERE chain = a() AND seq = 3;
    UPDATE audit_logs SET seq = 3 WHERE chain = a() AND seq = 4; UPDATE audit_logs SET seq = 4 WHERE chain = a() AND seq = 1003";

fn case(what: &str, seen: Seen, sql: &str) -> Case {
    Case {
        what: what.to_owned(),
        sql: sql.to_owned(),
        seen,
    }
}

/// Chain A has rows 1 to 10, sealed at 6, 8 and 9; chain B has rows 1 to 5, sealed at 2 and 4. There are three seals.
pub fn cases() -> Vec<Case> {
    let columns = COLUMNS.iter().map(|(column, value)| Case {
        what: format!("`{column}` of row A 3 changed"),
        sql: format!("UPDATE audit_logs SET {column} = {value} WHERE chain = a() AND seq = 3"),
        seen: Seen::Inside,
    });
    columns
        .chain(rows())
        .chain(rehashed())
        .chain(heads())
        .chain(seals())
        .chain(beyond())
        .collect()
}

fn rows() -> Vec<Case> {
    use Seen::Inside;
    vec![
        case("row A 3 deleted", Inside, "DELETE FROM audit_logs WHERE chain = a() AND seq = 3"),
        case("rows A 1 to 3 deleted", Inside, "DELETE FROM audit_logs WHERE chain = a() AND seq <= 3"),
        case("row A 10, the last, deleted", Inside, "DELETE FROM audit_logs WHERE chain = a() AND seq = 10"),
        case(
            "rows A 9 and 10 deleted and the head put back",
            Inside,
            "DELETE FROM audit_logs WHERE chain = a() AND seq > 8; CALL rehash(a(), 8)",
        ),
        case("all rows of B deleted", Inside, "DELETE FROM audit_logs WHERE chain = b()"),
        case(
            "all rows of B deleted, and its head",
            Inside,
            "DELETE FROM audit_logs WHERE chain = b(); DELETE FROM audit_chains WHERE chain = b()",
        ),
        case("all rows deleted", Inside, "DELETE FROM audit_logs"),
        case(
            "rows A 3 and 4 exchanged (their `seq`)",
            Inside,
            SWAP,
        ),
        case(
            "rows A 3 and 4 exchanged, with their hashes",
            Inside,
            &format!(
                "{SWAP}; UPDATE audit_logs r SET prev_hash = o.prev_hash, hash = o.hash FROM audit_logs o
                WHERE r.chain = a() AND r.seq IN (3, 4) AND o.chain = a() AND o.seq = 7 - r.seq"
            ),
        ),
        case(
            "the contents of rows A 3 and B 3 exchanged",
            Inside,
            "UPDATE audit_logs r SET user_id = o.user_id, metadata = o.metadata, id = o.id + 1000000 FROM audit_logs o
                WHERE r.seq = 3 AND o.seq = 3 AND o.chain <> r.chain",
        ),
        case(
            "a row inserted at A 3",
            Inside,
            "INSERT INTO audit_logs SELECT (jsonb_populate_record(r, jsonb_build_object('id', 1000000,
                'recorded_at', r.recorded_at - interval '1 s', 'user_id', 'x'))).* FROM audit_logs r WHERE chain = a() AND seq = 3",
        ),
        case(
            "a row inserted at A 3, with its own hash right",
            Inside,
            "INSERT INTO audit_logs SELECT (jsonb_populate_record(r, jsonb_build_object('id', 1000000,
                'recorded_at', r.recorded_at - interval '1 s', 'user_id', 'x'))).* FROM audit_logs r WHERE chain = a() AND seq = 3;
            UPDATE audit_logs r SET hash = forged(r, r.prev_hash) WHERE id = 1000000",
        ),
        case(
            "a row appended to A behind the trigger's back",
            Inside,
            "INSERT INTO audit_logs SELECT (jsonb_populate_record(r, jsonb_build_object('id', 1000000, 'seq', 11,
                'prev_hash', r.hash))).* FROM audit_logs r WHERE chain = a() AND seq = 10;
            UPDATE audit_logs r SET hash = forged(r, r.prev_hash) WHERE id = 1000000",
        ),
    ]
}

fn rehashed() -> Vec<Case> {
    use Seen::{Inside, Never, Outside};
    vec![
        case(
            "row A 3 changed, and its hash put right",
            Inside,
            "UPDATE audit_logs SET user_id = 'x' WHERE chain = a() AND seq = 3;
            UPDATE audit_logs r SET hash = forged(r, r.prev_hash) WHERE chain = a() AND seq = 3",
        ),
        case(
            "row A 3 changed, all of A after it hashed anew, and its head",
            Inside,
            "UPDATE audit_logs SET user_id = 'x' WHERE chain = a() AND seq = 3; CALL rehash(a(), 3)",
        ),
        case(
            "row A 3 deleted, the rows after it moved up and hashed anew, and the head",
            Inside,
            "DELETE FROM audit_logs WHERE chain = a() AND seq = 3;
            UPDATE audit_logs SET seq = seq - 1 WHERE chain = a() AND seq > 3; CALL rehash(a(), 3)",
        ),
        case(
            "a row inserted after A 3, the rows after it moved down and hashed anew, and the head",
            Inside,
            "UPDATE audit_logs SET seq = seq + 1000 WHERE chain = a() AND seq > 3;
            UPDATE audit_logs SET seq = seq - 999 WHERE chain = a() AND seq > 3;
            INSERT INTO audit_logs SELECT (jsonb_populate_record(r, jsonb_build_object('id', 1000000, 'seq', 4))).*
                FROM audit_logs r WHERE chain = a() AND seq = 3;
            CALL rehash(a(), 4)",
        ),
        case(
            "row A 3 changed, all of A hashed anew, its head, and all seals",
            Outside,
            "UPDATE audit_logs SET user_id = 'x' WHERE chain = a() AND seq = 3; CALL rehash(a(), 3); CALL reseal(1)",
        ),
        case(
            "all of B deleted, its head, and what the seals say of it",
            Outside,
            "DELETE FROM audit_logs WHERE chain = b(); DELETE FROM audit_chains WHERE chain = b(); CALL reseal(1)",
        ),
        case(
            "row A 10, which no seal covers yet, changed, hashed anew, and the head",
            Never,
            "UPDATE audit_logs SET user_id = 'x' WHERE chain = a() AND seq = 10; CALL rehash(a(), 10)",
        ),
        case(
            "row A 10, which no seal covers yet, deleted and the head put back",
            Never,
            "DELETE FROM audit_logs WHERE chain = a() AND seq = 10; CALL rehash(a(), 9)",
        ),
    ]
}

fn heads() -> Vec<Case> {
    use Seen::Inside;
    vec![
        case(
            "the head of A set back",
            Inside,
            "UPDATE audit_chains SET seq = 9 WHERE chain = a()",
        ),
        case(
            "the head of A set forward",
            Inside,
            "UPDATE audit_chains SET seq = 12 WHERE chain = a()",
        ),
        case(
            "the hash in the head of A changed",
            Inside,
            "UPDATE audit_chains SET hash = sha256('x') WHERE chain = a()",
        ),
        case(
            "the head of A deleted",
            Inside,
            "DELETE FROM audit_chains WHERE chain = a()",
        ),
        case(
            "a head without rows added",
            Inside,
            "INSERT INTO audit_chains VALUES (1, 1, sha256('x'))",
        ),
    ]
}

fn seals() -> Vec<Case> {
    use Seen::{Inside, Outside};
    vec![
        case("the time of seal 2 changed", Inside, "UPDATE audit_seals SET sealed_at = sealed_at - interval '1 s' WHERE seal = 2"),
        case("the sidecar of seal 2 changed", Inside, "UPDATE audit_seals SET sidecar = 'x' WHERE seal = 2"),
        case("a hash in seal 2 changed", Inside, "UPDATE audit_seals SET hashes[1] = sha256('x') WHERE seal = 2"),
        case("a place in seal 2 changed", Inside, "UPDATE audit_seals SET seqs[1] = seqs[1] - 1 WHERE seal = 2"),
        case("the hash of seal 2 changed", Inside, "UPDATE audit_seals SET hash = sha256('x') WHERE seal = 2"),
        case("seal 1 deleted", Inside, "DELETE FROM audit_seals WHERE seal = 1"),
        case("seal 2 deleted", Inside, "DELETE FROM audit_seals WHERE seal = 2"),
        case(
            "seals 1 and 2 exchanged (their numbers)",
            Inside,
            "UPDATE audit_seals SET seal = seal + 10 WHERE seal < 3; UPDATE audit_seals SET seal = 13 - seal WHERE seal > 10",
        ),
        case(
            "seal 1 changed and hashed anew",
            Inside,
            "CREATE TEMP TABLE kept AS SELECT * FROM audit_seals WHERE seal > 1; DELETE FROM audit_seals WHERE seal > 1;
            UPDATE audit_seals SET sidecar = 'x'; CALL reseal(1); INSERT INTO audit_seals SELECT * FROM kept",
        ),
        case("seal 3, the last, deleted", Outside, "DELETE FROM audit_seals WHERE seal = 3"),
        case("all seals deleted", Outside, "TRUNCATE audit_seals"),
        case(
            "all seals deleted, row A 3 changed, all of A hashed anew, and its head",
            Outside,
            "TRUNCATE audit_seals; UPDATE audit_logs SET user_id = 'x' WHERE chain = a() AND seq = 3; CALL rehash(a(), 3)",
        ),
        case("the signature of seal 2 changed", Outside, "UPDATE audit_seals SET signature = sha256('x') || sha256('y') WHERE seal = 2"),
        case(
            "the signature of seal 2 replaced by that of seal 1",
            Outside,
            "UPDATE audit_seals SET signature = (SELECT signature FROM audit_seals WHERE seal = 1) WHERE seal = 2",
        ),
        case("the signature of seal 2 removed", Outside, "UPDATE audit_seals SET signature = NULL, key_id = NULL WHERE seal = 2"),
        case("another key named in seal 2", Outside, "UPDATE audit_seals SET key_id = '0123456789abcdef' WHERE seal = 2"),
    ]
}

fn beyond() -> Vec<Case> {
    use Seen::{Inside, Never};
    let this_month = "DO $$ BEGIN EXECUTE format('DROP TABLE %s', (SELECT DISTINCT tableoid::regclass FROM audit_logs)); END $$";
    vec![
        case("the month's partition dropped without `audit retire`", Inside, this_month),
        case(
            "the month's partition dropped, and a retirement written by hand, without chains",
            Inside,
            &format!(
                "{this_month}; ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER bulkhead_audit_chain;
                INSERT INTO audit_logs (action, metadata) VALUES ('audit.retire', '{{\"partition\": \"x\", \"chains\": []}}')"
            ),
        ),
        case(
            "the same, with the chains: as `audit retire` does it, and `verify` reports a retirement",
            Never,
            &format!(
                "CREATE TEMP TABLE ends AS SELECT * FROM audit_chains; {this_month};
                ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER bulkhead_audit_chain;
                INSERT INTO audit_logs (action, metadata) SELECT 'audit.retire', jsonb_build_object('partition', 'x',
                    'chains', jsonb_agg(jsonb_build_array(chain, seq, encode(hash, 'hex')))) FROM ends"
            ),
        ),
        case(
            "how far a spool is in the table set forward, so that its next events are passed over",
            Never,
            "INSERT INTO audit_spools (spool, position) VALUES ('s', 1000000)",
        ),
    ]
}
