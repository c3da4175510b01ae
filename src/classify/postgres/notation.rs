//! Functional notation: `x.f` calls `f(x)` where `x` has no column `f`.
//!
//! A row is handed to functions of that row type alone, or of any type: `catalogue` knows the users', and PostgreSQL's
//! own only compute. But where `x` is a function in FROM that returns no row (`FROM lower('a') x`), its value is handed
//! over: `x.f` may call any function of one argument. So such a `f` must not be the name of one of PostgreSQL's own
//! that may not be called, unless it is a column for certain.

use std::collections::{BTreeSet, HashMap};

use pg_query::NodeEnum;
use pg_query::protobuf::{ColumnRef, FuncCall, Node, RangeFunction};

use super::functions::{self, Class};
use super::walk::{Walker, present};
use super::{Refusal, Result, names, nodes};

/// Built-in functions that name their columns, whatever alias they are given.
const BUILT_IN_COLUMNS: &[(&[&str], &[&str])] = &[
    (
        &[
            "json_array_elements",
            "json_array_elements_text",
            "jsonb_array_elements",
            "jsonb_array_elements_text",
        ],
        &["value"],
    ),
    (
        &[
            "json_each",
            "json_each_text",
            "jsonb_each",
            "jsonb_each_text",
        ],
        &["key", "value"],
    ),
    (&["ts_parse"], &["tokid", "token"]),
    (&["ts_token_type"], &["tokid", "alias", "description"]),
    (
        &["ts_debug"],
        &[
            "alias",
            "description",
            "token",
            "dictionaries",
            "dictionary",
            "lexemes",
        ],
    ),
];

/// The functions in FROM of one text, and its qualified columns: a column may be written before what it is of.
#[derive(Debug, Default)]
pub struct Notation {
    /// By the name that stands for it, each function with the columns that it has for certain.
    sources: HashMap<String, Vec<BTreeSet<String>>>,
    /// `x` and `f` of each `x.f`.
    columns: BTreeSet<(String, String)>,
}

impl Notation {
    /// The names that may be called: some function of this alias may lack such a column.
    fn calls(&self) -> BTreeSet<&str> {
        let lacking = |(source, column): &&(String, String)| {
            let functions = self.sources.get(source);
            functions.is_some_and(|functions| functions.iter().any(|has| !has.contains(column)))
        };
        let called = self.columns.iter().filter(lacking);
        called.map(|(_, column)| column.as_str()).collect()
    }
}

impl Walker {
    /// A column, qualified or not. What a qualified one may call is judged at the end of the text.
    pub fn column_ref(&mut self, column: &ColumnRef) -> Result<()> {
        let mut parts = Vec::new();
        for field in &column.fields {
            let node = present(Some(field))?;
            if let NodeEnum::String(part) = node {
                parts.push(&part.sval);
            } else if matches!(node, NodeEnum::AStar(_)) {
                return Ok(());
            } else {
                return Err(nodes::refused(node));
            }
        }
        if let [source, name] = parts.as_slice() {
            let qualified = ((*source).clone(), (*name).clone());
            self.notation.columns.insert(qualified);
        }
        Ok(())
    }

    /// Notes what stands for a function in FROM, and its columns.
    pub fn note_function(&mut self, function: &RangeFunction) -> Result<()> {
        let mut calls = Vec::new();
        let mut columns = BTreeSet::new();
        for pair in &function.functions {
            let NodeEnum::List(pair) = present(Some(pair))? else {
                return Err(nodes::refused(present(Some(pair))?));
            };
            let Some((called, definitions)) = pair.items.split_first() else {
                continue;
            };
            calls.push(call(called));
            columns.extend(definitions.iter().flat_map(defined));
        }
        columns.extend(function.coldeflist.iter().filter_map(name_of));
        if function.ordinality {
            columns.insert("ordinality".into());
        }
        let alias = function.alias.as_ref();
        let renamed = alias.map_or(&[][..], |alias| alias.colnames.as_slice());
        columns.extend(renamed.iter().filter_map(name_of));
        let alias = alias.map(|alias| alias.aliasname.as_str());
        for call in &calls {
            match call {
                // What a policy lists may return anything, under any name.
                None => {}
                Some(name) => columns.extend(columns_of(name, alias.filter(|_| calls.len() == 1))),
            }
        }
        let called = || function.functions.first().and_then(called_name);
        let name = alias.map(str::to_owned).or_else(called).ok_or_else(|| {
            Refusal::Forbidden("a function in `FROM` that has no name; give it an alias".into())
        })?;
        self.notation.sources.entry(name).or_default().push(columns);
        Ok(())
    }

