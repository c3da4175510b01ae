use super::{check, check_refused};

#[test]
fn statements_that_are_never_allowed() {
    check_refused(
        "",
        &[
            "",
            ";",
            "-- nothing",
            "FOO",
            "ANALYZE TABLE a",
            "ANALYZE SELECT 1",
            "ANALYZE FORMAT=JSON UPDATE a SET x=1",
            "BACKUP STAGE START",
            "BINLOG 'x'",
            "CACHE INDEX a IN c",
            "CALL p",
            "CALL p()",
            "CHANGE MASTER TO x=1",
            "CHECK TABLE a",
            "CHECKSUM TABLE a",
            "CLONE LOCAL DATA DIRECTORY '/x'",
            "DO 1",
            "DO SLEEP(1)",
            "EXECUTE s",
            "EXECUTE IMMEDIATE 'x'",
            "PREPARE s FROM 'x'",
            "DEALLOCATE PREPARE s",
            "FLUSH TABLES",
            "GET DIAGNOSTICS @x = ROW_COUNT",
            "GRANT ALL ON *.* TO x",
            "REVOKE ALL ON *.* FROM x",
            "HANDLER a OPEN",
            "HELP 'x'",
            "IF 1 THEN SELECT 1; END IF",
            "BEGIN NOT ATOMIC SELECT 1; END",
            "IMPORT TABLE FROM 'x'",
            "INSTALL PLUGIN x SONAME 'y'",
            "UNINSTALL PLUGIN x",
            "KILL 1",
            "LOAD DATA INFILE 'x' INTO TABLE a",
            "LOAD XML INFILE 'x' INTO TABLE a",
            "LOCK TABLES a READ",
            "UNLOCK TABLES",
            "OPTIMIZE TABLE a",
            "REPAIR TABLE a",
            "PURGE BINARY LOGS TO 'x'",
            "RESET MASTER",
            "SHUTDOWN",
            "START SLAVE",
            "STOP SLAVE",
            "USE db",
            "XA START 'x'",
            "SIGNAL SQLSTATE '45000'",
            "WHILE 1 DO SELECT 1; END WHILE",
            "RESTART",
            "CREATE VIEW v AS SELECT 1",
            "CREATE OR REPLACE TABLE a (x INT)",
            "CREATE TEMPORARY TABLE a (x INT)",
            "CREATE DATABASE d",
            "CREATE USER u",
            "CREATE FUNCTION f RETURNS STRING SONAME 'x'",
            "CREATE SEQUENCE s",
            "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET @x = 1",
            "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM a",
            "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'h')",
            "CREATE TABLE a (x INT) ENGINE=FEDERATED",
            "CREATE TABLE a (x INT) DATA DIRECTORY='/tmp'",
            "ALTER TABLE a EXCHANGE PARTITION p WITH TABLE b",
            "ALTER TABLE a TRUNCATE PARTITION p",
            "ALTER USER u",
            "DROP VIEW v",
            "DROP DATABASE d",
            "DROP TEMPORARY TABLE a",
            "RENAME USER a TO b",
        ],
    );
}

#[test]
fn clauses_that_are_never_allowed() {
    check_refused(
        "INTO",
        &[
            "SELECT 1 INTO OUTFILE '/x'",
            "SELECT x INTO DUMPFILE '/x' FROM a",
            "SELECT x FROM a INTO @v",
            "SELECT x FROM a LIMIT 1 FOR UPDATE INTO OUTFILE '/x'",
            "TABLE a INTO OUTFILE '/x'",
            "(SELECT 1) INTO @v",
            "SELECT 1 UNION SELECT 2 INTO OUTFILE '/x'",
        ],
    );
    check_refused("PROCEDURE", &["SELECT x FROM a PROCEDURE ANALYSE()"]);
    check_refused(
        "sequence",
        &[
            "SELECT NEXT VALUE FOR s",
            "SELECT NEXTVAL(s)",
            "SELECT PREVIOUS VALUE FOR s",
            "SELECT SETVAL(s, 1)",
        ],
    );
    check_refused("STATEMENT", &["SET STATEMENT sql_mode='' FOR SELECT 1"]);
    check_refused(
        "EXPLAIN",
        &["EXPLAIN FOR CONNECTION 5", "EXPLAIN INTO @x SELECT 1"],
    );
    check_refused(
        "",
        &[
            "SHOW DATABASES",
            "SHOW TABLES",
            "SHOW PROCESSLIST",
            "SHOW GRANTS",
            "SHOW VARIABLES",
            "SHOW GLOBAL VARIABLES LIKE 'sql_mode'",
            "SHOW VARIABLES LIKE '%'",
            "SHOW VARIABLES LIKE 'secure%'",
            "SHOW VARIABLES WHERE Variable_name = 'datadir'",
            "SHOW VARIABLES WHERE Variable_name = (SELECT 1 FROM b)",
            "SHOW STATUS",
            "SHOW TRIGGERS",
            "SHOW EVENTS",
            "SHOW PLUGINS",
            "SHOW MASTER STATUS",
            "SHOW CREATE VIEW v",
            "SHOW CREATE PROCEDURE p",
            "SHOW ENGINE INNODB STATUS",
            "SHOW TABLE STATUS",
            "SELECT @@datadir",
            "SELECT @@global.secure_file_priv",
            "SELECT @@other.sql_mode",
            "SELECT @@`sql_mode`",
        ],
    );
}

