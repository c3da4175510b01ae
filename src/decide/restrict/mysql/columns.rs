//! What a column holds, as far as comparing it and masking it hangs on that, and how its mask is spelled.

use std::fmt::Write as _;

use crate::decide::rules::Mask;

/// The server quotes up to eighty characters of a text that it cannot parse. With so many blanks before it, the
/// salt is never among them.
const SALT_DISTANCE_BYTES: usize = 96;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Integer,
    /// Numbers with a fraction.
    Decimal,
    Text,
    /// Shown as text and stored otherwise: MariaDB's `uuid`, `inet4` and `inet6`, MySQL's `json`.
    Native,
    Binary,
    /// `date`, `datetime`.
    Moment,
    /// `timestamp`, which is shown in the session's time zone.
    Instant,
    Time,
    Other,
}

impl Family {
    pub fn of(type_name: &str) -> Self {
        let word: String = type_name
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        match word.to_ascii_lowercase().as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" | "year"
            | "bool" | "boolean" => Self::Integer,
            "decimal" | "dec" | "numeric" | "fixed" | "float" | "double" | "real" => Self::Decimal,
            "char" | "varchar" | "character" | "nchar" | "nvarchar" | "tinytext" | "text"
            | "mediumtext" | "longtext" | "enum" | "set" => Self::Text,
            "uuid" | "inet4" | "inet6" | "json" => Self::Native,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
                Self::Binary
            }
            "date" | "datetime" => Self::Moment,
            "timestamp" => Self::Instant,
            "time" => Self::Time,
            _ => Self::Other,
        }
    }

    pub fn is_number(self) -> bool {
        matches!(self, Self::Integer | Self::Decimal)
    }

    /// The value's text in utf8mb4. Bytes are spelled as PostgreSQL spells them.
    pub fn text_of(self, column: &str) -> String {
        match self {
            Self::Integer
            | Self::Decimal
            | Self::Text
            | Self::Native
            | Self::Moment
            | Self::Instant
            | Self::Time => {
                format!("CONVERT({column} USING utf8mb4)")
            }
            Self::Binary | Self::Other => format!("CONCAT('\\\\x', LOWER(HEX({column})))"),
        }
    }
}

/// A name in back quotes.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A string literal under the `sql_mode` that is pinned, where a backslash escapes.
pub fn literal(text: &str) -> String {
    if text.chars().any(char::is_control) {
        let mut hex = String::from("_utf8mb4 x'");
        for byte in text.bytes() {
            // Writing into a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex.push('\'');
        return hex;
    }
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// What is seen in place of a column.
pub fn masked(mask: Mask, column: &str, family: Family, salt: &str) -> String {
    match mask {
        // Of the column's type.
        Mask::Null => format!("IF(FALSE, {column}, NULL)"),
        Mask::Hash => format!(
            "SHA2(CONCAT({blank:distance$}{}, {}), 256)",
            literal(salt),
            family.text_of(column),
            blank = "",
            distance = SALT_DISTANCE_BYTES,
        ),
        Mask::Partial => {
            let text = family.text_of(column);
            format!(
                "CASE WHEN {column} IS NULL THEN NULL WHEN CHAR_LENGTH({text}) > 8 \
                 THEN CONCAT('****', RIGHT({text}, 4)) ELSE '****' END"
            )
        }
    }
}

/// Whether two names are one column to the servers: they ignore case.
pub fn same_name(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
        || (!one.is_ascii() && !other.is_ascii() && one.to_lowercase() == other.to_lowercase())
}
