use super::super::super::Session;
use super::{check_refused, touches};

/// Legal on a connection of the caller's own, refused on a shared one.
#[test]
fn only_on_an_own_connection() {
    for sql in [
        "BEGIN",
        "BEGIN WORK",
        "START TRANSACTION",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        "COMMIT",
        "COMMIT AND NO CHAIN NO RELEASE",
        "ROLLBACK",
        "ROLLBACK TO SAVEPOINT `s`",
        "ROLLBACK WORK TO s",
        "SAVEPOINT s",
        "RELEASE SAVEPOINT s",
        "SET NAMES utf8mb4",
        "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_unicode_ci'",
        "SET CHARACTER SET utf8mb4",
        "SET character_set_results = NULL",
        "SET autocommit=1",
        "SET @@session.autocommit = OFF",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY",
        "SET TRANSACTION READ WRITE",
        "SET sql_mode='STRICT_TRANS_TABLES,NO_ZERO_DATE'",
        "SET SESSION sql_mode = ''",
        "SET @@SESSION.sql_mode = CONCAT(CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), ',NO_ZERO_DATE'), sql_auto_is_null = 0",
        "SET time_zone = '+00:00'",
        "SET SESSION wait_timeout = 600, net_write_timeout = 60",
        "SET foreign_key_checks = 1",
        "SET @x = 1",
        "SELECT @x := 1",
        "SELECT @x, @'y', @`z`, @\"w\"",
        "SHOW WARNINGS LIMIT 5",
        "SELECT 1; SELECT 2;",
    ] {
        assert_eq!(touches(sql, Session::Own), "", "{sql}");
        assert!(
            touches(sql, Session::Shared).contains("shared between callers"),
            "{sql}"
        );
    }
    assert_eq!(
        touches("SET @x = (SELECT y FROM b)", Session::Own),
        "b:select"
    );
    assert_eq!(
        touches("SELECT 1 FROM a; DELETE FROM b", Session::Own),
        "a:select b:delete"
    );
}

#[test]
fn settings_that_change_how_statements_are_read() {
    check_refused(
        "",
        &[
            "SET NAMES gbk",
            "SET NAMES 'sjis'",
            "SET NAMES latin1",
            "SET NAMES DEFAULT",
            "SET CHARACTER SET big5",
            "SET character_set_client = gbk",
            "SET @@character_set_connection = 'sjis'",
            "SET collation_connection = 'gbk_chinese_ci'",
            "SET sql_mode = ANSI_QUOTES",
            "SET sql_mode = 'ansi'",
            "SET sql_mode = 'STRICT_TRANS_TABLES,NO_BACKSLASH_ESCAPES'",
            "SET sql_mode = 4",
            "SET sql_mode = DEFAULT",
            "SET sql_mode = CONCAT(@@sql_mode, ',PIPES_AS_CONCAT')",
            "SET sql_mode = CONCAT('AN', 'SI')",
            "SET sql_mode = CONCAT('ANSI', ',STRICT_ALL_TABLES')",
            "SET sql_mode = (SELECT x FROM a)",
            "SET sql_mode = REPLACE(@@sql_mode, 'x', 'y')",
            "SET sql_mode = @@global.sql_mode",
            "SET sql_mode = ?",
            "SET GLOBAL sql_mode = ''",
            "SET @@global.autocommit = 1",
            "SET PERSIST autocommit = 1",
            "SET GLOBAL TRANSACTION READ ONLY",
            "SET PASSWORD = 'x'",
            "SET ROLE ALL",
            "SET DEFAULT ROLE x TO y",
            "SET sql_log_bin = 0",
            "SET SESSION general_log = 1",
            "SET foreign_key_checks = 0",
            "SET insert_id = 5",
            "SET autocommit = (SELECT x FROM a)",
            "SET autocommit = 1, sql_log_bin = 0",
            "SET x.y = 1",
        ],
    );
}
