//! Statements that are never allowed, and the word in the reason that says why.

use super::super::functions::{Class, class};
use super::super::{Refusal, Session, classify, is_classified};
use super::check_forbidden;

#[test]
fn functions_by_name() {
    check_forbidden(
        &[
            (
                "SELECT query_to_xml('SELECT 1', true, false, '')",
                "write the query itself",
            ),
            (
                "SELECT * FROM pg_catalog.table_to_xml('t', true, false, '')",
                "write the query itself",
            ),
            (
                "SELECT ts_stat('SELECT a FROM t')",
                "write the query itself",
            ),
            ("SELECT ('/etc/passwd').pg_read_file", "the server's files"),
            ("SELECT pg_ls_dir('.')", "the server's files"),
            ("SELECT lo_import('/etc/passwd')", "large objects"),
            ("SELECT pg_sleep(1)", "holds a connection idle"),
            ("SELECT (1).pg_sleep", "holds a connection idle"),
            ("SELECT pg_try_advisory_xact_lock(1)", "advisory locks"),
            ("SELECT set_config('role', 'x', false)", "pinned"),
            ("SELECT setseed(0.5)", "pinned"),
            ("SELECT to_regclass('t')", "the catalogue"),
            ("SELECT has_table_privilege('t', 'select')", "the catalogue"),
            ("SELECT pg_total_relation_size('t')", "the catalogue"),
            ("SELECT pg_terminate_backend(1)", "other sessions"),
            ("SELECT pg_notify('a', 'b')", "other sessions"),
            ("SELECT boolin('t')", "only the server"),
            ("SELECT dblink('x', 'y')", "other servers"),
            ("SELECT ext.crosstab('SELECT 1')", "other servers"),
            (
                "SELECT pg_catalog.no_such_function(1)",
                "not a known built-in",
            ),
            ("SELECT pg_temp.f()", "temporary"),
            ("SELECT 1::pg_temp.t", "temporary"),
            ("SELECT nextval(a) FROM t", "must be a literal"),
            ("SELECT nextval('a' || 'b')", "must be a literal"),
            ("SELECT nextval('abc'::varchar(2))", "must be a literal"),
            ("SELECT nextval('12345')", "cannot be read"),
            ("SELECT nextval('a.b.c')", "cannot be read"),
            ("SELECT ('t_seq').nextval", "write it as a call"),
            ("SELECT lastval()", "use `RETURNING`"),
            (
                "SELECT current_setting('data_directory')",
                "not for callers",
            ),
            ("SELECT current_setting($1)", "must be a literal"),
            ("SHOW ALL", "not for callers"),
            ("SHOW hba_file", "not for callers"),
        ],
        Session::Shared,
    );
}

#[test]
fn names_and_types() {
    check_forbidden(
        &[
            ("SELECT 't'::regclass", "the catalogue"),
            (
                "SELECT CAST(a AS pg_catalog.regclass) FROM t",
                "the catalogue",
            ),
            (
                "SELECT '{t}'::regclass[], '{t}'::_regclass",
                "the catalogue",
            ),
            ("SELECT regclass 't'", "the catalogue"),
            ("SELECT regclass('t')", "the catalogue"),
            (
                "SELECT 'f'::regproc, 'f()'::regprocedure, 'x'::regrole",
                "the catalogue",
            ),
            (
                "SELECT tableoid::regclass FROM (SELECT 1::oid AS tableoid) q",
                "the catalogue",
            ),
            (
                "SELECT t.tableoid::regclass FROM (SELECT 1::oid AS tableoid) t, u",
                "the catalogue",
            ),
            (
                "SELECT tableoid::regclass FROM t, generate_series(1, 9) AS g(tableoid)",
                "the catalogue",
            ),
            ("SELECT (SELECT tableoid::regclass) FROM t", "the catalogue"),
            ("SELECT * FROM db.s.t", "names a database"),
            ("SELECT * FROM \"s.t\"", "dot inside"),
            ("SELECT \"s.f\"()", "dot inside"),
            ("SELECT db.s.f()", "beyond this database"),
            (
                "SELECT 1::pg_catalog.no_such_type",
                "not one that values are cast to",
            ),
        ],
        Session::Shared,
    );
}

