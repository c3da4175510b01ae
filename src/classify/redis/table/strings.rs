//! Strings, bitmaps and counters.

use super::{ALL_R, Access, Grammar, KeySpec, R, RW, Row, W, data, from, special};

const PAIRS: &[KeySpec] = &[from(1, 0, 2, Access::Write)];

pub(super) const ROWS: &[Row] = &[
    data("append", 3, W),
    data("bitcount", -2, R),
    special("bitfield", -2, Grammar::Bitfield),
    data("bitfield_ro", -2, R),
    data(
        "bitop",
        -4,
        &[KeySpec::At(2, Access::Write), from(3, 0, 1, Access::Read)],
    ),
    data("bitpos", -3, R),
    data("decr", 2, RW),
    data("decrby", 3, RW),
    // Deletes when the value, or its digest, is what the caller says: an oracle for the value.
    data("delex", -2, RW),
    data("digest", 2, R),
    data("get", 2, R),
    data("getbit", 3, R),
    data("getdel", 2, RW),
    data("getex", -2, RW),
    data("getrange", 4, R),
    data("getset", 3, RW),
    data("incr", 2, RW),
    data("incrby", 3, RW),
    data("incrbyfloat", 3, RW),
    data(
        "lcs",
        -3,
        &[KeySpec::At(1, Access::Read), KeySpec::At(2, Access::Read)],
    ),
    data("mget", -2, ALL_R),
    data("mset", -3, PAIRS),
    data(
        "msetex",
        -4,
        &[KeySpec::Counted {
            count_at: 1,
            step: 2,
            after: 0,
            access: Access::Write,
        }],
    ),
    data("msetnx", -3, PAIRS),
    data("psetex", 4, W),
    special("set", -3, Grammar::Set),
    data("setbit", 4, RW),
    data("setex", 4, W),
    data("setnx", 3, W),
    data("setrange", 4, W),
    data("strlen", 2, R),
    data("substr", 4, R),
];
