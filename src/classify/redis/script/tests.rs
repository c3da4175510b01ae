use super::super::tests::touches;
use crate::classify::{Refusal, Session};

/// What a script on the keys `a` and `b` touches.
fn script(source: &str) -> std::result::Result<Vec<String>, Refusal> {
    touches(&["EVAL", source, "2", "a", "b", "x"], Session::Shared)
}

#[test]
fn scripts_pass_where_their_keys_are_proven() {
    let cases: &[(&str, &[&str])] = &[
        ("return 1", &["R a", "R b"]),
        ("return redis.call('get', KEYS[1])", &["R a", "R b"]),
        (
            "return redis.call('SET', KEYS[2], ARGV[1])",
            &["R a", "W b"],
        ),
        ("return redis.call'TIME'", &["R a", "R b"]),
        (
            "local k, n = KEYS[1], ARGV[1] redis.call('SETEX', k, n, KEYS[2])",
            &["W a", "R b"],
        ),
        (
            "for _, k in ipairs(KEYS) do redis.call('UNLINK', k) end",
            &["W a", "W b"],
        ),
        (
            "for i = 1, #KEYS do local k = KEYS[i] redis.call('DEL', k) end",
            &["W a", "W b"],
        ),
        ("return redis.call('MGET', unpack(KEYS))", &["R a", "R b"]),
        (
            "return redis.call('ZADD', KEYS[1], unpack(ARGV))",
            &["R b", "W a"],
        ),
        (
            "local call = redis.call return call('HSET', KEYS[1], 'f', 1)",
            &["R b", "W a"],
        ),
        ("return pcall(redis.call, 'GET', KEYS[1])", &["R a", "R b"]),
        (
            "return redis.call('ZUNIONSTORE', KEYS[1], 1, KEYS[2])",
            &["R b", "W a"],
        ),
        (
            "return redis.call('XADD', KEYS[1], '*', 'd', cjson.encode({ARGV[1]}))",
            &["R b", "W a"],
        ),
        (
            "local ok, v = pcall(cjson.decode, redis.call('GET', KEYS[1])) return v",
            &["R a", "R b"],
        ),
        (
            "local function f(n) return redis.call('INCRBY', KEYS[1], n) end return f(2)",
            &["R a", "R b", "W a"],
        ),
        (
            "-- a\r\n--[==[ ]] ]==]\r\nreturn redis.call('GET', (KEYS[1]))",
            &["R a", "R b"],
        ),
        (
            "#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])",
            &["R a", "R b"],
        ),
        ("return redis.call('GET', KEYS[9])", &["R a", "R b"]),
        (
            "local t = {} t[#t + 1] = KEYS[1] table.insert(t, KEYS[2]) return t",
            &["R a", "R b"],
        ),
        (
            "redis.call('SORT', KEYS[1], 'BY', 'nosort', 'STORE', KEYS[2])",
            &["R a", "W b"],
        ),
        (
            "redis.call('SET', KEYS[1], (function() return 1, 'GET' end)())",
            &["R a", "R b", "W a"],
        ),
    ];
    for (source, expected) in cases {
        let mut found = script(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        found.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn scripts_are_refused_where_a_key_is_not_proven() {
    let cases = [
        ("return redis.call('GET', 'x')", "not in `KEYS`"),
        ("return redis.call('GET', ARGV[1])", "computes a key"),
        ("return redis.call('GET', KEYS[1] .. 'x')", "computes a key"),
        (
            "local k = KEYS[1] k = 'x' return redis.call('GET', k)",
            "computes a key",
        ),
        (
            "local k = KEYS[1] local f = function() k = 'x' end f() return redis.call('GET', k)",
            "computes a key",
        ),
        (
            "KEYS = {'x'} return redis.call('GET', KEYS[1])",
            "global `KEYS`",
        ),
        ("KEYS[1] = 'x' return redis.call('GET', KEYS[1])", ""),
        (
            "(KEYS)[1] = 'x' return redis.call('GET', KEYS[1])",
            "`KEYS` itself",
        ),
        (
            "local KEYS = ARGV return redis.call('GET', KEYS[1])",
            "computes a key",
        ),
        (
            "local k = KEYS k[1] = 'x' return redis.call('GET', KEYS[1])",
            "`KEYS` itself",
        ),
        ("local t = {KEYS} return 1", "`KEYS` itself"),
        (
            "local function f(t) t[1] = 'x' end f(KEYS) return 1",
            "`KEYS` itself",
        ),
        (
            "local f, t = ipairs(KEYS) t[1] = 'x' return 1",
            "`KEYS` itself",
        ),
        ("table.insert(KEYS, 1, 'x') return 1", "`KEYS` itself"),
        ("rawset(KEYS, 1, 'x') return 1", "`rawset`"),
        ("setmetatable({}, {}) return 1", "`setmetatable`"),
        ("return _G.redis.call('GET', 'x')", "`_G`"),
        ("return getfenv(0).redis.call('GET', 'x')", "`getfenv`"),
        ("return loadstring('return 1')()", "`loadstring`"),
        ("return load(function() end)", "`load`"),
        ("return string.dump(function() end)", "`string`"),
        ("return redis['call']('GET', 'x')", "`redis`"),
        ("return redis.call(ARGV[1], KEYS[1])", "not a literal"),
        ("return redis.call('G' .. 'ET', KEYS[1])", "not a literal"),
        ("return redis.call('\\71ET', KEYS[1])", "not a literal"),
        ("return redis.call(unpack({'GET', 'x'}))", "not a literal"),
        ("return redis.call{'GET', 'x'}", "not a literal"),
        ("local r = redis return r.call('GET', 'x')", "`redis`"),
        ("local c = redis.call c = nil return 1", "`c`"),
        (
            "local t = {c = redis.call} return t.c('GET', 'x')",
            "`redis.call` itself",
        ),
        ("return (redis.call)('GET', 'x')", "`redis.call` itself"),
        ("return redis:call('GET', 'x')", "`redis`"),
        ("return xpcall(redis.call, print)", "`redis.call` itself"),
        (
            "return redis.acl_check_cmd('GET', 'x')",
            "`redis.acl_check_cmd`",
        ),
        (
            "redis.set_repl(redis.REPL_NONE) return 1",
            "`redis.set_repl`",
        ),
        ("function f() end return 1", "global function `f`"),
        ("math.floor = function() end return 1", ""),
        ("return coroutine.wrap(function() end)", "`coroutine`"),
        (
            "return redis.call('EVAL', 'return 1', 0)",
            "not for scripts",
        ),
        ("return redis.call('KEYS', 'a*')", "not for scripts"),
        ("return redis.call('FLUSHALL')", "not for scripts"),
        ("return redis.call('SELECT', 1)", "not for scripts"),
        (
            "return redis.call('SORT', KEYS[1], 'GET', 'x*')",
            "by a pattern",
        ),
        (
            "return redis.call('SORT', KEYS[1], ARGV[1], 'x*')",
            "no option",
        ),
        (
            "return redis.call('SORT', KEYS[1], 'STORE', unpack(KEYS))",
            "place the script computes",
        ),
        (
            "return redis.call('SORT', KEYS[1], unpack(ARGV))",
            "place the script computes",
        ),
        (
            "return redis.call('MSET', unpack(KEYS))",
            "place the script computes",
        ),
        (
            "return redis.call('DEL', unpack(ARGV))",
            "place the script computes",
        ),
        (
            "return redis.call('ZUNIONSTORE', KEYS[1], ARGV[1], KEYS[2])",
            "place the script computes",
        ),
        (
            "return redis.call('ZUNIONSTORE', KEYS[1], 2, KEYS[2], 'x')",
            "not in `KEYS`",
        ),
        (
            "return redis.call('GEORADIUS', KEYS[1], 0, 0, 1, 'm', ARGV[1], KEYS[2])",
            "no option",
        ),
        // Lua ends a comment at a carriage return.
        ("--\rredis.call('GET', 'x')\nreturn 1", "carriage return"),
        (
            "return 1 end redis.call('GET', 'x') function g()",
            "not Lua 5.1",
        ),
        ("goto x ::x:: return 1", "not Lua 5.1"),
        ("return 7 // 2", "not Lua 5.1"),
        ("return 1 & 1", "not Lua 5.1"),
        ("#!python\nreturn 1", "first line"),
        ("return 1\0", "NUL"),
        ("return 'open", "not Lua 5.1"),
    ];
    for (source, why) in cases {
        match script(source) {
            Err(error) => assert!(error.to_string().contains(why), "{source}: {error}"),
            Ok(found) => panic!("{source} is understood: {found:?}"),
        }
    }
}

#[test]
fn hostile_sizes_end_in_a_limit() {
    let nested = [
        format!("return {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("return {}1{}", "{".repeat(50_000), "}".repeat(50_000)),
        format!("return {}1", "not ".repeat(30_000)),
        format!("return {}1", "- ".repeat(60_000)),
        format!("return {}1", "1 .. ".repeat(25_000)),
        format!("return {}1", "1 + ".repeat(25_000)),
        format!("{}{}", "do ".repeat(20_000), "end ".repeat(20_000)),
        format!("{}{}", "if x then ".repeat(10_000), "end ".repeat(10_000)),
        format!(
            "return {}{}",
            "function() return ".repeat(5_000),
            "end ".repeat(5_000)
        ),
        format!("return {}", "f(".repeat(60_000)),
        "a".repeat(200_000),
    ];
    for source in &nested {
        assert!(script(source).is_err());
    }
    // As deep as the limit lets it, on a thread as small as the runtime's.
    for (open, close) in [("(", ")"), ("{", "}"), ("not ", ""), ("1 .. ", "")] {
        let source = format!("return {}1{}", open.repeat(50), close.repeat(50));
        script(&source).unwrap_or_else(|error| panic!("{open}: {error}"));
    }
    let flat = format!(
        "local t = {{}} {} return t",
        "t[1] = redis.call('GET', KEYS[1]) ".repeat(3_000)
    );
    assert!(script(&flat).is_ok());
}

/// Redis serves nobody else while a script runs.
#[test]
fn scripts_that_may_never_end_are_refused() {
    for source in [
        "while true do end",
        "repeat until false",
        "for i = 1, ARGV[1] do redis.call('GET', KEYS[1]) end",
        "for i = 1, 1e12 do end",
        "for i = 1, 2, 0 do end",
        "local function f() return f() end return f()",
        "local f = 1 local function f() return f() end return f()",
        "local f f = function() return f() end return f()",
        "local f function f() return f() end return f()",
        "local t = {} t.f = function() return t.f() end return t.f()",
        "local t = {} function t.f() return t.f() end return t.f()",
        "local t = {} function t:f() return self:f() end return t:f()",
        "local t = {f = function(g) return g(g) end} return t.f(t.f)",
        "local f, g f = function() return g() end g = function() return f() end return f()",
        "local function f(g) return g(g) end return f(f)",
        "return (function(f) return f(f) end)(function(f) return f(f) end)",
        "local function f(g) return pcall(g, g) end return pcall(f, f)",
        "local function f() return 1 end return (f or 1)()",
        "local function f() return 1 end return {f}",
        "local function f() return 1 end f = 2 return f",
        "local function f() return function() end end return f()()",
        "return select(1, function() end)()",
        "local ok, f = pcall(error, function() end) return f()",
        "for _ in math.random do end",
        "for _ in type, 1 do end",
        "for _ in function() return 1 end do end",
        "for _ in (function() return next end)() do end",
        "local t = {type, gmatch = unpack} for _ in t:gmatch() do end",
        "ARGV[1] = {os.time, gmatch = unpack} for _ in ARGV[1]:gmatch() do end",
        "local next = type for _ in next, 1 do end",
        "local string = {gmatch = 1} for _ in string.gmatch('a', 'b') do end",
    ] {
        assert!(script(source).is_err(), "{source}");
    }
}

#[test]
fn a_backtick_is_refused_outside_strings_and_comments() {
    for source in [
        "return redis.call(ARGV[1], `x`)",
        "`",
        "return `a{1}`",
        "local a = 'b' `",
    ] {
        assert!(script(source).is_err(), "{source}");
    }
    let quoted = "-- the `key`\nreturn redis.call('set', KEYS[1], '`')";
    assert!(script(quoted).is_ok());
}

/// On the stack that a thread usually has, which these tests run on, too.
#[test]
fn deep_scripts_end_in_an_answer() {
    for (opens, closes) in [
        ("if 1 then ", "end "),
        ("do ", "end "),
        ("local function f() ", "end "),
        ("for i = 1, 2 do ", "end "),
        ("return (", ")"),
        ("return {", "}"),
        ("return not ", ""),
    ] {
        for depth in [12, 40, 100] {
            // A value that is bracketed is returned once.
            let opens = match opens.strip_prefix("return ") {
                Some(bracket) => format!("return {}1", bracket.repeat(depth)),
                None => opens.repeat(depth),
            };
            let source = format!("{opens}{}", closes.repeat(depth));
            let answer = script(&source);
            assert!(
                !matches!(&answer, Err(Refusal::Unparsable(_))),
                "{depth} of {source:.20}: {answer:?}"
            );
        }
    }
}

#[test]
fn functions_that_are_only_called_pass() {
    for source in [
        "local function f(a) return a end local function g(a) return f(f(a)) end return g(1)",
        "local f = function(a) return a end return f(1)",
        "return (function(a) return a end)(1)",
        "local ok, v = pcall(function() return redis.call('GET', KEYS[1]) end) return v",
        "local t = {2, 1} table.sort(t, function(a, b) return a < b end) return t",
        "local function low(c) return c:lower() end return low(ARGV[1])",
        "for w in string.gmatch(ARGV[1], '%a+') do redis.call('SADD', KEYS[1], w) end",
        "for k, v in next, ARGV do redis.call('HSET', KEYS[1], k, v) end",
        "local insert = table.insert local t = {} insert(t, 1) return t",
    ] {
        script(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    }
}

/// Each line is short; what it makes of the one before it is not.
#[test]
fn work_that_multiplies_is_refused() {
    let doubling: String = (1..60)
        .map(|n| format!("local function f{n}() f{}() f{}() end ", n - 1, n - 1))
        .collect();
    let doubling = format!("local function f0() return 1 end {doubling}");
    let loops = "for i = 1, 100000 do ".repeat(3) + &"end ".repeat(3);
    for (source, why) in [
        (format!("{doubling} return f59()"), "very long"),
        (format!("{doubling} return pcall(f59)"), "very long"),
        (format!("{loops} return 1"), "very long"),
        (
            format!("local function f() {loops} end return (f())"),
            "very long",
        ),
    ] {
        let error = script(&source).unwrap_err();
        assert!(error.to_string().contains(why), "{source}: {error}");
    }
    assert!(script(&format!("{doubling} return f9()")).is_ok());
    // What nests in an argument is read once: reading it twice at each level would take for ever.
    for name in ["pcall", "xpcall", "type", "redis.pcall"] {
        let open = format!("{name}(function() return ").repeat(29);
        let nested = script(&format!("return {open}1{}", " end)".repeat(29)));
        assert_eq!(nested.is_ok(), name.starts_with(['p', 'x']), "{name}");
    }
}

/// What runs within C is not even ended by `SCRIPT KILL`.
#[test]
fn time_and_memory_are_bounded() {
    for source in [
        "return string.find(string.rep('a', 400), '.-.-.-b')",
        "return string.find(ARGV[1], '.-b')",
        "return string.find(ARGV[1], '%s+$')",
        "return string.match(ARGV[1], '(%w+)=(%w+)')",
        "return string.match(ARGV[1], '%b()')",
        "return string.find(ARGV[1], ARGV[2])",
        "return string.find(ARGV[1], ARGV[2], 1, true)",
        "return string.find(ARGV[1], '\\46*b')",
        "return string.find(ARGV[1], 'a?a?a?a?a?a?b')",
        "return ARGV[1]:find('.-b')",
        "return ARGV[1]:find(ARGV[2])",
        "for w in string.gmatch(ARGV[1], '^.-b') do end",
        "return #string.rep('a', 300000000)",
        "return #string.rep(ARGV[1], 2)",
        "return #string.rep('a', ARGV[1])",
        "return ('a'):rep(300000000)",
        "return ('a').rep('a', 300000000)",
        "local f = ('a').rep return f('a', 300000000)",
        "local f = string.rep return f('a', 300000000)",
        "return pcall(string.rep, 'a', 300000000)",
        "return pcall(('a').rep, 'a', 300000000)",
        "return string.gsub(ARGV[1], '.', ARGV[1])",
        "return string.gsub(ARGV[1], '.', function() return ARGV[1] end)",
        "return table.concat(ARGV, ARGV[1])",
        "local s = 'a' for i = 1, 40 do s = s .. s end return #s",
        "local s = 'a' for i = 1, 40 do local t = s s = s .. t end return #s",
        "local s = 'a' for i = 1, 40 do local t = s .. s s = t end return #s",
        "local s = 'a' for i = 1, 40 do s = string.format('%s%s', s, s) end return #s",
        "local s = 'a' for i = 1, 40 do s = table.concat({s, s}) end return #s",
        "local s = 'a' for i = 1, 40 do s = cjson.encode({s, s}) end return #s",
        "local s = 'a' for i = 1, 40 do s = string.gsub(s, '.', 'bb') end return #s",
        "local s = 'a' for i = 1, 40 do s = s:gsub('.', 'bb') end return #s",
        "local t = {} for i = 1, 40 do t = {t, t} end return cjson.encode(t)",
        "local t = {'a'} for i = 1, 40 do t[1] = t[1] .. t[1] end return #t[1]",
        "local s = 'a' local function f(a) s = s .. a end for i = 1, 40 do f(s) end return #s",
        "local function f(a) return a .. a end local s = 'a' for i = 1, 40 do s = f(s) end return #s",
        "for i = 1, 40 do ARGV[1] = ARGV[1] .. ARGV[1] end return #ARGV[1]",
        "local t = {} for i = 1, 100000 do t[i] = i end for i = 1, 900 do table.sort(t) end return 1",
        "local t = {} for i = 1, 100000 do table.insert(t, 1, i) end return 1",
        "local t = {} for i = 1, 100000 do t[i] = i end for i = 1, #t do for j = 1, #t do t[1] = 1 end end return 1",
        "for i = 1, 100000 do for j = 1, 100 do redis.call('LRANGE', KEYS[1], 0, -1) end end return 1",
    ] {
        assert!(script(source).is_err(), "{source}");
    }
    let doubled: String = (1..40)
        .map(|n| format!("local s{n} = s{} .. s{} ", n - 1, n - 1))
        .collect();
    assert!(script(&format!("local s0 = 'a' {doubled} return #s39")).is_err());
    let doubled = "s = s .. s ".repeat(40);
    assert!(script(&format!("local s = 'a' {doubled} return #s")).is_err());
    for source in [
        "return string.rep('0', 8)",
        "return string.find(ARGV[1], ':', 1, true)",
        "return string.match(ARGV[1], '^(%w+):')",
        "return string.match(ARGV[1], '-?%d+')",
        "return string.find(ARGV[1], '[^]%]x]')",
        "return ARGV[1]:sub(1, 2) .. ARGV[1]:upper()",
        "return string.gsub(ARGV[1], ' ', '_')",
        "return string.gsub(ARGV[1], '\\n', ' ')",
        "local t = {} for w in string.gmatch(ARGV[1], '([^,]+)') do t[#t + 1] = w end return t",
        "local s = '' for i, v in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do s = s .. v .. ',' end return s",
        "local l = redis.call('LRANGE', KEYS[1], 0, -1) local s = '' for i, v in ipairs(l) do s = s .. v end return s",
        "local s = '' for i = 1, #ARGV do s = s .. ARGV[i] end return s",
        "local t = redis.call('LRANGE', KEYS[1], 0, -1) table.sort(t) return table.concat(t, ',')",
        "for i = 1, #KEYS do redis.call('SET', KEYS[i], cjson.encode({ARGV[1], i})) end return 1",
        "local s = 'a' s = s .. s return s",
        "local t = {} for i = 1, #ARGV do table.insert(t, ARGV[i]) end return t",
    ] {
        script(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    }
}
