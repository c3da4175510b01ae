//! Streams.

use super::{Access, Grammar, KeySpec, R, RW, Row, SUB_R, SUB_W, W, data, special};

const SUB_RW: &[KeySpec] = &[KeySpec::At(2, Access::Both)];

pub(super) const ROWS: &[Row] = &[
    data("xack", -4, W),
    data("xackdel", -6, W),
    data("xadd", -5, W),
    // Both return the entries that change hands.
    data("xautoclaim", -6, RW),
    data("xcfgset", -2, W),
    data("xclaim", -6, RW),
    data("xdel", -3, W),
    data("xdelex", -5, W),
    data("xgroup|create", -5, SUB_W),
    data("xgroup|createconsumer", 5, SUB_W),
    data("xgroup|delconsumer", 5, SUB_RW),
    data("xgroup|destroy", 4, SUB_W),
    data("xgroup|setid", -5, SUB_W),
    data("xinfo|consumers", 4, SUB_R),
    data("xinfo|groups", 3, SUB_R),
    data("xinfo|stream", -3, SUB_R),
    data("xlen", 2, R),
    data("xpending", -3, R),
    data("xrange", -4, R),
    special("xread", -4, Grammar::Xread),
    special("xreadgroup", -7, Grammar::Xreadgroup),
    data("xrevrange", -4, R),
    data("xsetid", -3, W),
    data("xtrim", -4, W),
];
