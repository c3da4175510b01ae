//! `FOR UPDATE` and its kin: which relations a row lock reaches.

use std::collections::HashSet;

use pg_query::NodeEnum;
use pg_query::protobuf::{LockingClause, Node, SelectStmt};

use super::query::cte;
use super::walk::{Walker, object, present};
use super::{Refusal, Result, nodes};
use crate::operation::{Action, Object};

/// Most relations that one locking clause may reach. Nested clauses reach the same relations again and again.
const LOCKED_RELATIONS_MAX: usize = 1_000;

impl Walker {
    /// `FOR UPDATE` and its kin write row locks: PostgreSQL demands the right to update. Without `OF` they
    /// reach every relation in FROM, also inside its subqueries; never into a common table expression.
    pub fn locking(&mut self, clauses: &[Node], from: &[Node]) -> Result<()> {
        let mut every = false;
        let mut picked = HashSet::new();
        for clause in clauses {
            let Some(NodeEnum::LockingClause(LockingClause { locked_rels, .. })) = &clause.node
            else {
                return Err(nodes::refused(present(Some(clause))?));
            };
            every |= locked_rels.is_empty();
            for relation in locked_rels {
                let node = present(Some(relation))?;
                let NodeEnum::RangeVar(relation) = node else {
                    return Err(nodes::refused(node));
                };
                picked.insert(relation.relname.as_str());
            }
        }
        let mut reachable = Vec::new();
        if every || !picked.is_empty() {
            self.lockable(from, None, &mut reachable)?;
        }
        for (alias, object) in reachable {
            if every || picked.contains(alias.as_str()) {
                self.touch_object(object, Action::Update);
            }
        }
        Ok(())
    }

    /// The relations that a locking clause reaches, each under the name by which it can be picked.
    fn lockable(
        &self,
        from: &[Node],
        outer: Option<&str>,
        found: &mut Vec<(String, Object)>,
    ) -> Result<()> {
        for item in from {
            self.lockable_item(present(Some(item))?, outer, found)?;
        }
        if found.len() > LOCKED_RELATIONS_MAX {
            return Err(Refusal::TooLarge(format!(
                "`FOR UPDATE` may reach {LOCKED_RELATIONS_MAX} relations"
            )));
        }
        Ok(())
    }

    #[allow(clippy::wildcard_enum_match_arm)] // Functions and the like have no rows to lock.
    fn lockable_item(
        &self,
        item: &NodeEnum,
        outer: Option<&str>,
        found: &mut Vec<(String, Object)>,
    ) -> Result<()> {
        match item {
            NodeEnum::RangeVar(relation) if !self.is_cte(relation) => {
                let alias = relation
                    .alias
                    .as_ref()
                    .map(|alias| alias.aliasname.as_str());
                let name = outer.or(alias).unwrap_or(&relation.relname);
                found.push((name.to_owned(), object(relation)?));
            }
            NodeEnum::JoinExpr(join) => {
                // The server refuses to lock a join by its own alias.
                for side in [&join.larg, &join.rarg].into_iter().flatten() {
                    self.lockable_item(present(Some(side))?, outer, found)?;
                }
            }
            NodeEnum::RangeTableSample(sample) => {
                self.lockable_item(present(sample.relation.as_deref())?, outer, found)?;
            }
            NodeEnum::RangeSubselect(subselect) => {
                let alias = subselect
                    .alias
                    .as_ref()
                    .map(|alias| alias.aliasname.as_str());
                if let NodeEnum::SelectStmt(select) = present(subselect.subquery.as_deref())? {
                    self.lockable_query(select, outer.or(alias).or(Some("")), found)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn lockable_query(
        &self,
        select: &SelectStmt,
        outer: Option<&str>,
        found: &mut Vec<(String, Object)>,
    ) -> Result<()> {
        let before = found.len();
        self.lockable(&select.from_clause, outer, found)?;
        if let Some(with) = &select.with_clause {
            let own = with.ctes.iter().map(cte).collect::<Result<Vec<_>>>()?;
            let reached = found.split_off(before);
            found.extend(reached.into_iter().filter(|(_, object)| {
                !own.iter()
                    .any(|cte| *object == Object::named(None, &cte.ctename))
            }));
        }
        for side in [&select.larg, &select.rarg].into_iter().flatten() {
            self.lockable_query(side, outer, found)?;
        }
        Ok(())
    }
}
