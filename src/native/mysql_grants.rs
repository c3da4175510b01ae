//! Reads what `SHOW GRANTS` prints, MySQL's and MariaDB's alike.

use super::Privilege;

/// One line of `SHOW GRANTS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Privileges(Vec<Privilege>),
    /// Roles that are granted, each as `name` or `name@host`.
    Roles(Vec<String>),
    /// Says nothing of what may be done.
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// In quotes of any kind.
    Name(String),
    Symbol(char),
}

/// Reads one line; `None` where it is of no known form, which counts as a difference.
pub(super) fn read(line: &str) -> Option<Line> {
    let tokens = tokens(line)?;
    match tokens.first()? {
        Token::Word(word) if word == "SET" => return Some(Line::Nothing),
        Token::Word(word) if word == "GRANT" => {}
        // A partial revocation only takes away.
        Token::Word(word) if word == "REVOKE" => return Some(Line::Nothing),
        Token::Word(_) | Token::Name(_) | Token::Symbol(_) => return None,
    }
    let rest = tokens.get(1..)?;
    let is = |token: &Token, word: &str| matches!(token, Token::Word(w) if w == word);
    let to = rest.iter().rposition(|token| is(token, "TO"))?;
    let tail = rest.get(to..)?;
    let granted = rest.get(..to)?;
    let mut pairs = tail.iter().zip(tail.iter().skip(1));
    let grantable = pairs
        .any(|(first, second)| (is(first, "GRANT") || is(first, "ADMIN")) && is(second, "OPTION"));
    let Some(on) = granted.iter().rposition(|token| is(token, "ON")) else {
        return Some(Line::Roles(roles(granted)));
    };
    let place = place(granted.get(on + 1..)?)?;
    let mut privileges = Vec::new();
    for (what, columns) in privileges_of(granted.get(..on)?)? {
        if what == "USAGE" {
            continue;
        }
        if columns.is_empty() {
            privileges.push(Privilege::new(what, place.clone()));
            continue;
        }
        for column in columns {
            let table = place.strip_prefix("table ").unwrap_or(&place);
            privileges.push(Privilege::new(
                what.clone(),
                format!("column {table}.{column}"),
            ));
        }
    }
    if grantable {
        privileges.push(Privilege::new("GRANT OPTION", place));
    }
    Some(Line::Privileges(privileges))
}

/// `SELECT, INSERT (a, b), CREATE TEMPORARY TABLES`.
fn privileges_of(tokens: &[Token]) -> Option<Vec<(String, Vec<String>)>> {
    let mut found = Vec::new();
    let mut words: Vec<&str> = Vec::new();
    let mut columns = Vec::new();
    let mut in_columns = false;
    for token in tokens {
        match token {
            Token::Word(word) if in_columns => columns.push(word.clone()),
            Token::Word(word) => words.push(word),
            Token::Name(name) if in_columns => columns.push(name.clone()),
            Token::Symbol('(') => in_columns = true,
            Token::Symbol(')') => in_columns = false,
            Token::Symbol(',') if in_columns => {}
            Token::Symbol(',') => {
                found.push((words.join(" "), std::mem::take(&mut columns)));
                words.clear();
            }
            Token::Name(_) | Token::Symbol(_) => return None,
        }
    }
    found.push((words.join(" "), columns));
    Some(found)
}

/// `*.*`, `` `db`.* ``, `` `db`.`t` ``, `` FUNCTION `db`.`f` ``, `''@''` of a proxy.
fn place(tokens: &[Token]) -> Option<String> {
    let text = |token: &Token| match token {
        Token::Word(word) | Token::Name(word) => Some(word.clone()),
        Token::Symbol('*') => Some("*".to_owned()),
        Token::Symbol(_) => None,
    };
    let kinds = ["FUNCTION", "PROCEDURE", "PACKAGE", "BODY", "TABLE"];
    let split = tokens
        .iter()
        .position(|token| !matches!(token, Token::Word(word) if kinds.contains(&word.as_str())))?;
    let kind: Vec<String> = tokens.get(..split)?.iter().filter_map(text).collect();
    match tokens.get(split..)? {
        [Token::Symbol('*'), Token::Symbol('.'), Token::Symbol('*')] => Some("the server".into()),
        [database, Token::Symbol('.'), Token::Symbol('*')] => {
            Some(format!("databases like {}", text(database)?))
        }
        [database, Token::Symbol('.'), name] => {
            let kind = match kind.first().map(|word| word.to_lowercase()) {
                Some(kind) if kind != "table" => kind,
                Some(_) | None => "table".to_owned(),
            };
            Some(format!("{kind} {}.{}", text(database)?, text(name)?))
        }
        [user, Token::Symbol('@'), host] => {
            Some(format!("account {}@{}", text(user)?, text(host)?))
        }
        [name] => Some(format!("account {}", text(name)?)),
        _ => None,
    }
}

