//! Every kind of node that the grammar's library knows, named once.
//!
//! The match has no catch-all on purpose: when a new version of the library brings a node, this does not
//! compile until somebody has decided what it may do.

use std::fmt::Write;

use pg_query::NodeEnum;

use super::Refusal;

/// Where a kind of node belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A statement that `walk` understands.
    Statement,
    /// A part of a statement or expression, understood where it stands and nowhere else.
    Part,
    /// Made by the server's analysis, planner or execution; never by the grammar.
    Analysed,
    /// A statement that is never allowed, and why.
    Never(&'static str),
}

const ROLES: &str = "roles, ownership and privileges are the administrator's";
const CODE: &str = "it stores or runs code that no policy sees";
const SERVER: &str = "it steers the server or its storage";
const REACH: &str = "it makes data of other servers or files reachable";
const HIDE: &str = "it makes an object that hides what it reaches";
const TYPES: &str = "types, operators and casts may run anything; an administrator makes them";
const SESSION: &str = "the session's settings are pinned";
const NOTIFY: &str = "notifications cross from caller to caller and cannot be granted";
const SCHEMA: &str = "this change of the schema is the administrator's";

#[rustfmt::skip]
pub fn kind(node: &NodeEnum) -> Kind {
    use NodeEnum as N;
    match node {
        N::SelectStmt(_) | N::InsertStmt(_) | N::UpdateStmt(_) | N::DeleteStmt(_) | N::MergeStmt(_)
        | N::ExplainStmt(_) | N::CopyStmt(_) | N::CallStmt(_) | N::LockStmt(_)
        | N::VariableSetStmt(_) | N::VariableShowStmt(_) | N::TransactionStmt(_) | N::ConstraintsSetStmt(_)
        | N::DeclareCursorStmt(_) | N::FetchStmt(_) | N::ClosePortalStmt(_)
        | N::PrepareStmt(_) | N::ExecuteStmt(_) | N::DeallocateStmt(_)
        | N::CreateStmt(_) | N::IndexStmt(_) | N::AlterTableStmt(_) | N::RenameStmt(_) | N::DropStmt(_)
        | N::TruncateStmt(_) => Kind::Statement,

        N::Alias(_) | N::RangeVar(_) | N::MergeSupportFunc(_) | N::NamedArgExpr(_) | N::BoolExpr(_)
        | N::SubLink(_) | N::CaseExpr(_) | N::CaseWhen(_) | N::RowExpr(_) | N::CoalesceExpr(_)
        | N::MinMaxExpr(_) | N::SqlvalueFunction(_) | N::XmlExpr(_) | N::NullTest(_) | N::BooleanTest(_)
        | N::GroupingFunc(_) | N::SetToDefault(_) | N::CurrentOfExpr(_) | N::JoinExpr(_) | N::TypeName(_)
        | N::ColumnRef(_) | N::ParamRef(_) | N::AExpr(_) | N::TypeCast(_) | N::CollateClause(_)
        | N::FuncCall(_) | N::AStar(_) | N::AIndices(_) | N::AIndirection(_) | N::AArrayExpr(_)
        | N::ResTarget(_) | N::MultiAssignRef(_) | N::SortBy(_) | N::WindowDef(_) | N::RangeSubselect(_)
        | N::RangeFunction(_) | N::RangeTableFunc(_) | N::RangeTableFuncCol(_) | N::RangeTableSample(_)
        | N::ColumnDef(_) | N::TableLikeClause(_) | N::IndexElem(_) | N::DefElem(_) | N::LockingClause(_)
        | N::XmlSerialize(_) | N::PartitionElem(_) | N::PartitionSpec(_) | N::GroupingSet(_)
        | N::WithClause(_) | N::InferClause(_) | N::OnConflictClause(_) | N::CtesearchClause(_)
        | N::CtecycleClause(_) | N::CommonTableExpr(_) | N::MergeWhenClause(_) | N::ReturningOption(_)
        | N::ReturningClause(_) | N::IntoClause(_) | N::RoleSpec(_) | N::PartitionBoundSpec(_)
        | N::PartitionRangeDatum(_) | N::PartitionCmd(_) | N::TriggerTransition(_)
        | N::JsonFormat(_) | N::JsonReturning(_) | N::JsonValueExpr(_) | N::JsonIsPredicate(_)
        | N::JsonBehavior(_) | N::JsonOutput(_) | N::JsonArgument(_) | N::JsonFuncExpr(_)
        | N::JsonTablePathSpec(_) | N::JsonTable(_) | N::JsonTableColumn(_) | N::JsonKeyValue(_)
        | N::JsonParseExpr(_) | N::JsonScalarExpr(_) | N::JsonSerializeExpr(_)
        | N::JsonObjectConstructor(_) | N::JsonArrayConstructor(_) | N::JsonArrayQueryConstructor(_)
        | N::JsonAggConstructor(_) | N::JsonObjectAgg(_) | N::JsonArrayAgg(_)
        | N::AlterTableCmd(_) | N::Constraint(_) | N::AtalterConstraint(_) | N::ReplicaIdentityStmt(_)
        | N::ObjectWithArgs(_) | N::AccessPriv(_) | N::CreateOpClassItem(_) | N::StatsElem(_)
        | N::FunctionParameter(_) | N::VacuumRelation(_) | N::PublicationTable(_)
        | N::PublicationObjSpec(_) | N::ReturnStmt(_) | N::PlassignStmt(_)
        | N::Integer(_) | N::Float(_) | N::Boolean(_) | N::String(_) | N::BitString(_) | N::List(_)
        | N::AConst(_) => Kind::Part,

        N::TableFunc(_) | N::Var(_) | N::Param(_) | N::Aggref(_) | N::WindowFunc(_)
        | N::WindowFuncRunCondition(_) | N::SubscriptingRef(_) | N::FuncExpr(_) | N::OpExpr(_)
        | N::DistinctExpr(_) | N::NullIfExpr(_) | N::ScalarArrayOpExpr(_) | N::SubPlan(_)
        | N::AlternativeSubPlan(_) | N::FieldSelect(_) | N::FieldStore(_) | N::RelabelType(_)
        | N::CoerceViaIo(_) | N::ArrayCoerceExpr(_) | N::ConvertRowtypeExpr(_) | N::CollateExpr(_)
        | N::CaseTestExpr(_) | N::ArrayExpr(_) | N::RowCompareExpr(_) | N::JsonConstructorExpr(_)
        | N::JsonExpr(_) | N::JsonTablePath(_) | N::JsonTablePathScan(_) | N::JsonTableSiblingJoin(_)
        | N::MergeAction(_) | N::CoerceToDomain(_) | N::CoerceToDomainValue(_) | N::NextValueExpr(_)
        | N::InferenceElem(_) | N::ReturningExpr(_) | N::TargetEntry(_) | N::RangeTblRef(_)
        | N::FromExpr(_) | N::OnConflictExpr(_) | N::Query(_) | N::RangeTblEntry(_)
        | N::RtepermissionInfo(_) | N::RangeTblFunction(_) | N::TableSampleClause(_)
        | N::WithCheckOption(_) | N::SortGroupClause(_) | N::WindowClause(_) | N::RowMarkClause(_)
        | N::RawStmt(_) | N::SetOperationStmt(_) | N::InlineCodeBlock(_) | N::CallContext(_)
        | N::IntList(_) | N::OidList(_) => Kind::Analysed,

        N::GrantStmt(_) | N::GrantRoleStmt(_) | N::AlterDefaultPrivilegesStmt(_) | N::CreateRoleStmt(_)
        | N::AlterRoleStmt(_) | N::AlterRoleSetStmt(_) | N::DropRoleStmt(_) | N::CreatePolicyStmt(_)
        | N::AlterPolicyStmt(_) | N::AlterOwnerStmt(_) | N::DropOwnedStmt(_) | N::ReassignOwnedStmt(_)
        | N::SecLabelStmt(_) => Kind::Never(ROLES),

        N::DoStmt(_) | N::CreateFunctionStmt(_) | N::AlterFunctionStmt(_) | N::CreateTrigStmt(_)
        | N::CreateEventTrigStmt(_) | N::AlterEventTrigStmt(_) | N::CreatePlangStmt(_) | N::RuleStmt(_)
        | N::CreateExtensionStmt(_) | N::AlterExtensionStmt(_) | N::AlterExtensionContentsStmt(_)
        | N::LoadStmt(_) | N::CreateTransformStmt(_) | N::CreateConversionStmt(_) => Kind::Never(CODE),

        N::AlterSystemStmt(_) | N::ClusterStmt(_) | N::VacuumStmt(_) | N::CheckPointStmt(_)
        | N::ReindexStmt(_) | N::CreatedbStmt(_) | N::AlterDatabaseStmt(_)
        | N::AlterDatabaseRefreshCollStmt(_) | N::AlterDatabaseSetStmt(_) | N::DropdbStmt(_)
        | N::CreateTableSpaceStmt(_) | N::DropTableSpaceStmt(_) | N::AlterTableSpaceOptionsStmt(_)
        | N::AlterTableMoveAllStmt(_) | N::CreateStatsStmt(_) | N::AlterStatsStmt(_)
        | N::RefreshMatViewStmt(_) | N::CreateAmStmt(_) | N::AlterCollationStmt(_) => Kind::Never(SERVER),

        N::CreateFdwStmt(_) | N::AlterFdwStmt(_) | N::CreateForeignServerStmt(_)
        | N::AlterForeignServerStmt(_) | N::CreateForeignTableStmt(_) | N::CreateUserMappingStmt(_)
        | N::AlterUserMappingStmt(_) | N::DropUserMappingStmt(_) | N::ImportForeignSchemaStmt(_)
        | N::CreatePublicationStmt(_) | N::AlterPublicationStmt(_) | N::CreateSubscriptionStmt(_)
        | N::AlterSubscriptionStmt(_) | N::DropSubscriptionStmt(_) => Kind::Never(REACH),

        N::ViewStmt(_) | N::CreateTableAsStmt(_) => Kind::Never(HIDE),

        N::DefineStmt(_) | N::CreateDomainStmt(_) | N::AlterDomainStmt(_) | N::CreateOpClassStmt(_)
        | N::CreateOpFamilyStmt(_) | N::AlterOpFamilyStmt(_) | N::AlterOperatorStmt(_)
        | N::AlterTypeStmt(_) | N::CompositeTypeStmt(_) | N::CreateEnumStmt(_) | N::CreateRangeStmt(_)
        | N::AlterEnumStmt(_) | N::CreateCastStmt(_) | N::AlterTsdictionaryStmt(_)
        | N::AlterTsconfigurationStmt(_) => Kind::Never(TYPES),

        N::DiscardStmt(_) => Kind::Never(SESSION),
        N::NotifyStmt(_) | N::ListenStmt(_) | N::UnlistenStmt(_) => Kind::Never(NOTIFY),

        N::CreateSchemaStmt(_) | N::CreateSeqStmt(_) | N::AlterSeqStmt(_) | N::CommentStmt(_)
        | N::AlterObjectDependsStmt(_) | N::AlterObjectSchemaStmt(_) => Kind::Never(SCHEMA),
    }
}

/// The refusal of a node where it is not understood.
pub fn refused(node: &NodeEnum) -> Refusal {
    let name = name(node);
    match kind(node) {
        Kind::Never(why) => Refusal::Forbidden(format!("`{name}`: {why}")),
        Kind::Statement | Kind::Part | Kind::Analysed => {
            Refusal::Forbidden(format!("`{name}` is not understood where it stands"))
        }
    }
}

/// The node's own name, without formatting what is inside it.
fn name(node: &NodeEnum) -> String {
    let mut name = UpToParenthesis(String::new());
    // The writer stops the formatting by an error of its own making.
    let _ = write!(name, "{node:?}");
    name.0
}

struct UpToParenthesis(String);

impl Write for UpToParenthesis {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        match text.split_once('(') {
            Some((name, _)) => {
                self.0.push_str(name);
                Err(std::fmt::Error)
            }
            None => {
                self.0.push_str(text);
                Ok(())
            }
        }
    }
}
