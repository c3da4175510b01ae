use super::*;

/// Touches as `+read -write`, written `R key` and `W key`, `P glob` for patterns; a refusal as `Err`.
pub(super) fn touches(
    command: &[&str],
    session: Session,
) -> std::result::Result<Vec<String>, Refusal> {
    let command: Vec<Vec<u8>> = command
        .iter()
        .map(|part| part.as_bytes().to_vec())
        .collect();
    let classification = classify(&command, session)?;
    // No policy vouches for a script here.
    if let Some(script) = classification.scripts.first() {
        return Err(Refusal::Forbidden(script.why.clone()));
    }
    Ok(shown_touches(&classification))
}

fn shown_touches(classification: &Classification) -> Vec<String> {
    let touches = classification.touches.iter();
    touches
        .map(|touch| match (&touch.object, touch.action) {
            (Object::Keys(glob), Action::Read) => format!("P {}", String::from_utf8_lossy(glob)),
            (object, Action::Read) => format!("R {object}"),
            (object, Action::Write) => format!("W {object}"),
            (object, action) => panic!("{object} {action}"),
        })
        .collect()
}

#[track_caller]
fn is(command: &[&str], expected: &[&str]) {
    let mut expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
    expected.sort();
    let mut found =
        touches(command, Session::Shared).unwrap_or_else(|error| panic!("{command:?}: {error}"));
    found.sort();
    assert_eq!(found, expected, "{command:?}");
}

#[track_caller]
fn refused(command: &[&str], why: &str) {
    for session in [Session::Shared, Session::Own] {
        match touches(command, session) {
            Err(error) => assert!(error.to_string().contains(why), "{command:?}: {error}"),
            Ok(found) => panic!("{command:?} is understood: {found:?}"),
        }
    }
}

#[test]
fn keys_stand_where_the_table_says() {
    is(&["get", "a"], &["R a"]);
    is(&["MSET", "a", "1", "b", "2"], &["W a", "W b"]);
    is(&["rename", "a", "b"], &["R a", "W a", "W b"]);
    is(&["BLPOP", "a", "b", "0"], &["R a", "W a", "R b", "W b"]);
    is(
        &["LMPOP", "2", "a", "b", "LEFT"],
        &["R a", "W a", "R b", "W b"],
    );
    is(&["BLMPOP", "0", "1", "a", "LEFT"], &["R a", "W a"]);
    is(
        &["ZUNIONSTORE", "d", "2", "a", "b", "WEIGHTS", "1", "2"],
        &["W d", "R a", "R b"],
    );
    is(
        &["MSETEX", "2", "a", "1", "b", "2", "EX", "9"],
        &["W a", "W b"],
    );
    is(&["OBJECT", "encoding", "a"], &["R a"]);
    is(&["XGROUP", "CREATE", "s", "g", "$", "MKSTREAM"], &["W s"]);
    is(
        &["HGETEX", "h", "EX", "9", "FIELDS", "1", "f"],
        &["R h", "W h"],
    );
    is(&["HEXPIRE", "h", "9", "FIELDS", "1", "f"], &["W h"]);
    is(&["ping"], &[]);
    is(&["TIME"], &[]);
}

#[test]
fn options_are_read_as_the_server_reads_them() {
    is(&["SET", "a", "get"], &["W a"]);
    is(&["SET", "a", "1", "GET"], &["R a", "W a"]);
    is(&["BITFIELD", "a", "GET", "u8", "SET"], &["R a"]);
    is(&["BITFIELD", "a", "SET", "u8", "0", "1"], &["R a", "W a"]);
    is(&["COPY", "a", "b", "REPLACE"], &["R a", "W b"]);
    refused(&["COPY", "a", "b", "DB", "1"], "another database");
    is(&["SORT", "a", "BY", "nosort", "GET", "#"], &["R a"]);
    is(
        &["SORT", "a", "BY", "w:*->f", "GET", "v*:*", "STORE", "d"],
        &["R a", "W d", "P w:*", r"P v*:\*"],
    );
    is(&["SORT", "a", "GET", "x*->"], &["R a", "P x*->"]);
    is(&["SORT", "a", "LIMIT", "STORE", "b"], &["R a"]);
    refused(&["SORT", "a", "STORING", "b"], "no option");
    refused(&["SORT_RO", "a", "STORE", "b"], "no option");
    is(
        &[
            "GEORADIUS",
            "a",
            "0",
            "0",
            "1",
            "m",
            "COUNT",
            "5",
            "STORE",
            "b",
            "STOREDIST",
            "c",
        ],
        &["R a", "W b", "W c"],
    );
    is(
        &["XREAD", "COUNT", "2", "STREAMS", "streams", "b", "0", "0"],
        &["R streams", "R b"],
    );
    is(
        &["XREADGROUP", "GROUP", "g", "STREAMS", "STREAMS", "a", ">"],
        &["R a", "W a"],
    );
    refused(
        &["XREAD", "STREAMS", "a", "b", "0"],
        "an id for each stream",
    );
    refused(
        &[
            "XREADGROUP",
            "STREAMS",
            "GROUP",
            "g",
            "c",
            "STREAMS",
            "a",
            ">",
        ],
        "`GROUP` before `STREAMS`",
    );
    refused(
        &["XREAD", "BLOCK", "STREAMS", "STREAMS", "a", "0"],
        "no option",
    );
    refused(
        &["GEORADIUS", "a", "0", "0", "1", "m", "COUNT", "STORE", "b"],
        "no option",
    );
    refused(&["BITFIELD", "a", "GET", "u8"], "too few");
    is(&["KEYS", "cache:*"], &["P cache:*"]);
    is(&["SCAN", "0"], &["P *"]);
    is(
        &["SCAN", "0", "COUNT", "5", "match", "cache:*"],
        &["P cache:*"],
    );
    refused(&["SCAN", "0", "MATCH", "a*", "MATCH", "b*"], "no option");
}

