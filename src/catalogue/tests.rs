use std::sync::Arc;

use super::*;
use crate::operation::{Classification, Store, Touch};

fn name(written: &str) -> Name {
    match written.split_once('.') {
        Some((namespace, name)) => Name::new(namespace, name),
        None => Name::new("public", written),
    }
}

fn relation(written: &str, action: Action) -> Target {
    Target::Relation(name(written), action)
}

/// A view over a view over a table, a cascade, a trigger, partitions, a child, a function of a row.
fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::new("public", Case::Exact);
    let mut add = |of: &str, on, target| catalogue.add(&name(of), Reach::new(on, target));
    let (select, store) = (Actions::SELECT, Actions::STORE);
    add("recent", select, relation("open", Action::Select));
    add(
        "recent",
        store.and(Actions::DELETE),
        Target::Same(name("open")),
    );
    add("open", select, relation("secret.keys", Action::Select));
    add(
        "open",
        store.and(Actions::DELETE),
        Target::Same(name("secret.keys")),
    );
    add("parent", Actions::DELETE, relation("child", Action::Delete));
    add(
        "child",
        Actions::DELETE,
        relation("grandchild", Action::Update),
    );
    add(
        "watched",
        Actions::INSERT,
        Target::Function(name("log.copy_row")),
    );
    add(
        "watched",
        Actions::INSERT,
        Target::Function(name("check_row")),
    );
    add(
        "watched",
        Actions::INSERT,
        Target::Function(name("public.a.b")),
    );
    add("events", Actions::ALL, Target::Piece(name("events_1")));
    add("events", Actions::ALL, Target::Piece(name("api_keys")));
    add(
        "events_1",
        Actions::INSERT,
        Target::Function(name("on_piece")),
    );
    add("base", Actions::ALL, Target::Same(name("derived")));
    add("loop_a", select, relation("loop_b", Action::Select));
    add("loop_b", select, relation("loop_a", Action::Select));
    let by_word = Reach::when(
        Actions::ALL,
        When::Word("secret_of".into()),
        Target::Function(name("secret_of")),
    );
    catalogue.add(&name("people"), by_word);
    catalogue
}

/// `select a, delete b` is what a text shows; so is what comes back, with functions after a bar.
fn check(touches: &str, sql: &str, expected: &str) {
    let before = Arc::new(classification(touches));
    let listed = |object: &Object| object.to_string() == "api_keys";
    let after = catalogue().expand(&before, sql, listed).unwrap();
    let touches: Vec<String> = after
        .touches
        .iter()
        .map(|touch| format!("{} {}", touch.action, touch.object))
        .collect();
    let mut told = touches.join(", ");
    if !after.functions.is_empty() {
        told = format!("{told} | {}", after.functions.join(" "));
    }
    assert_eq!(told, expected, "{sql}");
    assert_eq!(Arc::ptr_eq(&before, &after), *before == *after, "{sql}");
}

fn classification(touches: &str) -> Classification {
    let touches = touches.split(", ").filter(|touch| !touch.is_empty());
    Classification {
        touches: touches
            .map(|touch| {
                let (verb, object) = touch.split_once(' ').unwrap();
                let action = Action::of(Store::Postgres)
                    .iter()
                    .find(|action| action.as_str() == verb);
                let object = match object.split_once('.') {
                    Some((namespace, name)) => Object::named(Some(namespace), name),
                    None => Object::named(None, object),
                };
                let action = *action.unwrap();
                Touch { object, action }
            })
            .collect(),
        ..Classification::default()
    }
    .finish()
}

#[test]
fn what_a_statement_reaches_is_added() {
    check("", "SELECT 1", "");
    check("select plain", "", "select plain");
    check("select open", "", "select open, select secret.keys");
    check(
        "select recent",
        "",
        "select open, select recent, select secret.keys",
    );
    check(
        "update recent",
        "",
        "update open, update recent, update secret.keys",
    );
    check(
        "select public.open",
        "",
        "select public.open, select secret.keys",
    );
    check("select other.open", "", "select other.open");
    check(
        "delete parent",
        "",
        "delete child, update grandchild, delete parent",
    );
    check("update parent", "", "update parent");
    check(
        "insert watched",
        "",
        "insert watched | check_row log.copy_row public.a.b",
    );
    check("delete watched", "", "delete watched");
    check("select base", "", "select base, select derived");
    check("select loop_a", "", "select loop_a, select loop_b");
}

#[test]
fn a_piece_counts_only_where_the_policy_lists_it() {
    check("select events", "", "select api_keys, select events");
    check(
        "insert events",
        "",
        "insert api_keys, insert events | on_piece",
    );
}

#[test]
fn a_function_of_a_row_counts_only_where_the_text_may_call_it() {
    check(
        "select people",
        "SELECT p.name FROM people p",
        "select people",
    );
    let called = "SELECT p.secret_of FROM people p";
    check("select people", called, "select people | secret_of");
}

#[test]
fn what_holds_everywhere_needs_no_touch() {
    let mut catalogue = Catalogue::new("public", Case::Exact);
    let function = || Target::Function(name("public.lower"));
    catalogue.add_everywhere(Reach::when(
        Actions::ALL,
        When::Word("lower".into()),
        function(),
    ));
    let audit = Target::Function(name("public.on_ddl"));
    catalogue.add_everywhere(Reach::new(Actions::DDL, audit));
    let functions = |touches: &str, sql: &str| {
        let text = Arc::new(classification(touches));
        let whole = catalogue.expand(&text, sql, |_| false).unwrap();
        whole.functions.join(" ")
    };
    assert_eq!(functions("", "SELECT lower('A')"), "lower");
    assert_eq!(functions("", "SELECT upper('A')"), "");
    assert_eq!(functions("select t", "SELECT 1 FROM t"), "");
    assert_eq!(functions("ddl t", "DROP TABLE t"), "on_ddl");
}

#[test]
fn names_fold_where_the_server_folds_them() {
    let mut catalogue = Catalogue::new("shop", Case::Folded);
    let keys = Target::Relation(Name::new("shop", "keys"), Action::Select);
    catalogue.add(
        &Name::new("shop", "Open"),
        Reach::new(Actions::SELECT, keys),
    );
    for (touched, expected) in [
        ("select OPEN", 2),
        ("select Shop.open", 2),
        ("select shut", 1),
    ] {
        let text = Arc::new(classification(touched));
        let whole = catalogue.expand(&text, "", |_| false).unwrap();
        assert_eq!(whole.touches.len(), expected, "{touched}");
    }
}

#[test]
fn reaching_without_end_is_refused() {
    let mut catalogue = Catalogue::new("public", Case::Exact);
    for n in 0..=REACHED_MAX {
        let next = Target::Same(Name::new("public", &format!("t{}", n + 1)));
        catalogue.add(
            &Name::new("public", &format!("t{n}")),
            Reach::new(Actions::ALL, next),
        );
    }
    let text = Arc::new(classification("select t0"));
    assert!(catalogue.expand(&text, "", |_| false).is_err());
}
