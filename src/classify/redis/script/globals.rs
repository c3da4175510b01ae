//! The globals a script may use. Each function here computes: none returns a reference to `redis`, `KEYS` or the
//! library, runs text, or changes what a name or an operator means. What is not listed is refused by name.

/// Functions of the base library.
pub(super) const FUNCTIONS: [&str; 13] = [
    "assert", "error", "ipairs", "next", "pairs", "pcall", "rawequal", "select", "tonumber",
    "tostring", "type", "unpack", "xpcall",
];

/// Library tables, with the members that may be used.
pub(super) const LIBRARIES: [(&str, &[&str]); 8] = [
    (
        "bit",
        &[
            "arshift", "band", "bnot", "bor", "bswap", "bxor", "lshift", "rol", "ror", "rshift",
            "tobit", "tohex",
        ],
    ),
    ("cjson", &["decode", "encode", "null"]),
    (
        "cmsgpack",
        &["pack", "unpack", "unpack_limit", "unpack_one"],
    ),
    (
        "math",
        &[
            "abs",
            "acos",
            "asin",
            "atan",
            "atan2",
            "ceil",
            "cos",
            "cosh",
            "deg",
            "exp",
            "floor",
            "fmod",
            "frexp",
            "huge",
            "ldexp",
            "log",
            "log10",
            "max",
            "min",
            "mod",
            "modf",
            "pi",
            "pow",
            "rad",
            "random",
            "randomseed",
            "sin",
            "sinh",
            "sqrt",
            "tan",
            "tanh",
        ],
    ),
    ("os", &["clock", "time"]),
    (
        "string",
        &[
            "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "rep",
            "reverse", "sub", "upper",
        ],
    ),
    ("struct", &["pack", "size", "unpack"]),
    (
        "table",
        &["concat", "getn", "insert", "maxn", "remove", "sort"],
    ),
];

/// Members of `redis`, apart from `call` and `pcall`, that may be called.
pub(super) const REDIS_FUNCTIONS: [&str; 6] = [
    "error_reply",
    "log",
    "replicate_commands",
    "setresp",
    "sha1hex",
    "status_reply",
];

/// Members of `redis` that are numbers or text.
pub(super) const REDIS_CONSTANTS: [&str; 6] = [
    "LOG_DEBUG",
    "LOG_NOTICE",
    "LOG_VERBOSE",
    "LOG_WARNING",
    "REDIS_VERSION",
    "REDIS_VERSION_NUM",
];

/// Functions that may be given `KEYS` itself: they read it, and keep or return no reference to it.
pub(super) const KEYS_READERS: [&str; 5] = [
    "cjson.encode",
    "table.concat",
    "table.getn",
    "type",
    "unpack",
];

/// Functions that return exactly one value, so that as a last argument they stand for one.
pub(super) const ONE_VALUE: [&str; 26] = [
    "cjson.decode",
    "cjson.encode",
    "cmsgpack.pack",
    "math.abs",
    "math.ceil",
    "math.floor",
    "math.fmod",
    "math.max",
    "math.min",
    "math.pow",
    "math.random",
    "math.sqrt",
    "os.time",
    "rawequal",
    "string.format",
    "string.len",
    "string.lower",
    "string.rep",
    "string.reverse",
    "string.sub",
    "string.upper",
    "struct.pack",
    "table.concat",
    "tonumber",
    "tostring",
    "type",
];

pub(super) fn library(name: &str) -> Option<&'static [&'static str]> {
    LIBRARIES
        .into_iter()
        .find(|(library, _)| *library == name)
        .map(|(_, members)| members)
}