#[test]
fn bytes_that_are_not_text_are_keys_too() {
    let key = b"\xff\0*".to_vec();
    let classification = classify(&[b"GET".to_vec(), key.clone()], Session::Shared).unwrap();
    assert_eq!(classification.touches[0].object, Object::Key(key));
}

#[test]
fn malformed_and_unknown_commands_are_refused() {
    refused(&[], "empty");
    refused(&[""], "not a command");
    refused(&["GET"], "does not take");
    refused(&["GET", "a", "b"], "does not take");
    refused(&["JSON.GET", "a"], "not a command");
    refused(&["XGROUP", "NEW", "a"], "not a command");
    refused(&["CONFIG"], "needs a subcommand");
    refused(&["MSET", "a", "1", "b"], "a value for each key");
    for count in ["-1", "+1", "01", "1 ", "2", "99999999999", "x", ""] {
        refused(
            &["LMPOP", count, "a", "LEFT"],
            "LMPOP".to_ascii_lowercase().as_str(),
        );
    }
    refused(&["ZDIFF", "0", "a"], "says 0 keys");
    for name in [
        "FLUSHALL",
        "config",
        "SUBSCRIBE",
        "FCALL",
        "AUTH",
        "MIGRATE",
        "debug",
    ] {
        refused(&[name, "get", "x"], "");
    }
}

#[test]
fn what_alters_a_connection_needs_one_of_its_own() {
    for command in [
        &["MULTI"][..],
        &["WATCH", "a"],
        &["HELLO", "3"],
        &["CLIENT", "SETNAME", "x"],
        &["SELECT", "0"],
        &["INFO"],
    ] {
        assert!(touches(command, Session::Shared).is_err(), "{command:?}");
        assert!(touches(command, Session::Own).is_ok(), "{command:?}");
    }
    assert_eq!(touches(&["WATCH", "a"], Session::Own).unwrap(), ["R a"]);
    refused(&["SELECT", "1"], "");
    refused(&["HELLO", "3", "AUTH", "default", "x"], "");
    refused(&["INFO", "commandstats"], "");
}

#[test]
fn waiting_commands_are_known() {
    let blocks = |words: &[&str]| {
        blocks(
            &words
                .iter()
                .map(|word| word.as_bytes().to_vec())
                .collect::<Vec<_>>(),
        )
    };
    assert!(blocks(&["blpop", "a", "0"]));
    assert!(blocks(&["XREAD", "BLOCK", "0", "STREAMS", "a", "$"]));
    assert!(blocks(&[
        "XREADGROUP",
        "GROUP",
        "g",
        "STREAMS",
        "BLOCK",
        "0",
        "STREAMS",
        "a",
        ">"
    ]));
    assert!(!blocks(&["XREAD", "STREAMS", "block", "$"]));
    assert!(!blocks(&["LPOP", "a"]));
}

#[test]
fn hostile_sizes_end_in_a_limit() {
    let many: Vec<Vec<u8>> = std::iter::once(b"DEL".to_vec())
        .chain(std::iter::repeat_n(b"a".to_vec(), 200_000))
        .collect();
    assert_eq!(classify(&many, Session::Shared).unwrap().touches.len(), 1);
    let many = vec![b"DEL".to_vec(); ARGUMENTS_MAX + 1];
    assert!(matches!(
        classify(&many, Session::Shared),
        Err(Refusal::TooLarge(_))
    ));
}

