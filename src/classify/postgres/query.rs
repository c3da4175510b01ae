//! SELECT, INSERT, UPDATE, DELETE, MERGE and their `WITH`.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    CmdType, CommonTableExpr, CteCycleClause, CteSearchClause, DeleteStmt, InferClause, InsertStmt,
    MergeStmt, MergeWhenClause, Node, OnConflictAction, OnConflictClause, OverridingKind, RangeVar,
    ReturningClause, SelectStmt, UpdateStmt, WithClause,
};

use super::walk::{Walker, present};
use super::{Refusal, Result, nodes};
use crate::operation::Action;

impl Walker {
    pub fn select(&mut self, select: &SelectStmt) -> Result<()> {
        self.scope(|walker| {
            walker.with(select.with_clause.as_ref())?;
            let plain = walker.are_relations(&select.from_clause);
            walker.query(plain, |walker| walker.select_body(select))
        })
    }

    fn select_body(&mut self, select: &SelectStmt) -> Result<()> {
        let SelectStmt {
            distinct_clause,
            into_clause,
            target_list,
            from_clause,
            where_clause,
            group_clause,
            group_distinct: _,
            having_clause,
            window_clause,
            values_lists,
            sort_clause,
            limit_offset,
            limit_count,
            limit_option: _,
            locking_clause,
            with_clause: _,
            op: _,
            all: _,
            larg,
            rarg,
        } = select;
        if into_clause.is_some() {
            return Err(Refusal::Forbidden(
                "`SELECT … INTO` makes a table; use `INSERT INTO … SELECT`".into(),
            ));
        }
        self.sources(from_clause)?;
        self.distinct(distinct_clause)?;
        self.expressions(target_list)?;
        self.optional(where_clause.as_deref())?;
        self.expressions(group_clause)?;
        self.optional(having_clause.as_deref())?;
        self.expressions(window_clause)?;
        self.expressions(values_lists)?;
        self.expressions(sort_clause)?;
        self.optional(limit_offset.as_deref())?;
        self.optional(limit_count.as_deref())?;
        self.locking(locking_clause, from_clause)?;
        for side in [larg, rarg].into_iter().flatten() {
            self.select(side)?;
        }
        Ok(())
    }

    /// `DISTINCT` alone is a list of one empty node; `DISTINCT ON` lists expressions.
    fn distinct(&mut self, clause: &[Node]) -> Result<()> {
        match clause {
            [Node { node: None }] => Ok(()),
            expressions => self.expressions(expressions),
        }
    }

    /// A `WITH`: each name is in sight of what follows it, and of everything in `WITH RECURSIVE`.
    fn with(&mut self, with: Option<&WithClause>) -> Result<()> {
        let Some(WithClause {
            ctes,
            recursive,
            location: _,
        }) = with
        else {
            return Ok(());
        };
        let ctes = ctes.iter().map(cte).collect::<Result<Vec<_>>>()?;
        if *recursive {
            for cte in &ctes {
                self.name_cte(&cte.ctename);
            }
        }
        for cte in ctes {
            self.statement(present(cte.ctequery.as_deref())?)?;
            self.search_and_cycle(cte)?;
            if !recursive {
                self.name_cte(&cte.ctename);
            }
        }
        Ok(())
    }

    fn search_and_cycle(&mut self, cte: &CommonTableExpr) -> Result<()> {
        if let Some(CteSearchClause {
            search_col_list, ..
        }) = &cte.search_clause
        {
            self.expressions(search_col_list)?;
        }
        if let Some(cycle) = &cte.cycle_clause {
            let CteCycleClause {
                cycle_col_list,
                cycle_mark_value,
                cycle_mark_default,
                ..
            } = cycle.as_ref();
            self.expressions(cycle_col_list)?;
            self.optional(cycle_mark_value.as_deref())?;
            self.optional(cycle_mark_default.as_deref())?;
        }
        Ok(())
    }

