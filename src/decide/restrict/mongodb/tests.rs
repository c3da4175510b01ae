use std::sync::Arc;

use bson::{Document, doc};

use super::*;
use crate::authenticate::Principal;
use crate::decide::condition::parse;
use crate::decide::rules::{Mask, TableRules};
use crate::wire::extended_json::{Form as JsonForm, parse_extended_json, print_extended_json};

fn caller(user_id: Option<&str>) -> Principal {
    Principal {
        key_id: "k".into(),
        user_id: user_id.map(str::to_owned),
        role: "app".into(),
    }
}

/// `people`: `ssn` is hidden, `email` masked; `orders`: rows of the caller's; `notes`: a filter is needed; `few`: two
/// fields alone may be named.
pub(super) fn restricted(
    command: &str,
    user_id: Option<&str>,
) -> std::result::Result<String, String> {
    let rows = |text: &str| TableRules {
        rows: vec![parse(text).unwrap()],
        ..TableRules::default()
    };
    let people = TableRules {
        denied: ["ssn".into()].into(),
        masked: [("email".into(), Mask::Null)].into(),
        ..TableRules::default()
    };
    let notes = TableRules {
        requires_where: true,
        ..TableRules::default()
    };
    let few = TableRules {
        columns: Some(["_id".into(), "a".into()].into()),
        ..TableRules::default()
    };
    let of = |name: &str| Object::named(Some("docs"), name);
    let objects = [of("people"), of("orders"), of("notes"), of("few")];
    let rules = [people, rows("user_id = :caller.user_id"), notes, few];
    let caller = caller(user_id);
    // As the classification would find them.
    let touched =
        |object: &Object| command.contains(object.to_string().trim_start_matches("docs."));
    let tables = objects.iter().zip(rules.map(Arc::new));
    let restrictions = Restrictions {
        caller: &caller,
        default_namespace: "docs",
        mask_salt: "",
        tables: tables.filter(|(object, _)| touched(object)).collect(),
    };
    let bytes = parse_extended_json(command).unwrap();
    restrict(&bytes, "docs", &restrictions)
        .map(|document| print_extended_json(&document, JsonForm::Relaxed).unwrap())
        .map_err(|forbidden| forbidden.reason)
}

/// The view of `orders` for user 7.
const OWN: &str = r#"{"user_id":{"$in":["7",7],"$not":{"$type":"array"}}}"#;
const BARRIER: &str = r#"{"$limit":9007199254740991}"#;
const PEOPLE: &str = r#"{"$unset":["ssn"]},{"$set":{"email":{"$literal":null}}}"#;

