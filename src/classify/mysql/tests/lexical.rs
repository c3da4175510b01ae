use super::{check, check_refused, sent};

#[test]
fn comments() {
    check(&[
        ("/*x*/SELECT/**/1/*y*/FROM/*z*/a", "a:select"),
        ("SELECT 1 # FROM b\nFROM a", "a:select"),
        ("SELECT 1 -- FROM b\n FROM a --", "a:select"),
        ("SELECT 5--1 FROM a", "a:select"),
        ("SELECT /*/ 1 FROM b /*/ 2 FROM a", "a:select"),
        ("SELECT /* /* */ 1 FROM a", "a:select"),
        ("SELECT '/*' FROM a -- '*/ FROM b", "a:select"),
        ("SELECT `/*` FROM a", "a:select"),
        ("SELECT /*!40001 SQL_NO_CACHE */ 1 FROM a", "a:select"),
        (
            "SELECT /*+ MAX_EXECUTION_TIME(100) NO_BKA(a@qb, `b`) */ 1 FROM a",
            "a:select",
        ),
    ]);
    check_refused(
        "executable comments",
        &[
            "SELECT 1 /*! UNION SELECT 2 FROM b */",
            "SELECT 1 /*!50000UNION*/ SELECT 2",
            "SELECT 1 FROM /*!99999 a -- */ b",
            "SELECT 1 /*M! , x */ FROM a",
            "SELECT 1 /*M!100100 FROM b */",
            "/*!SELECT*/ 1",
            "SELECT 1 /*!SQL_NO_CACHE, x FROM b */",
        ],
    );
    check_refused(
        "hint",
        &[
            "SELECT /*+ SET_VAR(sql_mode='ANSI_QUOTES') */ 1",
            "SELECT /*+ SET_VAR(max_join_size=1) */ 1",
            "SELECT /*+ BKA(a) RESOURCE_GROUP(g) */ 1",
        ],
    );
    check_refused(
        "comment",
        &["SELECT 1 /* open", "SELECT 1 */ 2", "SELECT /*+ open"],
    );
}

#[test]
fn strings_and_numbers() {
    check(&[
        (
            r#"SELECT 'it''s \\', "say ""x""", 'a\'b', "\"" FROM a"#,
            "a:select",
        ),
        (r"SELECT '\\' FROM a -- ' FROM b", "a:select"),
        ("SELECT \"x'\" FROM a -- '", "a:select"),
        ("SELECT-x,+y,!z,~w,'s'FROM a", "a:select"),
        ("SELECT\x0bx\x0cFROM\r\na\t", "a:select"),
        (
            "SELECT 1.5, .5, 5., 1e5, 1.5e-3, 0xFF, x'0aFF', b'01', 0b01 FROM a",
            "a:select",
        ),
        ("SELECT x'41', x\"41\" FROM a", "a:select"),
        ("SELECT $$.x FROM a $$", "a:select"),
        ("SELECT 'ünïcödé 😀' FROM a", "a:select"),
    ]);
    check_refused(
        "runs into",
        &[
            "SELECT 1e0UNION SELECT 2",
            "SELECT x FROM db 9.e.a",
            "SELECT 1..x",
            "SELECT ?secret FROM a",
            "SELECT 1 FROM a LIMIT ?OFFSET 1",
            "SELECT ?1",
            "SELECT 1..x",
            "SELECT ?secret FROM a",
            "SELECT 1 FROM a LIMIT ?OFFSET 1",
            "SELECT ?1",
        ],
    );
    check_refused(
        "not closed",
        &[
            "SELECT 'x",
            "SELECT \"x",
            r"SELECT 'x\'",
            "SELECT `x",
            "SELECT 'x''",
        ],
    );
    check_refused("malformed", &["SELECT x'4'", "SELECT x'4g'", "SELECT b'2'"]);
    check_refused(
        "character",
        &["SELECT \u{1}1", "SELECT 1 FROM a WHERE x = \u{7f}"],
    );
    check_refused("backslash", &[r"SELECT \N"]);
    check_refused("NUL", &["SELECT 1\0", "SELECT '\0'"]);
    check_refused(
        "found a string",
        &["SELECT 1 FROM \"a\"", "SELECT 1 FROM 'a'"],
    );
    check_refused("introducer", &["SELECT _gbk'x'", "SELECT _sjis x'41'"]);
    check_refused(
        "ODBC",
        &["SELECT {x 1}", "SELECT 1 FROM {OJ a LEFT JOIN b ON 1}"],
    );
}

/// What is sent has every table and alias in back quotes, and keeps what a column's label is made of.
#[test]
fn canonical_text() {
    for (sql, wanted) in [
        (
            "SELECT COUNT(*) , x+1 FROM users u;",
            "SELECT COUNT(*) , x+1 FROM `users` `u`",
        ),
        ("SELECT  `id` FROM `users`", "SELECT  `id` FROM `users`"),
        ("SELECT/**/1 -- x", "SELECT 1"),
        ("SELECT 5--1", "SELECT 5- -1"),
        (
            "SELECT rank, u.rank, status FROM u",
            "SELECT `rank`, u.rank, status FROM `u`",
        ),
        (
            "SELECT x AS y, z 'w' FROM a",
            "SELECT x AS `y`, z 'w' FROM `a`",
        ),
        ("SELECT 1 FROM a/*x*/JOIN b", "SELECT 1 FROM `a` JOIN `b`"),
        (
            "SELECT /*+ BKA(a) */ 1 FROM a",
            "SELECT /*+ BKA(a) */ 1 FROM `a`",
        ),
        (
            "DELETE FROM a.b WHERE 2x = '\\''",
            "DELETE FROM `a`.`b` WHERE `2x` = '\\''",
        ),
        (
            "SELECT * FROM a USE INDEX (i) ORDER BY x",
            "SELECT * FROM `a` USE INDEX (`i`) ORDER BY x",
        ),
    ] {
        assert_eq!(sent(sql), wanted);
        assert_eq!(sent(wanted), wanted, "rendering is stable");
    }
}