fn roles(tokens: &[Token]) -> Vec<String> {
    let mut roles = Vec::new();
    for one in tokens.split(|token| *token == Token::Symbol(',')) {
        let parts: Vec<&str> = one
            .iter()
            .map(|token| match token {
                Token::Word(word) | Token::Name(word) => word.as_str(),
                Token::Symbol(_) => "@",
            })
            .collect();
        roles.push(parts.concat());
    }
    roles
}

fn tokens(line: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(first) = chars.next() {
        match first {
            ' ' => {}
            '`' | '\'' | '"' => {
                let mut name = String::new();
                loop {
                    let next = chars.next()?;
                    if next != first {
                        name.push(next);
                    } else if chars.next_if_eq(&first).is_some() {
                        name.push(first);
                    } else {
                        break;
                    }
                }
                found.push(Token::Name(name));
            }
            letter if letter.is_alphanumeric() || letter == '_' || letter == '%' => {
                let mut word = String::from(letter);
                while let Some(next) =
                    chars.next_if(|c| c.is_alphanumeric() || *c == '_' || *c == '-')
                {
                    word.push(next);
                }
                found.push(Token::Word(word));
            }
            symbol => found.push(Token::Symbol(symbol)),
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_both_servers_print_them() {
        let one = |what, on| Line::Privileges(vec![Privilege::new(what, on)]);
        for (line, expected) in [
            (
                "GRANT USAGE ON *.* TO `a`@`%`",
                Some(Line::Privileges(vec![])),
            ),
            (
                "GRANT USAGE ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*00' REQUIRE SSL",
                Some(Line::Privileges(vec![])),
            ),
            (
                "GRANT SELECT ON `d`.`t` TO `a`@`%`",
                Some(one("SELECT", "table d.t")),
            ),
            (
                "GRANT SELECT ON `d``x`.`t` TO `a`",
                Some(one("SELECT", "table d`x.t")),
            ),
            (
                "GRANT EVENT ON `d\\_x`.* TO `a`@`%`",
                Some(one("EVENT", "databases like d\\_x")),
            ),
            (
                "GRANT ALL PRIVILEGES ON *.* TO `a`@`%` WITH GRANT OPTION",
                Some(Line::Privileges(vec![
                    Privilege::new("ALL PRIVILEGES", "the server"),
                    Privilege::new("GRANT OPTION", "the server"),
                ])),
            ),
            (
                "GRANT SELECT (`a`, `b`), CREATE TEMPORARY TABLES ON `d`.`t` TO `r`",
                Some(Line::Privileges(vec![
                    Privilege::new("SELECT", "column d.t.a"),
                    Privilege::new("SELECT", "column d.t.b"),
                    Privilege::new("CREATE TEMPORARY TABLES", "table d.t"),
                ])),
            ),
            (
                "GRANT EXECUTE ON FUNCTION `d`.`f` TO `r`",
                Some(one("EXECUTE", "function d.f")),
            ),
            (
                "GRANT PROXY ON ''@'%' TO 'root'@'localhost'",
                Some(one("PROXY", "account @%")),
            ),
            (
                "GRANT `r`@`%`,`s`@`%` TO `u`@`%`",
                Some(Line::Roles(vec!["r@%".into(), "s@%".into()])),
            ),
            (
                "GRANT `r` TO `u`@`%` WITH ADMIN OPTION",
                Some(Line::Roles(vec!["r".into()])),
            ),
            ("SET DEFAULT ROLE `r` FOR `u`@`%`", Some(Line::Nothing)),
            ("something else", None),
            ("GRANT SELECT ON `d`.`t TO `a`", None),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
    }
}
