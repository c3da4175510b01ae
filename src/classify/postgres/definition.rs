//! Tables and indexes: making, changing and dropping them, where everything inside is understood.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AlterTableCmd, AlterTableStmt, AlterTableType, ColumnDef, ConstrType, Constraint, CreateStmt,
    DropBehavior, DropStmt, IndexStmt, Node, ObjectType, PartitionSpec, RangeVar, RenameStmt,
    TableLikeClause, TruncateStmt, TypeName,
};

use super::query::target;
use super::walk::{Walker, named, present};
use super::{Refusal, Result, names, nodes};
use crate::operation::Action;

/// The index methods that PostgreSQL has built in.
const INDEX_METHODS: &[&str] = &["btree", "hash", "gist", "gin", "spgist", "brin"];

fn forbidden<T>(what: &str) -> Result<T> {
    Err(Refusal::Forbidden(format!(
        "{what}; an administrator makes this change"
    )))
}

impl Walker {
    pub fn create_table(&mut self, create: &CreateStmt) -> Result<()> {
        let CreateStmt {
            relation,
            table_elts,
            inh_relations,
            partbound,
            partspec,
            of_typename,
            constraints,
            nnconstraints,
            options,
            oncommit: _,
            tablespacename,
            access_method,
            if_not_exists: _,
        } = create;
        let table = target(relation.as_ref())?;
        if table.relpersistence == "t" || table.schemaname.starts_with("pg_temp") {
            return forbidden("a temporary table shadows others of its name");
        }
        if !inh_relations.is_empty() || partbound.is_some() || of_typename.is_some() {
            return forbidden("`INHERITS`, `PARTITION OF` and `OF` reach through to other tables");
        }
        if !options.is_empty() || !tablespacename.is_empty() || !access_method.is_empty() {
            return forbidden("storage options, tablespaces and access methods");
        }
        self.touch(table, Action::Ddl)?;
        self.table_elements(table_elts)?;
        self.table_elements(constraints)?;
        self.table_elements(nnconstraints)?;
        match partspec {
            Some(PartitionSpec { part_params, .. }) => self.partition(part_params),
            None => Ok(()),
        }
    }

    fn partition(&mut self, elements: &[Node]) -> Result<()> {
        for element in elements {
            let node = present(Some(element))?;
            let NodeEnum::PartitionElem(element) = node else {
                return Err(nodes::refused(node));
            };
            if !element.opclass.is_empty() {
                return forbidden("an operator class of a partition key");
            }
            self.optional(element.expr.as_deref())?;
        }
        Ok(())
    }

    #[allow(clippy::wildcard_enum_match_arm)] // `nodes::kind` names every node; the rest is refused.
    fn table_elements(&mut self, elements: &[Node]) -> Result<()> {
        for element in elements {
            match present(Some(element))? {
                NodeEnum::ColumnDef(column) => self.column(column)?,
                NodeEnum::Constraint(constraint) => self.constraint(constraint)?,
                NodeEnum::TableLikeClause(TableLikeClause {
                    relation,
                    options: _,
                    relation_oid: _,
                }) => self.touch(target(relation.as_ref())?, Action::Select)?,
                other => return Err(nodes::refused(other)),
            }
        }
        Ok(())
    }

    fn column(&mut self, column: &ColumnDef) -> Result<()> {
        if !column.fdwoptions.is_empty() || !column.storage_name.is_empty() {
            return forbidden("storage and foreign options of a column");
        }
        if !column.type_name.as_ref().is_some_and(is_serial) {
            self.optional_type(column.type_name.as_ref())?;
        }
        self.optional(column.raw_default.as_deref())?;
        self.table_elements(&column.constraints)
    }

    fn constraint(&mut self, constraint: &Constraint) -> Result<()> {
        match ConstrType::try_from(constraint.contype) {
            Ok(
                ConstrType::ConstrNull
                | ConstrType::ConstrNotnull
                | ConstrType::ConstrDefault
                | ConstrType::ConstrCheck
                | ConstrType::ConstrPrimary
                | ConstrType::ConstrUnique
                | ConstrType::ConstrAttrDeferrable
                | ConstrType::ConstrAttrNotDeferrable
                | ConstrType::ConstrAttrDeferred
                | ConstrType::ConstrAttrImmediate
                | ConstrType::ConstrAttrEnforced
                | ConstrType::ConstrAttrNotEnforced,
            ) => {}
            Ok(ConstrType::ConstrIdentity) if constraint.options.is_empty() => {}
            // The key is checked, and changes cascade, in the other table.
            Ok(ConstrType::ConstrForeign) => {
                self.touch(target(constraint.pktable.as_ref())?, Action::Ddl)?;
            }
            Ok(
                ConstrType::ConstrGenerated
                | ConstrType::ConstrIdentity
                | ConstrType::ConstrExclusion
                | ConstrType::Undefined,
            )
            | Err(_) => return forbidden("generated columns, sequence options and exclusions"),
        }
        if !constraint.indexspace.is_empty() || !constraint.indexname.is_empty() {
            return forbidden("a constraint's tablespace or index");
        }
        self.optional(constraint.raw_expr.as_deref())?;
        self.optional(constraint.where_clause.as_deref())
    }