    /// Judges what the qualified columns of the text may call.
    pub fn attributes(&mut self) -> Result<()> {
        let notation = std::mem::take(&mut self.notation);
        // Whether a user's function has such a name, the catalogue knows.
        let built_in = |name: &&str| functions::class(name).is_some();
        let mut called = notation.calls().into_iter().filter(built_in);
        called.try_for_each(|name| self.attribute(name))
    }
}

/// The built-in function that is called; `None` for any other, whose columns are not known.
fn call(node: &Node) -> Option<&str> {
    let Some(NodeEnum::FuncCall(call)) = &node.node else {
        return None;
    };
    built_in(call)
}

fn built_in(call: &FuncCall) -> Option<&str> {
    match names::qualified(&call.funcname) {
        Ok((None | Some("pg_catalog"), name)) => {
            (functions::class(name) == Some(Class::Pure)).then_some(name)
        }
        Ok((Some(_), _)) | Err(_) => None,
    }
}

/// The columns of a built-in function: those that it names, or one of the alias' or its own name.
fn columns_of(name: &str, alias: Option<&str>) -> Vec<String> {
    let named = BUILT_IN_COLUMNS
        .iter()
        .find(|(functions, _)| functions.contains(&name));
    match named {
        Some((_, columns)) => columns.iter().map(|column| (*column).to_owned()).collect(),
        None => vec![alias.unwrap_or(name).to_owned()],
    }
}

/// The name that stands for a function without an alias.
fn called_name(pair: &Node) -> Option<String> {
    let Some(NodeEnum::List(pair)) = &pair.node else {
        return None;
    };
    let Some(NodeEnum::FuncCall(call)) = pair.items.first()?.node.as_ref() else {
        return None;
    };
    let (_, name) = names::qualified(&call.funcname).ok()?;
    Some(name.to_owned())
}

/// The names of the column definitions of one of several functions.
fn defined(definitions: &Node) -> Vec<String> {
    match &definitions.node {
        Some(NodeEnum::List(list)) => list.items.iter().filter_map(name_of).collect(),
        Some(_) => name_of(definitions).into_iter().collect(),
        None => Vec::new(),
    }
}

#[allow(clippy::wildcard_enum_match_arm)] // Nothing else names a column.
fn name_of(node: &Node) -> Option<String> {
    match node.node.as_ref()? {
        NodeEnum::String(name) => Some(name.sval.clone()),
        NodeEnum::ColumnDef(column) => Some(column.colname.clone()),
        _ => None,
    }
}

/// Whether a value certainly has a column of this name: what a built-in function returns, or `ROW(…).f1`.
#[allow(clippy::wildcard_enum_match_arm)] // Nothing else is certain.
pub fn has_field(value: &NodeEnum, field: &str) -> bool {
    match value {
        NodeEnum::FuncCall(call) => built_in(call).is_some_and(|name| {
            let mut named = BUILT_IN_COLUMNS.iter();
            // A function that names one column returns its value and no row.
            named.any(|(functions, columns)| {
                columns.len() > 1 && functions.contains(&name) && columns.contains(&field)
            })
        }),
        NodeEnum::RowExpr(row) => field
            .strip_prefix('f')
            .and_then(|number| number.parse::<usize>().ok())
            .is_some_and(|number| (1..=row.args.len()).contains(&number)),
        _ => false,
    }
}
