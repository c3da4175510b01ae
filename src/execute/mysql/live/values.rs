//! Every type, in and out.

use super::*;

/// Column type, parameter, what comes back, and the type that is shown.
const VALUES: [(&str, &str, &str, &str); 37] = [
    ("TINYINT", "-128", "Int(-128)", "TINYINT"),
    ("TINYINT UNSIGNED", "255", "Int(255)", "TINYINT UNSIGNED"),
    ("SMALLINT", "-32768", "Int(-32768)", "SMALLINT"),
    ("MEDIUMINT", "8388607", "Int(8388607)", "MEDIUMINT"),
    (
        "INT UNSIGNED",
        "4294967295",
        "Int(4294967295)",
        "INT UNSIGNED",
    ),
    (
        "BIGINT",
        "-9223372036854775808",
        "BigInt(-9223372036854775808)",
        "BIGINT",
    ),
    (
        "BIGINT UNSIGNED",
        "18446744073709551615",
        "BigUint(18446744073709551615)",
        "BIGINT UNSIGNED",
    ),
    ("BIGINT UNSIGNED", "7", "BigUint(7)", "BIGINT UNSIGNED"),
    ("BOOLEAN", "true", "Int(1)", "TINYINT"),
    ("FLOAT", "1.5", "Float(1.5)", "FLOAT"),
    ("DOUBLE", "0.1", "Double(0.1)", "DOUBLE"),
    (
        "DECIMAL(65,30)",
        "12345678901234567890123456789012345.123456789012345678901234567890",
        "Decimal(\"12345678901234567890123456789012345.123456789012345678901234567890\")",
        "DECIMAL",
    ),
    ("DECIMAL(4,2)", "\"-0.50\"", "Decimal(\"-0.50\")", "DECIMAL"),
    ("DATE", "\"2024-02-29\"", "Temporal(\"2024-02-29\")", "DATE"),
    ("DATE", "\"0000-00-00\"", "Temporal(\"0000-00-00\")", "DATE"),
    (
        "DATETIME(6)",
        "\"2024-01-02T03:04:05.678901\"",
        "Temporal(\"2024-01-02T03:04:05.678901\")",
        "DATETIME",
    ),
    (
        "DATETIME",
        "\"9999-12-31 23:59:59\"",
        "Temporal(\"9999-12-31T23:59:59\")",
        "DATETIME",
    ),
    (
        "TIMESTAMP(6) NULL",
        "\"2024-01-02 03:04:05.000001\"",
        "Temporal(\"2024-01-02T03:04:05.000001Z\")",
        "TIMESTAMP",
    ),
    (
        "TIME(6)",
        "\"-838:59:59\"",
        "Temporal(\"-838:59:59\")",
        "TIME",
    ),
    ("TIME(6)", "\"00:00:00\"", "Temporal(\"00:00:00\")", "TIME"),
    ("YEAR", "2155", "Int(2155)", "YEAR"),
    ("BIT(10)", "513", "BigUint(513)", "BIT"),
    ("CHAR(5)", "\"é😀\"", "Text(\"é😀\")", "CHAR"),
    (
        "VARCHAR(20)",
        "\"a'b\\\\\\\"\"",
        "Text(\"a'b\\\\\\\"\")",
        "VARCHAR",
    ),
    ("VARCHAR(20)", "\"\\u0000\"", "Text(\"\\0\")", "VARCHAR"),
    ("LONGTEXT", "\"text\"", "Text(\"text\")", "TEXT"),
    ("TEXT", "12.50", "Text(\"12.50\")", "TEXT"),
    (
        "BINARY(2)",
        "{\"$base64\": \"AP8=\"}",
        "Bytes([0, 255])",
        "BINARY",
    ),
    (
        "VARBINARY(5)",
        "{\"$base64\": \"AP8=\"}",
        "Bytes([0, 255])",
        "VARBINARY",
    ),
    (
        "BLOB",
        "{\"$base64\": \"wyg=\"}",
        "Bytes([195, 40])",
        "BLOB",
    ),
    ("ENUM('a','b')", "\"b\"", "Text(\"b\")", "ENUM"),
    ("SET('a','b')", "\"a,b\"", "Text(\"a,b\")", "SET"),
    ("JSON", "{\"a\": [1, null]}", "{\\\"a\\\": [1, null]}", ""),
    ("INT", "null", "Null", "INT"),
    ("TEXT", "[1, \"x\"]", "Text(\"[1, \\\"x\\\"]\")", "TEXT"),
    ("INT", "1e2", "Int(100)", "INT"),
    ("INT", "false", "Int(0)", "INT"),
];

#[tokio::test]
async fn every_type_goes_in_and_out_exactly() {
    let rig = Rig::new(1);
    for (type_, param, expected, shown) in VALUES {
        rig.change("DROP TABLE IF EXISTS one_value", &[]).await;
        rig.change(
            &format!("CREATE TABLE one_value (v {type_}) CHARACTER SET utf8mb4"),
            &[],
        )
        .await;
        rig.change("INSERT INTO one_value VALUES (?)", &[param])
            .await;
        let (kept, summary) = rig.run("SELECT v FROM one_value", &[]).await.unwrap();
        assert!(
            kept.rows[0][0].contains(expected),
            "{type_} {param}: {}",
            kept.rows[0][0]
        );
        assert!(
            kept.columns[0].ends_with(shown),
            "{type_}: {}",
            kept.columns[0]
        );
        assert_eq!(summary.rows_affected, 1);
    }
    let point = rig
        .row("SELECT ST_GeomFromText('POINT(1 2)') AS g", &[])
        .await;
    assert!(point[0].starts_with("Bytes([0, 0, 0, 0, 1"), "{point:?}");
}
