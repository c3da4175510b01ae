//! Commands on any key, on the key space, and scripts.

use super::{
    ALL_R, ALL_W, Access, Grammar, KeySpec, MOVE, R, Row, SUB_R, W, data, from, never, special,
};

const OTHER_DATABASE: &str = "reaches another database, which the policy does not know";

const STORED: &str = "runs code that is not in the request: send a script with EVAL";

pub(super) const ROWS: &[Row] = &[
    special("copy", -3, Grammar::Copy),
    special("dbsize", 1, Grammar::Everything),
    data("del", -2, ALL_W),
    data("dump", 2, R),
    special("eval", -3, Grammar::Eval),
    special("eval_ro", -3, Grammar::Eval),
    special("evalsha", -3, Grammar::Evalsha),
    special("evalsha_ro", -3, Grammar::Evalsha),
    data("exists", -2, ALL_R),
    data("expire", -3, W),
    data("expireat", -3, W),
    data("expiretime", 2, R),
    never("fcall", STORED),
    never("fcall_ro", STORED),
    never("flushall", "deletes every key of every database"),
    never("flushdb", "deletes every key"),
    special("keys", 2, Grammar::Keys),
    data("memory|usage", -3, SUB_R),
    never("migrate", "sends keys to another server: use DUMP or COPY"),
    never("move", OTHER_DATABASE),
    data("object|encoding", 3, SUB_R),
    data("object|freq", 3, SUB_R),
    data("object|idletime", 3, SUB_R),
    data("object|refcount", 3, SUB_R),
    data("persist", 2, W),
    data("pexpire", -3, W),
    data("pexpireat", -3, W),
    data("pexpiretime", 2, R),
    data("pttl", 2, R),
    special("randomkey", 1, Grammar::Everything),
    data("rename", 3, MOVE),
    data("renamenx", 3, MOVE),
    never(
        "restore",
        "loads a serialised value past every check: write the value with its own command",
    ),
    never("restore-asking", "is for the cluster's own use"),
    special("scan", -2, Grammar::Scan),
    special("sort", -2, Grammar::Sort),
    special("sort_ro", -2, Grammar::Sort),
    never("swapdb", OTHER_DATABASE),
    data("touch", -2, ALL_R),
    data("ttl", 2, R),
    data("type", 2, R),
    data("unlink", -2, &[from(1, 0, 1, Access::Write)]),
];

/// `WATCH` reads: whether a key changed is told by `EXEC`.
pub(super) const WATCHED: &[KeySpec] = &[from(1, 0, 1, Access::Read)];
