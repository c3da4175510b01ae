//! Statements about the session: transactions, settings, cursors, prepared statements, COPY, EXPLAIN.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    ClosePortalStmt, CopyStmt, DeallocateStmt, DeclareCursorStmt, DefElem, ExecuteStmt,
    ExplainStmt, FetchStmt, LockStmt, Node, PrepareStmt, TransactionStmt, TransactionStmtKind,
    VariableSetKind, VariableSetStmt, VariableShowStmt, a_const,
};

use super::walk::{Walker, present};
use super::{Refusal, Result, Session, call, nodes, settings};
use crate::operation::Action;

/// `LOCK TABLE`'s weakest mode, ACCESS SHARE, which reading takes anyway.
const ACCESS_SHARE_LOCK: i32 = 1;

impl Walker {
    /// Statements that make sense on a connection of the caller's own alone.
    #[allow(clippy::wildcard_enum_match_arm)] // `nodes::kind` names every node; the rest is refused.
    pub fn session_statement(&mut self, node: &NodeEnum) -> Result<()> {
        if self.session == Session::Shared {
            return Err(Refusal::Forbidden(instead(node)));
        }
        match node {
            NodeEnum::TransactionStmt(transaction) => transaction_control(transaction),
            NodeEnum::VariableSetStmt(set) => set_variable(set),
            // Deferring a constraint moves its check to the commit and skips none.
            NodeEnum::ConstraintsSetStmt(_) => Ok(()),
            NodeEnum::DeclareCursorStmt(declare) => {
                let DeclareCursorStmt {
                    portalname: _,
                    options: _,
                    query,
                } = declare.as_ref();
                self.statement(present(query.as_deref())?)
            }
            // What a cursor gives was decided when it was declared, on the same connection.
            NodeEnum::FetchStmt(FetchStmt { .. })
            | NodeEnum::ClosePortalStmt(ClosePortalStmt { .. })
            | NodeEnum::DeallocateStmt(DeallocateStmt { .. }) => Ok(()),
            NodeEnum::PrepareStmt(prepare) => self.prepare(prepare),
            NodeEnum::ExecuteStmt(execute) => self.execute(execute),
            NodeEnum::CopyStmt(copy) => self.copy(copy),
            NodeEnum::LockStmt(lock) => self.lock(lock),
            other => Err(nodes::refused(other)),
        }
    }

    /// `SHOW` changes nothing, so it needs no connection of one's own.
    pub fn show(&mut self, show: &VariableShowStmt) -> Result<()> {
        let VariableShowStmt { name } = show;
        if settings::may_read(name) {
            return Ok(());
        }
        Err(Refusal::Forbidden(format!(
            "`SHOW {name}`: this setting is not for callers"
        )))
    }

    fn prepare(&mut self, prepare: &PrepareStmt) -> Result<()> {
        let PrepareStmt {
            name,
            argtypes,
            query,
        } = prepare;
        self.expressions(argtypes)?;
        self.statement(present(query.as_deref())?)?;
        self.prepared.push(name.clone());
        Ok(())
    }

    /// A statement prepared earlier in the same text has been walked there. Any other could have been prepared
    /// by the driver for another caller, since SQL and the protocol share the names.
    fn execute(&mut self, execute: &ExecuteStmt) -> Result<()> {
        let ExecuteStmt { name, params } = execute;
        if !self.prepared.contains(name) {
            return Err(Refusal::Forbidden(format!(
                "`EXECUTE {name}`: what it runs cannot be seen; prepare through the protocol, with parameters"
            )));
        }
        self.expressions(params)
    }

    fn copy(&mut self, copy: &CopyStmt) -> Result<()> {
        let CopyStmt {
            relation,
            query,
            attlist: _,
            is_from,
            is_program,
            filename,
            options,
            where_clause,
        } = copy;
        if *is_program || !filename.is_empty() {
            return Err(Refusal::Forbidden(
                "`COPY` with a file or program of the server; use `STDIN` or `STDOUT`".into(),
            ));
        }
        for option in options {
            copy_option(option)?;
        }
        if let Some(relation) = relation {
            let action = if *is_from {
                Action::Insert
            } else {
                Action::Select
            };
            self.touch(relation, action)?;
        }
        if let Some(query) = query {
            self.statement(present(Some(query))?)?;
        }
        self.optional(where_clause.as_deref())
    }