/// `printf '%s' "return redis.call('GET', ARGV[1])" | sha1sum`
const COMPUTED: &str = "return redis.call('GET', ARGV[1])";
const COMPUTED_SHA1: &str = "2b607d3eeffe20cb8536f3e513a6fe42580a3d6e";

#[test]
fn scripts_that_prove_nothing_are_left_to_the_policy() {
    let capitals = COMPUTED_SHA1.to_ascii_uppercase();
    let cases: &[(&[&str], &[&str])] = &[
        (&["EVAL", COMPUTED, "1", "a", "b"], &["R a", "W a"]),
        (&["EVAL", COMPUTED, "0", "a"], &[]),
        (&["eval_ro", COMPUTED, "2", "a", "b"], &["R a", "R b"]),
        (&["EVALSHA", COMPUTED_SHA1, "1", "a", "b"], &["R a", "W a"]),
        (&["EVALSHA", &capitals, "0"], &[]),
        (&["EVALSHA_RO", COMPUTED_SHA1, "1", "a"], &["R a"]),
        (&["SCRIPT", "LOAD", COMPUTED], &[]),
        (&["script", "exists", COMPUTED_SHA1, &capitals], &[]),
    ];
    for (words, expected) in cases {
        let bytes: Vec<Vec<u8>> = words.iter().map(|word| (*word).into()).collect();
        let known = classify(&bytes, Session::Shared).unwrap();
        let digests: Vec<&str> = known.scripts.iter().map(|s| s.digest.as_str()).collect();
        assert_eq!(digests, [COMPUTED_SHA1], "{words:?}");
        assert_eq!(shown_touches(&known), *expected, "{words:?}");
    }
    // What proves itself needs nobody's word, and is stored for nobody without it.
    let proven = [b"EVAL".to_vec(), b"return 1".to_vec(), b"0".to_vec()];
    assert!(
        classify(&proven, Session::Shared)
            .unwrap()
            .scripts
            .is_empty()
    );
    refused(&["SCRIPT", "LOAD", "return 1"], "by its digest alone");
    // One byte more is another script.
    let other = [
        b"EVAL".to_vec(),
        format!("{COMPUTED} ").into_bytes(),
        b"0".to_vec(),
    ];
    let known = classify(&other, Session::Shared).unwrap();
    assert_ne!(known.scripts[0].digest, COMPUTED_SHA1);
}

#[test]
fn what_names_no_script_is_refused() {
    let short = &COMPUTED_SHA1[1..];
    let long = format!("{COMPUTED_SHA1}0");
    let wide = format!("{short}\u{e9}");
    for digest in [
        "",
        "0",
        short,
        &long,
        &wide,
        &format!("g{short}"),
        &format!(" {short}"),
    ] {
        let why = "40 hexadecimal digits";
        for words in [
            &["EVALSHA", digest, "0"][..],
            &["EVALSHA_RO", digest, "0"],
            &["SCRIPT", "EXISTS", COMPUTED_SHA1, digest],
        ] {
            let bytes: Vec<Vec<u8>> = words.iter().map(|word| (*word).into()).collect();
            let error = classify(&bytes, Session::Shared).unwrap_err();
            assert!(error.to_string().contains(why), "{words:?}: {error}");
        }
    }
    for count in [
        "",
        "-1",
        "+1",
        "01",
        "2",
        "1 ",
        "1.0",
        "x",
        "99999999999999999999",
    ] {
        for (name, script) in [
            ("EVALSHA", COMPUTED_SHA1),
            ("EVAL", COMPUTED),
            ("EVAL", "return 1"),
        ] {
            let words = [name, script, count, "a"];
            let bytes: Vec<Vec<u8>> = words.iter().map(|word| (*word).into()).collect();
            assert!(classify(&bytes, Session::Shared).is_err(), "{words:?}");
        }
    }
    for words in [
        &["EVALSHA", COMPUTED_SHA1][..],
        &["SCRIPT", "LOAD"],
        &["SCRIPT", "EXISTS"],
        &["SCRIPT", "LOAD", "a", "b"],
        &["SCRIPT", "FLUSH"],
        &["FCALL", COMPUTED_SHA1, "0"],
    ] {
        let bytes: Vec<Vec<u8>> = words.iter().map(|word| (*word).into()).collect();
        assert!(classify(&bytes, Session::Own).is_err(), "{words:?}");
    }
}