#[test]
fn functions() {
    check_refused(
        "the function",
        &[
            "SELECT SLEEP(1)",
            "SELECT sleep (1)",
            "SELECT `SLEEP`(1)",
            "SELECT BENCHMARK(1, 1)",
            "SELECT LOAD_FILE('x')",
            "SELECT GET_LOCK('a', 1)",
            "SELECT x FROM a WHERE IS_USED_LOCK('a')",
            "SELECT sys.version_major()",
            "SELECT mysql.f()",
            "SELECT MASTER_POS_WAIT('x', 1)",
            "SELECT sys_exec('x')",
            "SELECT db.sleep(1)",
            "SELECT \u{17f}leep\u{212a}(1)",
        ],
    );
    check(&[
        ("SELECT my_fn(1) FROM a", "a:select my_fn()"),
        ("SELECT My_Fn (x)", "my_fn()"),
        ("SELECT db.My_Fn(x)", "db.my_fn()"),
        ("SELECT `db` . `f`((SELECT 1 FROM b))", "b:select db.f()"),
        // Back quotes, a schema, or a space where none may be: not the built-in.
        ("SELECT `lower`(x)", "lower()"),
        ("SELECT db.lower(x)", "db.lower()"),
        ("SELECT NOW ()", "now()"),
        ("SELECT LOWER (x), IF (1, 2, 3)", ""),
        (
            "SELECT EXTRACTVALUE(1, CONCAT(0x7e, (SELECT x FROM b)))",
            "b:select",
        ),
    ]);
}

/// Words that are keywords here and names of tables there.
#[test]
fn readings_that_differ() {
    // `DESCRIBE partitions x` is about a column of a table.
    check_refused(
        "",
        &[
            "DESC PARTITIONS x",
            "EXPLAIN EXTENDED a",
            "DESCRIBE FORMAT=JSON a",
        ],
    );
    check_refused("plain name", &["SELECT @é FROM a", "SET @aé = 1"]);
    // Elsewhere than after SELECT, an inert word is an alias or an error.
    check_refused(
        "executable",
        &[
            "SELECT x /*! SQL_CACHE */ FROM a",
            "DELETE FROM a LIMIT /*!40001 SQL_NO_CACHE*/ 1",
        ],
    );
    check(&[(
        "SELECT /*!40001 SQL_NO_CACHE */ /*! SQL_BIG_RESULT */ * FROM a",
        "a:select",
    )]);
}

#[test]
fn every_kind_is_known_by_name() {
    use super::super::is_classified_statement;
    for known in [
        "SELECT",
        "SHOW FULL COLUMNS",
        "CREATE VIEW",
        "DROP TABLE",
        "RESTART",
        "SHOW GRANTS",
    ] {
        assert!(is_classified_statement(known), "{known}");
    }
    for unknown in ["", "FROBNICATE", "SHOW FROBS", "CREATE FROB"] {
        assert!(!is_classified_statement(unknown), "{unknown}");
    }
    check_refused(
        "understood",
        &["FROBNICATE a", "SHOW FROBS", "CREATE FROB x"],
    );
}