#[test]
fn statements() {
    check_forbidden(
        &[
            ("DO $$ BEGIN END $$", "code that no policy sees"),
            (
                "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                "code",
            ),
            (
                "CREATE TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
                "code",
            ),
            (
                "CREATE RULE r AS ON SELECT TO t DO INSTEAD SELECT 1",
                "code",
            ),
            ("CREATE EXTENSION x", "code"),
            ("LOAD 'x'", "code"),
            ("CREATE VIEW v AS SELECT 1", "hides"),
            ("CREATE TABLE u AS SELECT * FROM t", "hides"),
            ("CREATE MATERIALIZED VIEW m AS SELECT 1", "hides"),
            ("SELECT * INTO u FROM t", "INSERT INTO"),
            ("CREATE TEMP TABLE t (a int)", "temporary"),
            ("CREATE TABLE pg_temp.t (a int)", "temporary"),
            ("CREATE TABLE u () INHERITS (t)", "INHERITS"),
            ("CREATE TABLE u PARTITION OF t DEFAULT", "PARTITION OF"),
            (
                "CREATE TABLE u (a int GENERATED ALWAYS AS (b) STORED)",
                "generated",
            ),
            ("ALTER TABLE t DISABLE ROW LEVEL SECURITY", "administrator"),
            ("ALTER TABLE t OWNER TO x", "administrator"),
            ("ALTER TABLE t ATTACH PARTITION u DEFAULT", "administrator"),
            ("DROP TABLE t CASCADE", "CASCADE"),
            ("TRUNCATE t CASCADE", "CASCADE"),
            ("DROP FUNCTION f", "administrator"),
            ("GRANT SELECT ON t TO x", "privileges"),
            ("CREATE ROLE x", "privileges"),
            ("CREATE POLICY p ON t", "privileges"),
            ("CREATE CAST (int AS t) WITH INOUT", "types"),
            ("CREATE OPERATOR ## (LEFTARG = int, FUNCTION = f)", "types"),
            ("CREATE SERVER s FOREIGN DATA WRAPPER f", "other servers"),
            ("CREATE PUBLICATION p FOR ALL TABLES", "other servers"),
            ("ALTER SYSTEM SET x = 1", "steers the server"),
            ("VACUUM t", "steers the server"),
            ("REFRESH MATERIALIZED VIEW m", "steers the server"),
            ("COMMENT ON TABLE t IS 'x'", "schema"),
            ("CREATE SCHEMA s", "schema"),
            ("NOTIFY a", "notifications"),
            ("LISTEN a", "notifications"),
            ("UNLISTEN *", "notifications"),
            ("DISCARD ALL", "pinned"),
        ],
        Session::Own,
    );
}

#[test]
fn what_needs_a_connection_of_ones_own() {
    check_forbidden(
        &[
            ("BEGIN", "`batch`"),
            ("SET lock_timeout = 1", "timeout_ms"),
            ("DECLARE c CURSOR FOR SELECT 1", "stream its rows"),
            ("FETCH c", "stream its rows"),
            ("PREPARE p AS SELECT 1", "`params`"),
            ("EXECUTE p", "`params`"),
            ("COPY t FROM STDIN", "`INSERT`"),
            ("LOCK TABLE t", "`batch`"),
            ("UPDATE t SET a = 1 WHERE CURRENT OF c", "use a key"),
            ("SELECT 1; SELECT 2", "one by one"),
        ],
        Session::Shared,
    );
}

