//! Commands from the server's own `COMMAND DOCS`, and from the corpus with words changed.

use redis::Value;

use super::chance::Chance;
use super::server::{items, member, text};

/// Words that mean something to some parser, in places where they may mean a key.
const WORDS: [&str; 24] = [
    "STORE",
    "STOREDIST",
    "STREAMS",
    "streams",
    "GET",
    "BY",
    "MATCH",
    "COUNT",
    "count",
    "BLOCK",
    "GROUP",
    "LIMIT",
    "DB",
    "KEYS",
    "WEIGHTS",
    "0",
    "1",
    "2",
    "-1",
    "01",
    "k1",
    "k2",
    "p*",
    "",
];

/// A command as `COMMAND DOCS` describes it.
pub struct Described {
    pub name: String,
    arguments: Vec<Argument>,
}

struct Argument {
    name: String,
    kind: String,
    token: Option<String>,
    optional: bool,
    multiple: bool,
    multiple_token: bool,
    nested: Vec<Argument>,
}

impl Argument {
    fn read(value: &Value) -> Self {
        let flags: Vec<String> = member(value, "flags")
            .map(|flags| items(flags).iter().map(text).collect())
            .unwrap_or_default();
        let flag = |name: &str| flags.iter().any(|flag| flag == name);
        Self {
            name: member(value, "name").map(text).unwrap_or_default(),
            kind: member(value, "type").map(text).unwrap_or_default(),
            token: member(value, "token")
                .map(text)
                .filter(|token| !token.is_empty()),
            optional: flag("optional"),
            multiple: flag("multiple"),
            multiple_token: flag("multiple_token"),
            nested: read_all(member(value, "arguments")),
        }
    }
}

fn read_all(arguments: Option<&Value>) -> Vec<Argument> {
    arguments
        .map(|arguments| items(arguments).iter().map(Argument::read).collect())
        .unwrap_or_default()
}

/// Every command and subcommand of a reply to `COMMAND DOCS`, without those that run scripts.
pub fn described(docs: &Value, found: &mut Vec<Described>) {
    for pair in items(docs).chunks_exact(2) {
        let name = text(&pair[0]);
        match member(&pair[1], "subcommands") {
            Some(subcommands) => described(subcommands, found),
            None if runs_scripts(&name) => {}
            None => found.push(Described {
                name,
                arguments: read_all(member(&pair[1], "arguments")),
            }),
        }
    }
}

/// Their keys are declared rather than used; `scripts` runs them instead.
pub fn runs_scripts(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("eval") || name.starts_with("fcall")
}

/// One invocation, mostly of the right form.
pub fn invocation(of: &Described, chance: &mut Chance) -> Vec<String> {
    let mut words: Vec<String> = of.name.split('|').map(str::to_owned).collect();
    let mut keys = 0;
    let pieces: Vec<Vec<String>> = of
        .arguments
        .iter()
        .map(|argument| piece(argument, &mut keys, chance))
        .collect();
    for (index, mut piece) in pieces.iter().cloned().enumerate() {
        if of.arguments[index].name == "numkeys" && !piece.is_empty() && !chance.one_in(10) {
            let following = of.arguments.iter().zip(&pieces).skip(index + 1);
            let count: usize = following
                .filter(|(argument, _)| argument.kind == "key")
                .map(|(_, piece)| piece.len())
                .sum();
            piece = vec![count.to_string()];
        }
        words.extend(piece);
    }
    if chance.one_in(4) {
        changed(&words, chance)
    } else {
        words
    }
}

fn piece(argument: &Argument, keys: &mut usize, chance: &mut Chance) -> Vec<String> {
    if argument.optional && chance.one_in(2) {
        return Vec::new();
    }
    let count = if argument.multiple {
        1 + chance.below(3)
    } else {
        1
    };
    let mut words = Vec::new();
    for turn in 0..count {
        if let Some(token) = &argument.token
            && (turn == 0 || argument.multiple_token)
        {
            words.push(token.clone());
        }
        match argument.kind.as_str() {
            "pure-token" => {}
            "oneof" => words.extend(piece(chance.pick(&argument.nested), keys, chance)),
            "block" => {
                for nested in &argument.nested {
                    words.extend(piece(nested, keys, chance));
                }
            }
            kind => words.push(value(kind, keys, chance)),
        }
    }
    words
}

fn value(kind: &str, keys: &mut usize, chance: &mut Chance) -> String {
    match kind {
        "key" => {
            *keys += 1;
            if chance.one_in(3) {
                (*chance.pick(&["STREAMS", "store", "GET", "count", "k1"])).to_owned()
            } else {
                format!("k{keys}")
            }
        }
        "integer" | "unix-time" => (1 + chance.below(9)).to_string(),
        "double" => "1.5".to_owned(),
        "pattern" => (*chance.pick(&["p*", "q", "#", "w_*->f"])).to_owned(),
        "string" => {
            (*chance.pick(&["s", "v", "STORE", "BLOCK", "STREAMS", "by", "MATCH"])).to_owned()
        }
        _ => "x".to_owned(),
    }
}

/// The same command with a word or two changed, added, doubled or taken away.
pub fn changed(words: &[String], chance: &mut Chance) -> Vec<String> {
    let mut words = words.to_vec();
    for _ in 0..=chance.below(2) {
        // The name stays, so that the change is in what the name's parser reads.
        let at = 1 + chance.below(words.len().max(1));
        let word = if words.len() > 1 && chance.one_in(3) {
            words[1 + chance.below(words.len() - 1)].clone()
        } else {
            (*chance.pick(&WORDS)).to_owned()
        };
        match (chance.below(4), at < words.len()) {
            (0, true) => drop(words.remove(at)),
            (1, true) => words[at] = word,
            (2, true) => words[at] = words[at].to_ascii_lowercase(),
            (_, _) => words.insert(at.min(words.len()), word),
        }
    }
    words
}

/// The corpus' commands for Redis that are text.
pub fn corpus() -> Vec<Vec<String>> {
    let text = std::fs::read_to_string("tests/corpus/known.jsonl").unwrap();
    let cases = text.lines().map(|line| {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        case
    });
    cases
        .filter(|case| case["store"] == "redis")
        .filter_map(|case| serde_json::from_value(case["request"].clone()).ok())
        .collect()
}
