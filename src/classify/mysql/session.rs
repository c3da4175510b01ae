//! Session state: system variables, `SET`, transaction control.

use super::parser::Parser;
use super::token::Kind;
use super::words;
use crate::classify::{Refusal, Result};

/// System variables that any caller may read: what drivers and ORMs ask at start-up, and the like. None names a
/// path, a user, a host or another session.
const READABLE: &str = "
    auto_increment_increment auto_increment_offset autocommit
    character_set_client character_set_connection character_set_database character_set_results
    character_set_server character_set_system
    collation_connection collation_database collation_server
    default_storage_engine default_tmp_storage_engine default_week_format div_precision_increment
    explicit_defaults_for_timestamp foreign_key_checks
    group_concat_max_len have_profiling init_connect innodb_lock_wait_timeout
    interactive_timeout lc_messages lc_time_names license lock_wait_timeout
    lower_case_file_system lower_case_table_names max_allowed_packet max_execution_time
    max_statement_time net_buffer_length net_read_timeout net_write_timeout performance_schema
    protocol_version query_cache_size query_cache_type read_only session_track_gtids
    session_track_schema session_track_state_change session_track_system_variables
    sql_auto_is_null sql_big_selects sql_mode sql_notes sql_quote_show_create sql_safe_updates
    sql_select_limit sql_warnings storage_engine super_read_only system_time_zone time_zone timestamp
    transaction_isolation transaction_read_only tx_isolation tx_read_only unique_checks
    socket version version_comment version_compile_machine version_compile_os wait_timeout
    have_ssl have_openssl ssl_cipher thread_stack default_authentication_plugin in_transaction
    innodb_version tmp_table_size max_heap_table_size max_connections
";

/// Variables that a caller may set on a connection of its own, beside those that have a rule of their own: they
/// bound or order the caller's own work, and none changes how a text is read.
const SETTABLE: [&str; 24] = [
    "AUTOCOMMIT",
    "DEFAULT_WEEK_FORMAT",
    "DIV_PRECISION_INCREMENT",
    "GROUP_CONCAT_MAX_LEN",
    "INNODB_LOCK_WAIT_TIMEOUT",
    "INTERACTIVE_TIMEOUT",
    "LC_TIME_NAMES",
    "LOCK_WAIT_TIMEOUT",
    "MAX_EXECUTION_TIME",
    "MAX_STATEMENT_TIME",
    "NET_READ_TIMEOUT",
    "NET_WRITE_TIMEOUT",
    "SQL_AUTO_IS_NULL",
    "SQL_BIG_SELECTS",
    "SQL_NOTES",
    "SQL_QUOTE_SHOW_CREATE",
    "SQL_SAFE_UPDATES",
    "SQL_SELECT_LIMIT",
    "SQL_WARNINGS",
    "TIME_ZONE",
    "TRANSACTION_ISOLATION",
    "TRANSACTION_READ_ONLY",
    "TX_ISOLATION",
    "WAIT_TIMEOUT",
];

/// `sql_mode` flags that change no lexical rule, no operator and no privilege.
const SQL_MODES: [&str; 15] = [
    "ALLOW_INVALID_DATES",
    "EMPTY_STRING_IS_NULL",
    "ERROR_FOR_DIVISION_BY_ZERO",
    "NO_AUTO_CREATE_USER",
    "NO_AUTO_VALUE_ON_ZERO",
    "NO_ENGINE_SUBSTITUTION",
    "NO_UNSIGNED_SUBTRACTION",
    "NO_ZERO_DATE",
    "NO_ZERO_IN_DATE",
    "ONLY_FULL_GROUP_BY",
    "PAD_CHAR_TO_FULL_LENGTH",
    "STRICT_ALL_TABLES",
    "STRICT_TRANS_TABLES",
    "TIME_TRUNCATE_FRACTIONAL",
    "TRADITIONAL",
];

const CHARACTER_SET_VARIABLES: [&str; 4] = [
    "CHARACTER_SET_CLIENT",
    "CHARACTER_SET_CONNECTION",
    "CHARACTER_SET_RESULTS",
    "COLLATION_CONNECTION",
];

/// Whether `SELECT @@name` is allowed to everybody.
pub fn is_readable_variable(name: &str) -> bool {
    READABLE
        .split_ascii_whitespace()
        .any(|entry| entry.eq_ignore_ascii_case(name))
}

/// The name without its scope, and whether the scope is the session's (or not said).
fn scoped(variable: &str) -> (bool, &str) {
    match variable.split_once('.') {
        Some((scope, name)) => (words::is_any(scope, &["SESSION", "LOCAL"]), name),
        None => (true, variable),
    }
}