#[test]
fn what_would_unpin_the_session() {
    check_forbidden(
        &[
            ("SET search_path = x", "`search_path` is pinned"),
            ("SET SCHEMA 'x'", "`search_path` is pinned"),
            (
                "set/**/LOCAL \"search_path\" to x",
                "`search_path` is pinned",
            ),
            ("SET ROLE x", "`role` is pinned"),
            ("RESET ROLE", "`role` is pinned"),
            (
                "SET SESSION AUTHORIZATION x",
                "`session_authorization` is pinned",
            ),
            ("SET standard_conforming_strings = off", "pinned"),
            ("SET NAMES 'SJIS'", "`client_encoding` is pinned"),
            ("RESET client_encoding", "pinned"),
            ("RESET ALL", "`all` is pinned"),
            ("SET a.b = 'c'", "`a.b` is pinned"),
            ("SET synchronous_commit = off", "pinned"),
            ("SET TRANSACTION SNAPSHOT 'x'", "not for callers"),
            ("PREPARE TRANSACTION 'x'", "two-phase"),
            ("EXECUTE p", "cannot be seen"),
            ("COPY t TO '/tmp/x'", "STDOUT"),
            ("COPY t FROM PROGRAM 'x'", "STDIN"),
            ("COPY t FROM STDIN (ENCODING 'SJIS')", "`encoding`"),
        ],
        Session::Own,
    );
}

#[test]
fn what_is_not_a_statement() {
    for text in [
        "",
        ";",
        "SELEC 1",
        "SELECT 'a",
        "SELECT \0",
        "SELECT `a`",
        "SELECT * FROM $1",
    ] {
        let result = classify(text, Session::Shared);
        assert!(
            matches!(result, Err(Refusal::Unparsable(_))),
            "{text}: {result:?}"
        );
    }
}

#[test]
fn the_table_of_functions_is_whole() {
    for name in [
        "abs",
        "nextval",
        "lastval",
        "current_setting",
        "pg_read_file",
        "uuidv7",
        "regclass",
    ] {
        assert!(is_classified(name), "{name}");
    }
    assert!(!is_classified("no_such_function"));
    assert!(!is_classified("dblink"));
    assert_eq!(class("lower"), Some(Class::Pure));
    let without_meaning = Class::Never("its section of the table has no meaning");
    for section in include_str!("../functions.txt").split("\n[").skip(1) {
        let (_, names) = section.split_once("]\n").unwrap();
        let first = names.split_whitespace().next().unwrap();
        assert_ne!(class(first), Some(without_meaning), "{first}");
    }
}

/// `x.f` calls `f(x)` where `x` is a function's value.
#[test]
fn functional_notation_on_a_function_in_from() {
    check_forbidden(
        &[
            (
                "SELECT x.ts_stat FROM concat('SELECT a FROM t') x",
                "write the query itself",
            ),
            (
                "SELECT lower.pg_read_file FROM lower('/etc/passwd')",
                "the server's files",
            ),
            (
                "SELECT x.pg_sleep FROM abs(9) AS x (n)",
                "holds a connection idle",
            ),
            (
                "SELECT (SELECT x.to_regclass) FROM current_user x",
                "the catalogue",
            ),
            (
                "SELECT 1 FROM ROWS FROM (unnest(ARRAY['a'])) AS x, LATERAL (SELECT x.pg_ls_dir) y",
                "the server's files",
            ),
            (
                "UPDATE t SET a = x.lo_unlink::text FROM generate_series(1, 2) x",
                "large objects",
            ),
            (
                "DELETE FROM t USING lower('a') x WHERE x.nextval = 1",
                "write it as a call",
            ),
            (
                "SELECT e.to_regclass FROM jsonb_array_elements_text($1) e",
                "the catalogue",
            ),
            (
                "SELECT x.nextval FROM COALESCE('s') x",
                "write it as a call",
            ),
            ("SELECT 1 FROM COALESCE('s')", "give it an alias"),
        ],
        Session::Shared,
    );
}