#[test]
fn rewritten() {
    let own = format!(r#"{{"$match":{{"$and":[{OWN}]}}}},{BARRIER}"#);
    let cases = [
        (
            r#"{"find":"people"}"#,
            format!(r#"{{"aggregate":"people","pipeline":[{PEOPLE}],"cursor":{{}}}}"#),
        ),
        (
            r#"{"find":"people","filter":{"name":"x","email":"y"},"sort":{"ssn":1},"skip":2,"limit":3,"projection":{"ssn":1},"batchSize":5,"comment":"c"}"#,
            format!(
                r#"{{"aggregate":"people","pipeline":[{{"$match":{{"$and":[{{"name":"x"}}]}}}},{PEOPLE},{{"$match":{{"name":"x","email":"y"}}}},{{"$sort":{{"ssn":1}}}},{{"$skip":2}},{{"$limit":3}},{{"$project":{{"ssn":1}}}}],"cursor":{{"batchSize":5}},"comment":"c"}}"#
            ),
        ),
        (
            r#"{"find":"people","limit":1,"singleBatch":true,"tailable":false,"projection":{}}"#,
            format!(
                r#"{{"aggregate":"people","pipeline":[{PEOPLE},{{"$limit":1}}],"cursor":{{"batchSize":2}}}}"#
            ),
        ),
        (
            r#"{"find":"few"}"#,
            r#"{"aggregate":"few","pipeline":[{"$project":{"_id":1,"a":1}}],"cursor":{}}"#.into(),
        ),
        (
            r#"{"find":"orders","filter":{"n":{"$gt":1},"s":{"$regex":"^a"},"$expr":{"$gt":["$n",1]}}}"#,
            format!(
                r#"{{"aggregate":"orders","pipeline":[{{"$match":{{"$and":[{OWN},{{"n":{{"$gt":1}}}}]}}}},{BARRIER},{{"$match":{{"n":{{"$gt":1}},"s":{{"$regex":"^a"}},"$expr":{{"$gt":["$n",1]}}}}}}],"cursor":{{}}}}"#
            ),
        ),
        (
            r#"{"aggregate":"orders","pipeline":[{"$group":{"_id":"$n"}}],"cursor":{}}"#,
            format!(
                r#"{{"aggregate":"orders","pipeline":[{own},{{"$group":{{"_id":"$n"}}}}],"cursor":{{}}}}"#
            ),
        ),
        (
            r#"{"aggregate":"free","pipeline":[{"$lookup":{"from":"orders","localField":"a","foreignField":"n","as":"o"}},{"$facet":{"f":[{"$unionWith":"people"}]}}],"cursor":{}}"#,
            format!(
                r#"{{"aggregate":"free","pipeline":[{{"$lookup":{{"from":"orders","localField":"a","foreignField":"n","as":"o","pipeline":[{own}]}}}},{{"$facet":{{"f":[{{"$unionWith":{{"coll":"people","pipeline":[{PEOPLE}]}}}}]}}}}],"cursor":{{}}}}"#
            ),
        ),
        (
            r#"{"aggregate":"free","pipeline":[{"$lookup":{"from":"free","as":"x","pipeline":[{"$lookup":{"from":{"db":"docs","coll":"people"},"as":"y","pipeline":[{"$match":{"name":"x"}}]}}]}}],"cursor":{}}"#,
            format!(
                r#"{{"aggregate":"free","pipeline":[{{"$lookup":{{"from":"free","as":"x","pipeline":[{{"$lookup":{{"from":{{"db":"docs","coll":"people"}},"as":"y","pipeline":[{{"$match":{{"$and":[{{"name":"x"}}]}}}},{PEOPLE},{{"$match":{{"name":"x"}}}}]}}}}]}}}}],"cursor":{{}}}}"#
            ),
        ),
        (
            r#"{"count":"orders","query":{"n":1},"limit":5}"#,
            format!(r#"{{"count":"orders","limit":5,"query":{{"$and":[{OWN},{{"n":1}}]}}}}"#),
        ),
        (
            r#"{"distinct":"orders","key":"n.m"}"#,
            format!(r#"{{"distinct":"orders","key":"n.m","query":{{"$and":[{OWN},{{}}]}}}}"#),
        ),
        (
            r#"{"count":"people","query":{"name":{"$regex":"^a"}}}"#,
            r#"{"count":"people","query":{"name":{"$regex":"^a"}}}"#.into(),
        ),
        (
            r#"{"delete":"orders","deletes":[{"q":{},"limit":0}]}"#,
            format!(
                r#"{{"delete":"orders","deletes":[{{"limit":0,"q":{{"$and":[{OWN},{{}}]}}}}]}}"#
            ),
        ),
        (
            r#"{"update":"orders","updates":[{"q":{"n":1},"u":{"$set":{"n":2,"user_id":"7"}}}]}"#,
            format!(
                r#"{{"update":"orders","updates":[{{"u":{{"$set":{{"n":2,"user_id":"7"}}}},"q":{{"$and":[{OWN},{{"n":1}}]}}}}]}}"#
            ),
        ),
        (
            r#"{"findAndModify":"orders","query":{"n":1},"update":{"$inc":{"n":1}},"new":true}"#,
            format!(
                r#"{{"findAndModify":"orders","update":{{"$inc":{{"n":1}}}},"new":true,"query":{{"$and":[{OWN},{{"n":1}}]}}}}"#
            ),
        ),
        (
            r#"{"insert":"orders","documents":[{"user_id":"7"},{"user_id":7}]}"#,
            r#"{"insert":"orders","documents":[{"user_id":"7"},{"user_id":7}]}"#.into(),
        ),
        (
            r#"{"insert":"people","documents":[{"_id":1,"email":"a@b"}]}"#,
            r#"{"insert":"people","documents":[{"_id":1,"email":"a@b"}]}"#.into(),
        ),
        (
            r#"{"delete":"notes","deletes":[{"q":{"_id":1},"limit":0,"hint":"x"}]}"#,
            r#"{"delete":"notes","deletes":[{"limit":0,"hint":"x","q":{"_id":1}}]}"#.into(),
        ),
        (
            r#"{"getMore":{"$numberLong":"7"},"collection":"orders"}"#,
            r#"{"getMore":7,"collection":"orders"}"#.into(),
        ),
    ];
    for (command, expected) in cases {
        assert_eq!(restricted(command, Some("7")), Ok(expected), "{command}");
    }
}

#[test]
fn refused() {
    for (command, reason) in [
        (
            r#"{"find":"people","hint":{"ssn":1}}"#,
            "`hint` would reach around",
        ),
        (
            r#"{"find":"people","min":{"ssn":1}}"#,
            "`min` would reach around",
        ),
        (
            r#"{"find":"people","returnKey":true}"#,
            "`returnKey` would reach around",
        ),
        (
            r#"{"find":"people","collation":{"locale":"en"}}"#,
            "`collation` would reach around",
        ),
        (
            r#"{"find":"people","tailable":true}"#,
            "`tailable` cannot be used",
        ),
        (
            r#"{"find":"people","sort":{"$natural":1}}"#,
            "`$natural` cannot be used",
        ),
        (
            r#"{"find":"people","projection":{"k":{"$meta":"indexKey"}}}"#,
            "`$meta` cannot be used",
        ),
        (
            r#"{"find":"people","filter":{"$text":{"$search":"x"}}}"#,
            "`$text` cannot be used",
        ),
        (r#"{"find":"people","projection":{"a.$":1}}"#, "positional"),
        (r#"{"find":"people","limit":-1}"#, "`limit` must be"),
        (
            r#"{"aggregate":"people","pipeline":[],"explain":true}"#,
            "`explain` would tell",
        ),
        (r#"{"explain":{"find":"people"}}"#, "`explain` would tell"),
        (
            r#"{"aggregate":"people","pipeline":[{"$geoNear":{}}]}"#,
            "`$geoNear` cannot",
        ),
        (
            r#"{"aggregate":"x","pipeline":[{"$lookup":{"from":"people","foreignField":"ssn","localField":"a","as":"b"}}]}"#,
            "field `ssn`",
        ),
        (
            r#"{"aggregate":"x","pipeline":[{"$lookup":{"from":"people","foreignField":"email.x","localField":"a","as":"b"}}]}"#,
            "field `email`",
        ),
        (
            r#"{"aggregate":"x","pipeline":[{"$graphLookup":{"from":"orders"}}]}"#,
            "use `$lookup`",
        ),
        (
            r#"{"aggregate":"x","pipeline":[{"$out":"orders"}]}"#,
            "cannot be written there",
        ),
        (
            r#"{"aggregate":"x","pipeline":[{"$merge":{"into":{"db":"docs","coll":"people"}}}]}"#,
            "cannot be written there",
        ),
        (r#"{"count":"people","query":{"ssn":"1"}}"#, "field `ssn`"),
        (
            r#"{"count":"people","query":{"$or":[{"email":"1"}]}}"#,
            "field `email`",
        ),
        (
            r#"{"count":"people","query":{"$expr":{"$eq":["$ssn",1]}}}"#,
            "`$expr` cannot be used",
        ),
        (
            r#"{"count":"orders","query":{"a":{"$regex":"x"}}}"#,
            "must be compared with values",
        ),
        (
            r#"{"count":"orders","query":{"a":{"$in":[{"$regularExpression":{"pattern":"x","options":""}}]}}}"#,
            "must be compared with values",
        ),
        (
            r#"{"count":"orders","query":{"a":{"$not":{"$regex":"x"}}}}"#,
            "must be compared with values",
        ),
        (r#"{"count":"orders","hint":"user_id_1"}"#, "`hint` would"),
        (r#"{"distinct":"people","key":"ssn"}"#, "field `ssn`"),
        (r#"{"distinct":"people","key":"email"}"#, "field `email`"),
        (r#"{"distinct":"few","key":"b"}"#, "field `b`"),
        (
            r#"{"insert":"people","documents":[{"ssn":1}]}"#,
            "field `ssn`",
        ),
        (
            r#"{"insert":"orders","documents":[{"user_id":"7"},{"user_id":"8"}]}"#,
            "set `user_id`",
        ),
        (
            r#"{"insert":"orders","documents":[{"n":1}]}"#,
            "set `user_id`",
        ),
        (
            r#"{"insert":"orders","documents":[{"user_id":["7"]}]}"#,
            "set `user_id`",
        ),
        (
            r#"{"update":"people","updates":[{"q":{},"u":[{"$set":{"a":"$ssn"}}]}]}"#,
            "an update in stages",
        ),
        (
            r#"{"update":"people","updates":[{"q":{},"u":{"a":1}}]}"#,
            "a replacement would",
        ),
        (
            r#"{"update":"people","updates":[{"q":{},"u":{"$max":{"email":"m"}}}]}"#,
            "field `email`",
        ),
        (
            r#"{"update":"people","updates":[{"q":{},"u":{"$rename":{"ssn":"a"}}}]}"#,
            "field `ssn`",
        ),
        (
            r#"{"update":"people","updates":[{"q":{},"u":{"$rename":{"a":"ssn.x"}}}]}"#,
            "field `ssn`",
        ),
        (
            r#"{"update":"people","updates":[{"q":{"ssn":"1"},"u":{"$set":{"a":1}}}]}"#,
            "field `ssn`",
        ),
        (
            r#"{"update":"people","updates":[{"q":{},"u":{"$set":{"a":1}},"sort":{"ssn":1}}]}"#,
            "field `ssn`",
        ),
        (
            r#"{"update":"orders","updates":[{"q":{},"u":{"$set":{"user_id":"8"}}}]}"#,
            "set `user_id`",
        ),
        (
            r#"{"update":"orders","updates":[{"q":{},"u":{"$unset":{"user_id":1}}}]}"#,
            "set `user_id`",
        ),
        (
            r#"{"update":"orders","updates":[{"q":{},"u":{"$set":{"user_id.a":"7"}}}]}"#,
            "set `user_id`",
        ),
        (
            r#"{"update":"orders","updates":[{"q":{},"u":{"$rename":{"n":"user_id"}}}]}"#,
            "set `user_id`",
        ),
        (
            r#"{"update":"orders","updates":[{"q":{},"u":{"n":1}}]}"#,
            "set `user_id`",
        ),
        (
            r#"{"update":"orders","updates":[{"q":{},"u":{"$set":{"n":1}},"upsert":true}]}"#,
            "an upsert could",
        ),
        (
            r#"{"update":"orders","updates":[{"q":{},"u":{"$set":{"n":1}},"collation":{"locale":"en"}}]}"#,
            "`collation` would",
        ),
        (
            r#"{"delete":"orders","deletes":[{"q":{"$expr":true},"limit":0}]}"#,
            "`$expr` cannot be used",
        ),
        (
            r#"{"findAndModify":"people","query":{},"update":{"$set":{"a":1}}}"#,
            "send `update`, and then `find`",
        ),
        (
            r#"{"bulkWrite":1,"ops":[],"nsInfo":[{"ns":"docs.orders"}]}"#,
            "`bulkWrite` is not rewritten",
        ),
        (r#"{"listIndexes":"people"}"#, "this command cannot be made"),
        (
            r#"{"delete":"notes","deletes":[{"q":{},"limit":0}]}"#,
            "must name a field",
        ),
        (
            r#"{"delete":"notes","deletes":[{"q":{"$or":[{},{"a":1}]},"limit":0}]}"#,
            "must name a field",
        ),
        (
            r#"{"delete":"notes","deletes":[{"q":{"$comment":"x"},"limit":0}]}"#,
            "must name a field",
        ),
        (
            r#"{"update":"notes","updates":[{"q":{"$expr":true},"u":{"$set":{"a":1}}}]}"#,
            "must name a field",
        ),
        (
            r#"{"findAndModify":"notes","update":{"$set":{"a":1}}}"#,
            "must name a field",
        ),
    ] {
        match restricted(command, Some("7")) {
            Err(told) => assert!(told.contains(reason), "{command}: {told}"),
            Ok(sent) => panic!("{command}: {sent}"),
        }
    }
}

#[test]
fn who_is_nobody_sees_nothing() {
    let sent = restricted(r#"{"count":"orders"}"#, None).unwrap();
    assert_eq!(
        sent,
        r#"{"count":"orders","query":{"$and":[{"user_id":{"$in":[],"$not":{"$type":"array"}}},{}]}}"#
    );
    assert!(
        restricted(
            r#"{"insert":"orders","documents":[{"user_id":null}]}"#,
            None
        )
        .is_err()
    );
}

/// Of each condition the documents that certainly meet it.
#[test]
fn what_may_be_written() {
    let documents: [Document; 6] = [
        doc! {"a": 1, "b": "x"},
        doc! {"a": 2_i64},
        doc! {"a": 1.0, "b": "7"},
        doc! {"b": bson::Bson::Null},
        doc! {"a": [1], "b": ["7"]},
        doc! {"a": "1", "b": true},
    ];
    for (text, expected) in [
        ("a = 1", vec![0, 2]),
        ("a <> 1", vec![1]),
        ("NOT a = 1", vec![1]),
        ("a < 2", vec![0, 2]),
        ("NOT a < 2", vec![1]),
        ("a IN (1, 2)", vec![0, 1, 2]),
        ("a NOT IN (2, 3)", vec![0, 2]),
        ("b = 'x' OR b = :caller.user_id", vec![0, 2]),
        ("NOT (b = 'x' OR b = 'y')", vec![2]),
        ("b IS NULL", vec![1, 3]),
        ("b IS NOT NULL", vec![0, 2, 4, 5]),
        ("b = true", vec![5]),
        ("a = 1.0", vec![0, 2]),
    ] {
        let condition = parse(text).unwrap();
        let caller = caller(Some("7"));
        let met: Vec<usize> = (0..documents.len())
            .filter(|at| {
                let document = RawDocumentBuf::try_from(&documents[*at]).unwrap();
                condition::meets(&condition, false, &document, &caller)
            })
            .collect();
        assert_eq!(met, expected, "{text}");
    }
}