    /// A lock stronger than a reader's stops writers, so it needs the right to update.
    fn lock(&mut self, lock: &LockStmt) -> Result<()> {
        let LockStmt {
            relations,
            mode,
            nowait: _,
        } = lock;
        let action = if *mode == ACCESS_SHARE_LOCK {
            Action::Select
        } else {
            Action::Update
        };
        for relation in relations {
            let node = present(Some(relation))?;
            let NodeEnum::RangeVar(relation) = node else {
                return Err(nodes::refused(node));
            };
            self.touch(relation, action)?;
        }
        Ok(())
    }

    /// `EXPLAIN` counts as what it explains: with ANALYZE it runs, and without, the plan tells of the data.
    pub fn explain(&mut self, explain: &ExplainStmt) -> Result<()> {
        let ExplainStmt { query, options } = explain;
        for option in options {
            let option = definition(option)?;
            match option.defname.as_str() {
                "analyze" | "verbose" | "costs" | "settings" | "generic_plan" | "buffers"
                | "wal" | "timing" | "summary" | "memory" | "serialize" | "format" => {}
                other => {
                    return Err(Refusal::Forbidden(format!(
                        "the option `{other}` of `EXPLAIN` is not known"
                    )));
                }
            }
        }
        self.statement(present(query.as_deref())?)
    }
}

/// What to use over HTTP instead of a statement that needs a connection of one's own.
#[allow(clippy::wildcard_enum_match_arm)] // The remaining statements share one sentence.
fn instead(node: &NodeEnum) -> String {
    let (statement, use_instead) = match node {
        NodeEnum::TransactionStmt(_) => (
            "transaction control",
            "use `batch`, or `transactions` to begin one",
        ),
        NodeEnum::ConstraintsSetStmt(_) => (
            "`SET CONSTRAINTS`",
            "have the constraint declared `INITIALLY DEFERRED`",
        ),
        NodeEnum::LockStmt(_) => (
            "`LOCK TABLE`",
            "lock rows with `SELECT … FOR UPDATE`, in a `batch` or one of `transactions`",
        ),
        NodeEnum::VariableSetStmt(_) => (
            "`SET` and `RESET`",
            "settings are pinned; use the request's own fields (`timeout_ms`)",
        ),
        NodeEnum::DeclareCursorStmt(_) | NodeEnum::FetchStmt(_) | NodeEnum::ClosePortalStmt(_) => {
            ("a cursor", "send the query, and stream its rows")
        }
        NodeEnum::PrepareStmt(_) | NodeEnum::ExecuteStmt(_) | NodeEnum::DeallocateStmt(_) => (
            "a prepared statement",
            "send the statement with `params`; it is prepared for you",
        ),
        NodeEnum::CopyStmt(_) => ("`COPY`", "use `INSERT` or `SELECT`, or a wire connection"),
        _ => ("this statement", "use a wire connection"),
    };
    format!("{statement} needs a connection of one's own; {use_instead}")
}

fn transaction_control(transaction: &TransactionStmt) -> Result<()> {
    match TransactionStmtKind::try_from(transaction.kind) {
        Ok(
            TransactionStmtKind::TransStmtBegin
            | TransactionStmtKind::TransStmtStart
            | TransactionStmtKind::TransStmtCommit
            | TransactionStmtKind::TransStmtRollback
            | TransactionStmtKind::TransStmtSavepoint
            | TransactionStmtKind::TransStmtRelease
            | TransactionStmtKind::TransStmtRollbackTo,
        ) => Ok(()),
        Ok(
            TransactionStmtKind::TransStmtPrepare
            | TransactionStmtKind::TransStmtCommitPrepared
            | TransactionStmtKind::TransStmtRollbackPrepared,
        ) => Err(Refusal::Forbidden(
            "two-phase transactions outlive the connection and hold their locks; use `COMMIT`"
                .into(),
        )),
        Ok(TransactionStmtKind::Undefined) | Err(_) => Err(Refusal::Forbidden(
            "this transaction control is not understood".into(),
        )),
    }
}

