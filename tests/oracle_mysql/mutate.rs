//! Changes to statements: white space and comments where they mean nothing, and changes that mean something, to
//! statements of the corpus.

use super::random::Random;
use super::schema::TABLES;

const BLANKS: [&str; 13] = [
    "\n",
    "\t",
    "  ",
    "/**/",
    " /* c */ ",
    " # x\n",
    " -- y\n",
    "\r\n",
    "\u{b}",
    " /* ' */ ",
    " /* x */",
    "/* /* */",
    " -- '\n",
];

/// Pieces that change how what follows is read.
const PIECES: [&str; 40] = [
    " FROM ",
    " JOIN ",
    ", ",
    " UNION SELECT ",
    "(",
    ")",
    "'",
    "\"",
    "`",
    "\\",
    "/*",
    "*/",
    "/*!",
    "/*M!",
    " -- ",
    "#",
    ";",
    ".",
    " AS ",
    " WITH x AS (SELECT 1) ",
    " WHERE ",
    " IN (TABLE api_keys)",
    "?",
    "@a",
    "@@version",
    " INTO @x",
    " FOR UPDATE",
    " SET ",
    " VALUES ",
    "1e0",
    "0x41",
    "N'x'",
    "_latin1'x'",
    "{d '2020-01-01'}",
    " RETURNING *",
    " PARTITION (p0)",
    " ON ",
    " LIMIT 1",
    "\u{e9}",
    "--",
];

/// Replaces some blanks outside quotes by others.
pub fn respaced(text: &str, random: &mut Random) -> String {
    if random.chance(60) {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut quote = None;
    let mut escaped = false;
    for c in text.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(open) if c == '\\' && open != '`' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '\'' | '"' | '`') => quote = Some(c),
            None if c == ' ' && random.chance(15) => {
                out.push_str(random.pick(&BLANKS));
                continue;
            }
            None => {}
        }
        out.push(c);
    }
    out
}

/// A statement of the corpus, changed in one to three ways.
pub fn mutated(corpus: &[String], random: &mut Random) -> String {
    let mut text = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(3) {
        let other = &corpus[random.below(corpus.len())];
        text = change(&text, other, random);
    }
    text
}

/// Where words, blanks and single characters begin.
fn seams(text: &str) -> Vec<usize> {
    let mut seams = vec![0];
    let mut in_word = false;
    for (at, c) in text.char_indices() {
        let word = c.is_alphanumeric() || c == '_';
        if !(word && in_word) {
            seams.push(at);
        }
        in_word = word;
    }
    seams.push(text.len());
    seams
}

fn change(text: &str, other: &str, random: &mut Random) -> String {
    let seams_here = seams(text);
    let (one, two) = (
        random.below(seams_here.len()),
        random.below(seams_here.len()),
    );
    let (start, end) = (seams_here[one.min(two)], seams_here[one.max(two)]);
    let here = seams_here[one];
    match random.below(8) {
        // Another table where a word stands.
        0..=2 => {
            let mut out = String::new();
            let target = TABLES[random.below(TABLES.len())].name;
            let with = &TABLES[random.below(TABLES.len())];
            let replacement = match with.database {
                "vault" => format!("vault.{}", with.name),
                _ => with.name.to_owned(),
            };
            for (at, part) in text.split(target).enumerate() {
                if at > 0 {
                    out.push_str(&replacement);
                }
                out.push_str(part);
            }
            out
        }
        3 => format!("{}{}{}", &text[..here], random.pick(&PIECES), &text[here..]),
        4 if end - start < 30 => format!("{}{}", &text[..start], &text[end..]),
        5 if end - start < 60 => format!("{}{}{}", &text[..end], &text[start..end], &text[end..]),
        6 => {
            let seams_there = seams(other);
            let there = seams_there[random.below(seams_there.len())];
            format!("{}{}", &text[..here], &other[there..])
        }
        _ => respaced(text, random),
    }
}

/// A label without the comments that stand in it.
pub fn without_comments(text: &str) -> String {
    let mut rest = text;
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once("/*") {
        out.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out.replace("# x", "")
        .replace("-- y", "")
        .replace("-- '", "")
}
