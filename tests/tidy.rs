//! Keeps the style from decaying: lengths, layers and banned words, over the sources as text.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a source file.
const FILE_LINES_MAX: usize = 500;

/// Lines of a function, from its signature to its closing brace.
const FUNCTION_LINES_MAX: usize = 90;

/// Layers that judge or encode: no sockets, no files, no clock, no awaiting.
const PURE_LAYERS: [&str; 7] = [
    "src/classify",
    "src/catalogue/mod.rs",
    "src/catalogue/expand.rs",
    "src/catalogue/words.rs",
    "src/decide",
    "src/trail",
    "src/wire",
];

const IMPURE: [&str; 7] = [
    "tokio::",
    "async fn",
    ".await",
    "std::fs",
    "std::net",
    "Instant::now",
    "SystemTime::now",
];

/// Module names that say nothing.
const BANNED_MODULES: [&str; 5] = ["utils", "util", "common", "helpers", "ext"];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The text before the file's unit tests.
    fn product(&self) -> &str {
        self.text
            .split("#[cfg(test)]\nmod ")
            .next()
            .unwrap_or(&self.text)
    }

    fn is_test(&self) -> bool {
        self.path
            .file_stem()
            .is_some_and(|stem| stem.to_string_lossy().ends_with("tests"))
            || self
                .path
                .components()
                .any(|part| part.as_os_str() == "tests")
    }
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path, text });
            }
        }
    }
    assert!(found.len() > 30, "the sources were not found");
    found
}

fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn files_are_short() {
    let long = sources()
        .into_iter()
        .filter(|source| !source.is_test())
        .map(|source| (source.product().lines().count(), source.path))
        .filter(|(lines, _)| *lines > FILE_LINES_MAX)
        .map(|(lines, path)| format!("{} has {lines} lines", path.display()));
    none("files over the limit", long.collect());
}

#[test]
fn functions_fit_a_screen() {
    let mut long = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let lines: Vec<&str> = source.product().lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let is_function = line.trim_start().starts_with("fn ")
                || line.contains(" fn ") && !line.trim_start().starts_with("//");
            if !is_function || line.trim_end().ends_with(';') {
                continue;
            }
            let closing = format!("{}}}", " ".repeat(indent));
            let end = lines[start..].iter().position(|line| *line == closing);
            if let Some(length) = end.filter(|length| *length > FUNCTION_LINES_MAX) {
                long.push(format!(
                    "{}:{} has {length} lines",
                    source.path.display(),
                    start + 1
                ));
            }
        }
    }
    none("functions over the limit", long);
}

#[test]
fn pure_layers_do_no_io() {
    let mut found = Vec::new();
    for source in sources() {
        let pure = PURE_LAYERS
            .iter()
            .any(|layer| source.path.starts_with(layer));
        if !pure || source.is_test() {
            continue;
        }
        for (number, line) in source.product().lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            for word in IMPURE.iter().filter(|word| code.contains(**word)) {
                found.push(format!("{}:{}: {word}", source.path.display(), number + 1));
            }
        }
    }
    none("pure layers that are not", found);
}

#[test]
fn only_decide_makes_permits_and_only_limit_makes_tickets() {
    let mut found = Vec::new();
    for source in sources() {
        for (made, home) in [("Permit {", "src/decide"), ("Ticket {", "src/limit")] {
            let elsewhere = !source.path.starts_with(home)
                && source
                    .product()
                    .lines()
                    .any(|line| line.trim_start().starts_with(made));
            if elsewhere {
                found.push(format!("{} makes a {made}", source.path.display()));
            }
        }
    }
    none("proofs made elsewhere", found);
}

#[test]
fn names_say_something() {
    let nameless = sources()
        .into_iter()
        .filter(|source| {
            let stem = source
                .path
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned();
            let parent = source
                .path
                .parent()
                .and_then(Path::file_name)
                .unwrap()
                .to_string_lossy();
            BANNED_MODULES.contains(&stem.as_str()) || BANNED_MODULES.contains(&&*parent)
        })
        .map(|source| source.path.display().to_string());
    none("modules whose names say nothing", nameless.collect());
}

#[test]
fn nothing_is_left_unfinished() {
    let unfinished = ["todo!", "unimplemented!", "FIXME", "dbg!("];
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            for word in unfinished.iter().filter(|word| line.contains(**word)) {
                found.push(format!("{}:{}: {word}", source.path.display(), number + 1));
            }
        }
    }
    none("unfinished", found);
}
