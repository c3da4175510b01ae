//! Every command that is understood: what it does to the collection it names, and its options.

use super::shape::{
    Check, any, array_filters, data, documents, filter, flag, hint, modification, only_false,
    projection, sort, stages, text, variables, whole,
};
use super::{Scope, schema};
use super::{reads, writes};
use crate::classify::Result;
use crate::operation::Action;
use bson::raw::{RawBsonRef, RawDocument};

/// What the value of the first key means.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// The name of a collection, to which this is done.
    Collection(&'static [Action]),
    /// Something else, which a function of its own reads.
    Special(fn(&mut Scope<'_>, &str, RawBsonRef<'_>, &RawDocument) -> Result<()>),
    /// Nothing: the command touches no collection.
    Nothing,
}

pub(super) struct Command {
    pub names: &'static [&'static str],
    pub target: Target,
    /// Whether it only makes sense on a connection of the caller's own.
    pub own: bool,
    pub options: &'static [(&'static str, Check)],
}

const fn command(
    names: &'static [&'static str],
    target: Target,
    options: &'static [(&'static str, Check)],
) -> Command {
    Command {
        names,
        target,
        own: false,
        options,
    }
}

const fn own(names: &'static [&'static str], options: &'static [(&'static str, Check)]) -> Command {
    Command {
        names,
        target: Target::Nothing,
        own: true,
        options,
    }
}

const READS: Target = Target::Collection(&[Action::Find]);
const DEFINES: Target = Target::Collection(&[Action::Ddl]);

const FIND: &[(&str, Check)] = &[
    ("filter", filter),
    ("projection", projection),
    ("sort", sort),
    ("hint", hint),
    ("skip", whole),
    ("limit", whole),
    ("batchSize", whole),
    ("singleBatch", flag),
    ("max", data),
    ("min", data),
    ("returnKey", flag),
    ("showRecordId", flag),
    ("tailable", flag),
    ("awaitData", flag),
    ("noCursorTimeout", flag),
    ("allowPartialResults", flag),
    ("allowDiskUse", flag),
    ("oplogReplay", flag),
    ("collation", data),
    ("let", variables),
];

const AGGREGATE: &[(&str, Check)] = &[
    ("pipeline", stages),
    ("cursor", reads::cursor),
    ("explain", flag),
    ("allowDiskUse", flag),
    ("bypassDocumentValidation", only_false),
    ("hint", hint),
    ("collation", data),
    ("let", variables),
];

const FIND_AND_MODIFY: &[(&str, Check)] = &[
    ("query", filter),
    ("sort", sort),
    ("remove", flag),
    ("update", modification),
    ("new", flag),
    ("fields", projection),
    ("upsert", flag),
    ("bypassDocumentValidation", only_false),
    ("collation", data),
    ("arrayFilters", array_filters),
    ("hint", hint),
    ("let", variables),
];

pub(super) const COMMANDS: &[Command] = &[
    command(&["find"], READS, FIND),
    command(&["aggregate"], Target::Special(reads::aggregate), AGGREGATE),
    command(
        &["count"],
        READS,
        &[
            ("query", filter),
            ("limit", whole),
            ("skip", whole),
            ("hint", hint),
            ("collation", data),
            ("fields", projection),
        ],
    ),
    command(
        &["distinct"],
        READS,
        &[
            ("key", text),
            ("query", filter),
            ("collation", data),
            ("hint", hint),
        ],
    ),
    command(
        &["getMore"],
        Target::Special(reads::get_more),
        &[("collection", text), ("batchSize", whole)],
    ),
    command(
        &["killCursors"],
        Target::Special(reads::kill_cursors),
        &[("cursors", any)],
    ),
    command(
        &["explain"],
        Target::Special(reads::explain),
        &[("verbosity", text)],
    ),
    command(
        &["insert"],
        Target::Collection(&[Action::Insert]),
        &[
            ("documents", documents),
            ("ordered", flag),
            ("bypassDocumentValidation", only_false),
        ],
    ),
    command(
        &["update"],
        Target::Collection(&[Action::Update]),
        &[
            ("updates", writes::updates),
            ("ordered", flag),
            ("bypassDocumentValidation", only_false),
            ("let", variables),
        ],
    ),
    command(
        &["delete"],
        Target::Collection(&[Action::Delete]),
        &[
            ("deletes", writes::deletes),
            ("ordered", flag),
            ("let", variables),
        ],
    ),
    command(
        &["findAndModify", "findandmodify"],
        Target::Special(writes::find_and_modify),
        FIND_AND_MODIFY,
    ),
    command(
        &["bulkWrite"],
        Target::Special(writes::bulk_write),
        &[
            ("ops", any),
            ("nsInfo", any),
            ("ordered", flag),
            ("errorsOnly", flag),
            ("bypassDocumentValidation", only_false),
            ("cursor", reads::cursor),
            ("let", variables),
        ],
    ),
    command(
        &["commitTransaction", "abortTransaction"],
        Target::Nothing,
        &[("recoveryToken", data)],
    ),
    command(&["createIndexes"], DEFINES, schema::CREATE_INDEXES),
    command(
        &["dropIndexes", "deleteIndexes"],
        DEFINES,
        &[("index", any)],
    ),
    command(&["listIndexes"], DEFINES, &[("cursor", reads::cursor)]),
    command(&["create"], DEFINES, schema::CREATE),
    command(&["collMod"], DEFINES, schema::COLL_MOD),
    command(&["drop"], DEFINES, &[]),
    command(&["ping"], Target::Nothing, &[]),
    own(
        &["hello", "isMaster", "ismaster"],
        &[
            ("helloOk", flag),
            ("client", data),
            ("compression", any),
            ("loadBalanced", flag),
            ("topologyVersion", data),
            ("maxAwaitTimeMS", whole),
            ("saslSupportedMechs", text),
        ],
    ),
    own(&["buildInfo", "buildinfo"], &[]),
    // Drivers ask for no acknowledgement of it, and it writes nothing.
    own(
        &["endSessions", "refreshSessions"],
        &[("writeConcern", data)],
    ),
];

/// Whether what stands behind the command's own name is a collection's.
pub(super) fn names_collection(name: &str) -> bool {
    find(name).is_some_and(|command| match command.target {
        Target::Collection(_) => true,
        Target::Special(_) => matches!(name, "aggregate" | "findAndModify" | "findandmodify"),
        Target::Nothing => false,
    })
}

pub(super) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS
        .iter()
        .find(|command| command.names.contains(&name))
}