/// `SET` of a closed list of settings to harmless values.
fn set_variable(set: &VariableSetStmt) -> Result<()> {
    let VariableSetStmt {
        kind,
        name,
        args,
        jumble_args: _,
        is_local: _,
        location: _,
    } = set;
    let allowed = match VariableSetKind::try_from(*kind) {
        Ok(VariableSetKind::VarSetValue) => settings::may_set_to(name, &value(args)?),
        Ok(VariableSetKind::VarSetMulti) => return set_transaction(name, args),
        // The default of a pinned setting is not what it is pinned to; of the others it is harmless.
        Ok(VariableSetKind::VarSetDefault | VariableSetKind::VarReset) => {
            settings::may_set(name) && !is_pinned(name)
        }
        Ok(
            VariableSetKind::VarSetCurrent
            | VariableSetKind::VarResetAll
            | VariableSetKind::Undefined,
        )
        | Err(_) => false,
    };
    if allowed {
        return Ok(());
    }
    let name = if name.is_empty() {
        "all"
    } else {
        name.as_str()
    };
    Err(Refusal::Forbidden(format!(
        "the setting `{name}` is pinned, or may not have this value"
    )))
}

/// Settings that may be set only to what they are pinned to, so that resetting them could undo that.
fn is_pinned(name: &str) -> bool {
    [
        "bytea_output",
        "client_encoding",
        "standard_conforming_strings",
        "timezone",
    ]
    .iter()
    .any(|pinned| name.eq_ignore_ascii_case(pinned))
}

/// The value of a setting as one text; a list is joined as the server joins it.
fn value(args: &[Node]) -> Result<String> {
    let parts = args.iter().map(constant).collect::<Result<Vec<_>>>()?;
    Ok(parts.join(", "))
}

#[allow(clippy::wildcard_enum_match_arm)] // A setting is a constant; anything else is refused.
fn constant(node: &Node) -> Result<String> {
    let node = present(Some(node))?;
    if let Some(text) = call::literal(node) {
        return Ok(text.to_owned());
    }
    match node {
        // The grammar has a cast in one place, `SET TIME ZONE INTERVAL '…'`, and only of a constant to `interval`.
        NodeEnum::TypeCast(cast) => {
            let arg = cast.arg.as_deref().and_then(|arg| arg.node.as_ref());
            let zone = arg.filter(|arg| matches!(arg, NodeEnum::AConst(_)));
            let zone = zone.and_then(call::literal);
            zone.map(str::to_owned).ok_or_else(|| nodes::refused(node))
        }
        NodeEnum::AConst(constant) => match &constant.val {
            Some(a_const::Val::Ival(number)) => Ok(number.ival.to_string()),
            Some(a_const::Val::Fval(number)) => Ok(number.fval.clone()),
            Some(a_const::Val::Boolval(truth)) => Ok(truth.boolval.to_string()),
            Some(a_const::Val::Sval(_) | a_const::Val::Bsval(_)) | None => {
                Err(nodes::refused(node))
            }
        },
        other => Err(nodes::refused(other)),
    }
}

/// `SET TRANSACTION` and `SET SESSION CHARACTERISTICS AS TRANSACTION`.
fn set_transaction(name: &str, args: &[Node]) -> Result<()> {
    if !matches!(name, "TRANSACTION" | "SESSION CHARACTERISTICS") {
        return Err(Refusal::Forbidden(format!(
            "`SET {name}` is not for callers"
        )));
    }
    for argument in args {
        match definition(argument)?.defname.as_str() {
            "transaction_isolation" | "transaction_read_only" | "transaction_deferrable" => {}
            other => {
                return Err(Refusal::Forbidden(format!("`SET {name}` with `{other}`")));
            }
        }
    }
    Ok(())
}

fn copy_option(option: &Node) -> Result<()> {
    let option = definition(option)?;
    match option.defname.as_str() {
        "format" | "delimiter" | "null" | "default" | "header" | "quote" | "escape"
        | "force_quote" | "force_not_null" | "force_null" | "on_error" | "log_verbosity"
        | "reject_limit" => Ok(()),
        "encoding" if is_utf8(option.arg.as_deref()) => Ok(()),
        other => Err(Refusal::Forbidden(format!(
            "the option `{other}` of `COPY` is not allowed, or may not have this value"
        ))),
    }
}

fn is_utf8(value: Option<&Node>) -> bool {
    matches!(value.and_then(|value| value.node.as_ref()), Some(NodeEnum::String(name))
        if ["utf8", "utf-8"].iter().any(|utf8| name.sval.eq_ignore_ascii_case(utf8)))
}

/// An option: a name and perhaps a value.
fn definition(node: &Node) -> Result<&DefElem> {
    let node = present(Some(node))?;
    let NodeEnum::DefElem(option) = node else {
        return Err(nodes::refused(node));
    };
    Ok(option)
}