    pub fn insert(&mut self, insert: &InsertStmt) -> Result<()> {
        let InsertStmt {
            relation,
            cols,
            select_stmt,
            on_conflict_clause,
            returning_clause,
            with_clause,
            r#override,
        } = insert;
        may_override(*r#override)?;
        let target = target(relation.as_ref())?;
        self.scope(|walker| {
            walker.with(with_clause.as_ref())?;
            walker.touch(target, Action::Insert)?;
            walker.query(true, |walker| {
                walker.expressions(cols)?;
                if let Some(source) = select_stmt {
                    walker.statement(present(Some(source))?)?;
                }
                walker.on_conflict(on_conflict_clause.as_deref(), target)?;
                walker.returning(returning_clause.as_ref(), target)
            })
        })
    }

    fn on_conflict(&mut self, clause: Option<&OnConflictClause>, target: &RangeVar) -> Result<()> {
        let Some(OnConflictClause {
            action,
            infer,
            target_list,
            where_clause,
            location: _,
        }) = clause
        else {
            return Ok(());
        };
        if let Some(infer) = infer {
            let InferClause {
                index_elems,
                where_clause,
                conname: _,
                location: _,
            } = infer.as_ref();
            self.expressions(index_elems)?;
            self.optional(where_clause.as_deref())?;
        }
        match OnConflictAction::try_from(*action) {
            Ok(OnConflictAction::OnconflictNothing) => {}
            Ok(OnConflictAction::OnconflictUpdate) => self.touch(target, Action::Update)?,
            Ok(OnConflictAction::Undefined | OnConflictAction::OnconflictNone) | Err(_) => {
                return Err(Refusal::Forbidden(
                    "this `ON CONFLICT` is not understood".into(),
                ));
            }
        }
        self.expressions(target_list)?;
        self.optional(where_clause.as_deref())
    }

    /// What `RETURNING` gives back is read, so it needs the right to select.
    fn returning(&mut self, clause: Option<&ReturningClause>, target: &RangeVar) -> Result<()> {
        let Some(ReturningClause { options: _, exprs }) = clause else {
            return Ok(());
        };
        self.touch(target, Action::Select)?;
        self.expressions(exprs)
    }

    pub fn update(&mut self, update: &UpdateStmt) -> Result<()> {
        let UpdateStmt {
            relation,
            target_list,
            where_clause,
            from_clause,
            returning_clause,
            with_clause,
        } = update;
        let target = target(relation.as_ref())?;
        self.scope(|walker| {
            walker.with(with_clause.as_ref())?;
            walker.touch(target, Action::Update)?;
            let plain = from_clause.is_empty() || walker.are_relations(from_clause);
            walker.query(plain, |walker| {
                walker.sources(from_clause)?;
                walker.expressions(target_list)?;
                walker.optional(where_clause.as_deref())?;
                walker.returning(returning_clause.as_ref(), target)
            })
        })
    }

    pub fn delete(&mut self, delete: &DeleteStmt) -> Result<()> {
        let DeleteStmt {
            relation,
            using_clause,
            where_clause,
            returning_clause,
            with_clause,
        } = delete;
        let target = target(relation.as_ref())?;
        self.scope(|walker| {
            walker.with(with_clause.as_ref())?;
            walker.touch(target, Action::Delete)?;
            let plain = using_clause.is_empty() || walker.are_relations(using_clause);
            walker.query(plain, |walker| {
                walker.sources(using_clause)?;
                walker.optional(where_clause.as_deref())?;
                walker.returning(returning_clause.as_ref(), target)
            })
        })
    }

    pub fn merge(&mut self, merge: &MergeStmt) -> Result<()> {
        let MergeStmt {
            relation,
            source_relation,
            join_condition,
            merge_when_clauses,
            returning_clause,
            with_clause,
        } = merge;
        let target = target(relation.as_ref())?;
        self.scope(|walker| {
            walker.with(with_clause.as_ref())?;
            walker.query(false, |walker| {
                walker.source(present(source_relation.as_deref())?)?;
                walker.optional(join_condition.as_deref())?;
                let mut acted = false;
                for clause in merge_when_clauses {
                    acted |= walker.merge_branch(present(Some(clause))?, target)?;
                }
                if !acted {
                    walker.touch(target, Action::Select)?;
                }
                walker.returning(returning_clause.as_ref(), target)
            })
        })
    }

    /// One `WHEN … THEN`; says whether it acts at all.
    fn merge_branch(&mut self, clause: &NodeEnum, target: &RangeVar) -> Result<bool> {
        let NodeEnum::MergeWhenClause(clause) = clause else {
            return Err(nodes::refused(clause));
        };
        let MergeWhenClause {
            match_kind: _,
            command_type,
            r#override,
            condition,
            target_list,
            values,
        } = clause.as_ref();
        may_override(*r#override)?;
        let action = match CmdType::try_from(*command_type) {
            Ok(CmdType::CmdInsert) => Some(Action::Insert),
            Ok(CmdType::CmdUpdate) => Some(Action::Update),
            Ok(CmdType::CmdDelete) => Some(Action::Delete),
            Ok(CmdType::CmdNothing) => None,
            Ok(
                CmdType::Undefined
                | CmdType::CmdUnknown
                | CmdType::CmdSelect
                | CmdType::CmdMerge
                | CmdType::CmdUtility,
            )
            | Err(_) => {
                return Err(Refusal::Forbidden(
                    "this branch of `MERGE` is not understood".into(),
                ));
            }
        };
        if let Some(action) = action {
            self.touch(target, action)?;
        }
        self.optional(condition.as_deref())?;
        self.expressions(target_list)?;
        self.expressions(values)?;
        Ok(action.is_some())
    }
}

/// The target of a statement that writes. Its name never means a common table expression.
pub fn target(relation: Option<&RangeVar>) -> Result<&RangeVar> {
    relation.ok_or_else(|| Refusal::Forbidden("a statement that writes to nothing".into()))
}

pub fn cte(node: &Node) -> Result<&CommonTableExpr> {
    let node = present(Some(node))?;
    let NodeEnum::CommonTableExpr(cte) = node else {
        return Err(nodes::refused(node));
    };
    Ok(cte)
}

/// `OVERRIDING SYSTEM VALUE` takes numbers that the table gives out itself, those of the audit trail among them.
fn may_override(kind: i32) -> Result<()> {
    match OverridingKind::try_from(kind) {
        Ok(OverridingKind::OverridingNotSet | OverridingKind::OverridingUserValue) => Ok(()),
        Ok(OverridingKind::OverridingSystemValue | OverridingKind::Undefined) | Err(_) => {
            Err(Refusal::Forbidden(
                "`OVERRIDING SYSTEM VALUE`: leave identity columns to the table".into(),
            ))
        }
    }
}