    pub fn create_index(&mut self, index: &IndexStmt) -> Result<()> {
        if !INDEX_METHODS.contains(&index.access_method.as_str()) {
            return forbidden("an index method that is not built in");
        }
        if !index.table_space.is_empty() || !index.exclude_op_names.is_empty() {
            return forbidden("an index's tablespace or exclusion");
        }
        self.touch(target(index.relation.as_ref())?, Action::Ddl)?;
        self.expressions(&index.index_params)?;
        self.expressions(&index.index_including_params)?;
        self.optional(index.where_clause.as_deref())
    }

    pub fn alter_table(&mut self, alter: &AlterTableStmt) -> Result<()> {
        let AlterTableStmt {
            relation,
            cmds,
            objtype,
            missing_ok: _,
        } = alter;
        if ObjectType::try_from(*objtype) != Ok(ObjectType::ObjectTable) {
            return forbidden("`ALTER` of anything but a table");
        }
        self.touch(target(relation.as_ref())?, Action::Ddl)?;
        for command in cmds {
            let node = present(Some(command))?;
            let NodeEnum::AlterTableCmd(command) = node else {
                return Err(nodes::refused(node));
            };
            self.alteration(command)?;
        }
        Ok(())
    }

    fn alteration(&mut self, command: &AlterTableCmd) -> Result<()> {
        let AlterTableCmd {
            subtype,
            def,
            behavior,
            ..
        } = command;
        refuse_cascade(*behavior)?;
        match AlterTableType::try_from(*subtype) {
            Ok(
                AlterTableType::AtDropNotNull
                | AlterTableType::AtSetNotNull
                | AlterTableType::AtDropColumn
                | AlterTableType::AtDropConstraint
                | AlterTableType::AtValidateConstraint,
            ) => Ok(()),
            Ok(
                AlterTableType::AtAddColumn
                | AlterTableType::AtAddConstraint
                | AlterTableType::AtAlterColumnType,
            ) => self.table_elements(def.as_deref().map(std::slice::from_ref).unwrap_or_default()),
            Ok(AlterTableType::AtColumnDefault) => self.optional(def.as_deref()),
            Ok(other) => forbidden(&format!("`{}` of `ALTER TABLE`", other.as_str_name())),
            Err(_) => forbidden("an unknown change of a table"),
        }
    }

    pub fn rename(&mut self, rename: &RenameStmt) -> Result<()> {
        let table = target(rename.relation.as_ref())?;
        let is_table = ObjectType::try_from(rename.relation_type) == Ok(ObjectType::ObjectTable);
        match ObjectType::try_from(rename.rename_type) {
            Ok(ObjectType::ObjectTable) => {
                self.touch(table, Action::Ddl)?;
                let renamed = RangeVar {
                    relname: rename.newname.clone(),
                    ..table.clone()
                };
                self.touch(&renamed, Action::Ddl)
            }
            Ok(ObjectType::ObjectColumn) if is_table => self.touch(table, Action::Ddl),
            _ => forbidden("renaming anything but a table or its columns"),
        }
    }

    pub fn drop(&mut self, drop: &DropStmt) -> Result<()> {
        let DropStmt {
            objects,
            remove_type,
            behavior,
            missing_ok: _,
            concurrent: _,
        } = drop;
        refuse_cascade(*behavior)?;
        if !matches!(
            ObjectType::try_from(*remove_type),
            Ok(ObjectType::ObjectTable | ObjectType::ObjectIndex)
        ) {
            return forbidden("dropping anything but a table or an index");
        }
        for object in objects {
            let node = present(Some(object))?;
            let NodeEnum::List(name) = node else {
                return Err(nodes::refused(node));
            };
            let (schema, name) = names::qualified(&name.items)?;
            self.touch_object(named(schema, name)?, Action::Ddl);
        }
        Ok(())
    }

    pub fn truncate(&mut self, truncate: &TruncateStmt) -> Result<()> {
        let TruncateStmt {
            relations,
            restart_seqs: _,
            behavior,
        } = truncate;
        refuse_cascade(*behavior)?;
        for relation in relations {
            let node = present(Some(relation))?;
            let NodeEnum::RangeVar(relation) = node else {
                return Err(nodes::refused(node));
            };
            self.touch(relation, Action::Ddl)?;
        }
        Ok(())
    }
}

/// `serial` and its kin: integers with a sequence that belongs to the column.
fn is_serial(name: &TypeName) -> bool {
    matches!(
        names::qualified(&name.names),
        Ok((
            None,
            "serial" | "serial2" | "serial4" | "serial8" | "smallserial" | "bigserial"
        ))
    )
}

/// `CASCADE` reaches objects that the statement does not name.
fn refuse_cascade(behavior: i32) -> Result<()> {
    match DropBehavior::try_from(behavior) {
        Ok(DropBehavior::DropRestrict | DropBehavior::Undefined) => Ok(()),
        Ok(DropBehavior::DropCascade) | Err(_) => {
            forbidden("`CASCADE` reaches objects that the statement does not name")
        }
    }
}