impl Parser<'_> {
    /// `@@name` in an expression.
    pub fn system_variable(&mut self) -> Result<()> {
        let name = self.text(0).trim_start_matches('@');
        let (session, bare) = scoped(name);
        let global = name.len() > 7
            && name
                .get(..7)
                .is_some_and(|scope| scope.eq_ignore_ascii_case("global."));
        if !(session || global) || !is_readable_variable(bare) {
            return Err(Refusal::Forbidden(format!(
                "the system variable `@@{name}` is not one that callers may read"
            )));
        }
        self.expect_kind(Kind::SystemVariable, "a variable")
    }

    /// `START TRANSACTION`, `BEGIN`, `COMMIT`, `ROLLBACK`, `SAVEPOINT`, `RELEASE SAVEPOINT`.
    pub fn transaction_control(&mut self) -> Result<()> {
        self.own_session(
            "transactions begin and end",
            "use `batch` or `transactions` instead",
        )?;
        if self.eat(&["START", "TRANSACTION"]) {
            return self.transaction_characteristics();
        }
        if self.eat(&["SAVEPOINT"]) || self.eat(&["RELEASE", "SAVEPOINT"]) {
            return self.name("a savepoint").map(|_| ());
        }
        if self.eat(&["BEGIN"]) {
            if self.is_word(0, "NOT") {
                return self.forbidden("BEGIN NOT ATOMIC runs a compound statement");
            }
            self.eat(&["WORK"]);
            return Ok(());
        }
        self.expect_any(&["COMMIT", "ROLLBACK"])?;
        self.eat(&["WORK"]);
        if self.eat(&["TO"]) {
            self.eat(&["SAVEPOINT"]);
            return self.name("a savepoint").map(|_| ());
        }
        if self.eat(&["AND"]) {
            self.eat(&["NO"]);
            self.expect(&["CHAIN"])?;
        }
        if !self.eat(&["NO", "RELEASE"]) {
            self.eat(&["RELEASE"]);
        }
        Ok(())
    }

    fn transaction_characteristics(&mut self) -> Result<()> {
        if self.is_end() || self.is_symbol(0, ";") {
            return Ok(());
        }
        self.list(|parser| {
            if parser.eat(&["WITH", "CONSISTENT", "SNAPSHOT"])
                || parser.eat(&["READ", "ONLY"])
                || parser.eat(&["READ", "WRITE"])
            {
                return Ok(());
            }
            parser.unexpected("READ ONLY, READ WRITE or WITH CONSISTENT SNAPSHOT")
        })
    }

    /// After `SET`.
    pub fn set(&mut self) -> Result<()> {
        if self.is_word(0, "STATEMENT") {
            return self.forbidden(
                "SET STATEMENT … FOR runs a statement under other settings; send it alone",
            );
        }
        self.own_session(
            "SET changes the state",
            "the settings that queries run under are fixed",
        )?;
        if self.is_word(0, "TRANSACTION") || self.is_word(1, "TRANSACTION") {
            return self.set_transaction();
        }
        self.list(Self::set_item)
    }

    /// `[SESSION] TRANSACTION {ISOLATION LEVEL … | READ …}, …`.
    fn set_transaction(&mut self) -> Result<()> {
        if !self.eat_any(&["SESSION", "LOCAL"]) && !self.is_word(0, "TRANSACTION") {
            return self.forbidden("SET GLOBAL changes the whole server");
        }
        self.expect(&["TRANSACTION"])?;
        self.list(|parser| {
            if parser.eat(&["READ"]) {
                return parser.expect_any(&["ONLY", "WRITE"]);
            }
            parser.expect(&["ISOLATION", "LEVEL"])?;
            if parser.eat(&["REPEATABLE", "READ"]) || parser.eat(&["READ", "COMMITTED"]) {
                return Ok(());
            }
            if parser.eat(&["READ", "UNCOMMITTED"]) {
                return Ok(());
            }
            parser.expect(&["SERIALIZABLE"])
        })
    }

    fn set_item(&mut self) -> Result<()> {
        if self.eat(&["NAMES"]) {
            return self.set_names();
        }
        if self.eat(&["CHARACTER", "SET"]) || self.eat(&["CHARSET"]) {
            return self.utf8();
        }
        if self.kind(0) == Some(Kind::UserVariable) {
            self.expect_kind(Kind::UserVariable, "a variable")?;
            self.equals()?;
            return self.expression();
        }
        let variable = self.set_variable()?;
        self.equals()?;
        self.set_value(&variable)
    }

    fn equals(&mut self) -> Result<()> {
        if self.eat_symbol(":=") {
            return Ok(());
        }
        self.expect_symbol("=")
    }

    /// `SET NAMES utf8mb4 [COLLATE …]`. Other character sets change how bytes are read.
    fn set_names(&mut self) -> Result<()> {
        self.utf8()?;
        if self.eat(&["COLLATE"]) {
            self.collation()?;
        }
        Ok(())
    }

    /// `utf8mb4`, or its subset `utf8`: both are read alike.
    fn utf8(&mut self) -> Result<()> {
        const NAMES: [&str; 3] = ["utf8mb4", "utf8mb3", "utf8"];
        if !words::is_any(self.text(0).trim_matches(['\'', '"', '`']), &NAMES) {
            return self.forbidden("a connection's character set is utf8mb4 and stays so");
        }
        if self.eat_kind(Kind::Text) || self.eat_kind(Kind::Quoted) {
            return Ok(());
        }
        self.expect_any(&NAMES)
    }

    /// The variable that is set, upper case, without its scope.
    fn set_variable(&mut self) -> Result<String> {
        if self.kind(0) == Some(Kind::SystemVariable) {
            let (session, name) = scoped(self.text(0).trim_start_matches('@'));
            if !session {
                return self.forbidden("SET GLOBAL and SET PERSIST change the whole server");
            }
            self.expect_kind(Kind::SystemVariable, "a variable")?;
            return Ok(name.to_ascii_uppercase());
        }
        if !self.eat_any(&["SESSION", "LOCAL"])
            && !self.is_symbol(1, "=")
            && !self.is_symbol(1, ":=")
        {
            return self
                .forbidden("this SET is not one of the harmless set-up statements of drivers");
        }
        let name = self.word(0);
        if name.is_empty() || !self.eat(&[name]) {
            return self.unexpected("a variable");
        }
        Ok(name.to_ascii_uppercase())
    }

    fn set_value(&mut self, variable: &str) -> Result<()> {
        if variable == "SQL_MODE" {
            return self.sql_mode();
        }
        if CHARACTER_SET_VARIABLES.contains(&variable) {
            let collation = variable == "COLLATION_CONNECTION"
                && self
                    .text(0)
                    .trim_matches(['\'', '"'])
                    .to_ascii_lowercase()
                    .starts_with("utf8mb4_");
            if collation {
                return self.collation();
            }
            if variable == "CHARACTER_SET_RESULTS" && self.eat(&["NULL"]) {
                return Ok(());
            }
            return self.utf8();
        }
        if ["FOREIGN_KEY_CHECKS", "UNIQUE_CHECKS"].contains(&variable) {
            // Switching a check on is harmless; switching it off is not.
            if self.text(0) == "1" && self.eat_kind(Kind::Number) {
                return Ok(());
            }
            if self.eat_any(&["ON", "TRUE", "DEFAULT"]) {
                return Ok(());
            }
            return self.forbidden("foreign keys and unique keys stay checked");
        }
        if !SETTABLE.contains(&variable) {
            return Err(Refusal::Forbidden(format!(
                "SET {variable} is not one of the harmless set-up statements of drivers"
            )));
        }
        self.eat_symbol("-");
        let taken = self.eat_kind(Kind::Number)
            || self.eat_kind(Kind::Text)
            || self.eat_kind(Kind::Parameter)
            || self.eat_any(&["ON", "OFF", "TRUE", "FALSE", "DEFAULT", "SYSTEM", "NULL"]);
        if taken {
            return Ok(());
        }
        self.unexpected("a literal value")
    }

    /// A literal list of harmless modes, alone or appended to the present ones with `CONCAT(@@sql_mode, …)`. Each
    /// part is a list of whole modes, so that no mode comes together from two parts: a part that follows another
    /// begins with a comma.
    fn sql_mode(&mut self) -> Result<()> {
        if self.is_word(0, "CONCAT") && self.is_symbol(1, "(") {
            self.expect(&["CONCAT"])?;
            let mut first = true;
            return self.nested(|parser| {
                parser.list_in_parentheses(|parser| {
                    let joined = parser.text(0).get(1..2) == Some(",");
                    if !std::mem::take(&mut first) && !joined {
                        return parser.unexpected("a string that begins with a comma");
                    }
                    parser.sql_mode()
                })
            });
        }
        if self.kind(0) == Some(Kind::SystemVariable) {
            let (session, name) = scoped(self.text(0).trim_start_matches('@'));
            if session && name.eq_ignore_ascii_case("sql_mode") {
                return self.expect_kind(Kind::SystemVariable, "a variable");
            }
        }
        let modes = self.text(0).trim_matches(['\'', '"']);
        let harmless = modes
            .split(',')
            .all(|mode| mode.is_empty() || words::is_any(mode.trim(), &SQL_MODES));
        if harmless && self.eat_kind(Kind::Text) {
            return Ok(());
        }
        self.forbidden(
            "this sql_mode changes how statements are read; use a literal list of checking modes",
        )
    }
}
