use super::*;
use crate::wire::extended_json::parse_extended_json;

fn read(text: &str, session: Session) -> std::result::Result<Classification, Refusal> {
    let document = parse_extended_json(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    classify(&document, "d", session)
}

#[track_caller]
fn is(text: &str, expected: &[&str]) {
    let found = read(text, Session::Shared).unwrap_or_else(|error| panic!("{text}: {error}"));
    let found: Vec<String> = found
        .touches
        .iter()
        .map(|touch| format!("{} {}", touch.object, touch.action))
        .collect();
    let mut expected: Vec<&str> = expected.to_vec();
    expected.sort_unstable();
    let mut sorted = found.clone();
    sorted.sort();
    assert_eq!(sorted, expected, "{text}");
}

#[track_caller]
fn refused(text: &str, why: &str) {
    for session in [Session::Shared, Session::Own] {
        match read(text, session) {
            Err(error) => assert!(error.to_string().contains(why), "{text}: {error}"),
            Ok(found) => panic!("{text} is understood: {:?}", found.touches),
        }
    }
}

#[test]
fn commands_touch_what_they_name() {
    is(r#"{"find":"a"}"#, &["d.a find"]);
    is(r#"{"find":"a","$db":"other"}"#, &["other.a find"]);
    is(
        r#"{"find":"system.users","filter":{},"$db":"admin"}"#,
        &["admin.system.users find"],
    );
    is(r#"{"count":"a","query":{"x":{"$gt":1}}}"#, &["d.a find"]);
    is(r#"{"distinct":"a","key":"x","query":{}}"#, &["d.a find"]);
    is(
        r#"{"insert":"a","documents":[{"$where":1,"x":{"$out":"b"}}],"ordered":true}"#,
        &["d.a insert"],
    );
    is(
        r#"{"update":"a","updates":[{"q":{},"u":{"$set":{"x":1}}},{"q":{},"u":{"x":1},"upsert":true}]}"#,
        &["d.a update", "d.a insert"],
    );
    is(
        r#"{"update":"a","updates":[{"q":{},"u":[{"$set":{"x":{"$add":["$y",1]}}}],"c":{"k":1}}]}"#,
        &["d.a update"],
    );
    is(
        r#"{"delete":"a","deletes":[{"q":{"x":1},"limit":0}]}"#,
        &["d.a delete"],
    );
    is(
        r#"{"findAndModify":"a","query":{},"remove":true}"#,
        &["d.a find", "d.a delete"],
    );
    is(
        r#"{"findandmodify":"a","query":{},"update":{"$inc":{"n":1}},"upsert":true,"new":true}"#,
        &["d.a find", "d.a update", "d.a insert"],
    );
    is(
        r#"{"explain":{"delete":"a","deletes":[{"q":{},"limit":1}]},"verbosity":"queryPlanner"}"#,
        &["d.a delete"],
    );
    is(
        r#"{"bulkWrite":1,"ops":[{"insert":0,"document":{}},{"update":1,"filter":{},"updateMods":{"$set":{"a":1}},"upsert":true}],"nsInfo":[{"ns":"d.a"},{"ns":"e.b.c"}],"$db":"admin"}"#,
        &["d.a insert", "e.b.c update", "e.b.c insert"],
    );
    is(
        r#"{"createIndexes":"a","indexes":[{"key":{"x":1},"name":"x_1"}]}"#,
        &["d.a ddl"],
    );
    is(r#"{"listIndexes":"a","cursor":{}}"#, &["d.a ddl"]);
    is(r#"{"ping":1}"#, &[]);
    is(
        r#"{"abortTransaction":1,"lsid":{"id":1},"txnNumber":1,"autocommit":false}"#,
        &[],
    );
}

#[test]
fn cursors_are_named() {
    let found = read(
        r#"{"getMore":{"$numberLong":"77"},"collection":"a"}"#,
        Session::Shared,
    )
    .unwrap();
    assert_eq!(found.cursors, [77]);
    let found = read(
        r#"{"killCursors":"a","cursors":[{"$numberLong":"7"},8]}"#,
        Session::Shared,
    )
    .unwrap();
    assert_eq!(found.cursors, [7, 8]);
    refused(r#"{"getMore":7}"#, "collection");
    refused(r#"{"getMore":"7","collection":"a"}"#, "cursor's id");
}

#[test]
fn stages_reach_what_they_name() {
    let aggregate =
        |stages: &str| format!(r#"{{"aggregate":"a","pipeline":[{stages}],"cursor":{{}}}}"#);
    for (stages, expected) in [
        (
            r#"{"$lookup":{"from":"b","localField":"x","foreignField":"y","as":"z"}}"#,
            &["d.a find", "d.b find"][..],
        ),
        (
            r#"{"$lookup":{"from":{"db":"e","coll":"b"},"pipeline":[],"as":"z"}}"#,
            &["d.a find", "e.b find"],
        ),
        (
            r#"{"$lookup":{"from":"b","let":{"x":"$x"},"pipeline":[{"$unionWith":"c"}],"as":"z"}}"#,
            &["d.a find", "d.b find", "d.c find"],
        ),
        (
            r#"{"$facet":{"f":[{"$graphLookup":{"from":"b","startWith":"$x","connectFromField":"x","connectToField":"y","as":"z"}}]}}"#,
            &["d.a find", "d.b find"],
        ),
        (
            r#"{"$unionWith":{"coll":"b","pipeline":[{"$match":{}}]}}"#,
            &["d.a find", "d.b find"],
        ),
        (
            r#"{"$unionWith":{"pipeline":[{"$documents":[{"x":1}]}]}}"#,
            &["d.a find"],
        ),
        (
            r#"{"$out":{"db":"e","coll":"b"}}"#,
            &["d.a find", "e.b insert", "e.b delete", "e.b ddl"],
        ),
        (
            r#"{"$merge":"b"}"#,
            &["d.a find", "d.b insert", "d.b update"],
        ),
        (
            r#"{"$merge":{"into":"b","whenMatched":"fail"}}"#,
            &["d.a find", "d.b insert"],
        ),
        (
            r#"{"$merge":{"into":{"db":"e","coll":"b"},"whenMatched":[{"$set":{"x":"$$new.x"}}],"whenNotMatched":"discard"}}"#,
            &["d.a find", "e.b update"],
        ),
        (
            r#"{"$group":{"_id":"$x","n":{"$sum":1}}},{"$sort":{"n":-1}},{"$limit":5}"#,
            &["d.a find"],
        ),
        (
            r#"{"$setWindowFields":{"partitionBy":"$x","sortBy":{"t":1},"output":{"s":{"$sum":"$n","window":{"documents":["unbounded","current"]}}}}}"#,
            &["d.a find"],
        ),
        (
            r#"{"$project":{"x":{"$literal":{"$function":{}}},"y":0,"z.w":"$$ROOT.v"}}"#,
            &["d.a find"],
        ),
        (
            r#"{"$geoNear":{"near":[1,2],"distanceField":"d","query":{"x":1}}}"#,
            &["d.a find"],
        ),
        (
            r#"{"$bucket":{"groupBy":"$x","boundaries":[0,1],"output":{"n":{"$sum":1}}}}"#,
            &["d.a find"],
        ),
        (
            r#"{"$densify":{"field":"t","range":{"step":1,"unit":"day","bounds":"full"}}}"#,
            &["d.a find"],
        ),
        (
            r#"{"$fill":{"sortBy":{"t":1},"output":{"x":{"method":"locf"}}}}"#,
            &["d.a find"],
        ),
        (
            r#"{"$unwind":{"path":"$x","preserveNullAndEmptyArrays":true}},{"$unset":["a","b"]}"#,
            &["d.a find"],
        ),
        (
            r#"{"$replaceWith":{"$mergeObjects":["$a",{"b":{"$cond":[{"$gt":["$n",1]},"x",null]}}]}},{"$count":"n"}"#,
            &["d.a find"],
        ),
    ] {
        is(&aggregate(stages), expected);
    }
    is(
        r#"{"aggregate":1,"pipeline":[{"$documents":[{"x":1}]},{"$lookup":{"from":"b","pipeline":[],"as":"y"}}],"cursor":{}}"#,
        &["d.b find"],
    );
    for (stages, why) in [
        (r#"{"$currentOp":{}}"#, "`$currentOp` reaches"),
        (r#"{"$new":{}}"#, "not a stage"),
        (r#"{}"#, "exactly one key"),
        (r#"{"$match":{},"$out":"b"}"#, "exactly one key"),
        (
            r#"{"$lookup":{"from":"b","as":"z","_internalCollation":{}}}"#,
            "no option",
        ),
        (
            r#"{"$lookup":{"as":"z","pipeline":[]}}"#,
            "must name a collection",
        ),
        (r#"{"$lookup":{"from":1,"as":"z"}}"#, "string"),
        (
            r#"{"$lookup":{"from":{"db":"e","coll":"b","x":1},"as":"z"}}"#,
            "no option",
        ),
        (r#"{"$lookup":{"from":"","as":"z"}}"#, "empty name"),
        (r#"{"$facet":{"f":[{"$search":{}}]}}"#, "`$search` reaches"),
        (
            r#"{"$project":{"x":{"y":[{"$function":{}}]}}}"#,
            "JavaScript",
        ),
        (
            r#"{"$group":{"_id":null,"x":{"$accumulator":{}}}}"#,
            "JavaScript",
        ),
        (
            r#"{"$match":{"$expr":{"$new":1}}}"#,
            "not an expression operator",
        ),
        (
            r#"{"$project":{"x":{"$add":[1],"y":1}}}"#,
            "only one operator",
        ),
        (r#"{"$project":{"x":{"y":1,"$add":[1]}}}"#, "only fields"),
        (r#"{"$project":{"x":"$$USER_ROLES"}}"#, "USER_ROLES"),
        (
            r#"{"$merge":{"into":"b","whenMatched":[{"$lookup":{"from":"c"}}]}}"#,
            "`$lookup`",
        ),
        (r#"{"$merge":{"whenMatched":"merge"}}"#, "into"),
    ] {
        refused(&aggregate(stages), why);
    }
    refused(
        r#"{"aggregate":1,"pipeline":[{"$match":{}}],"cursor":{}}"#,
        "whole database",
    );
    refused(
        r#"{"aggregate":1,"pipeline":[],"cursor":{}}"#,
        "whole database",
    );
}

#[test]
fn merge_needs_what_the_server_asks_for() {
    let aggregate =
        |stages: &str| format!(r#"{{"aggregate":"a","pipeline":[{stages}],"cursor":{{}}}}"#);
    for (matched, otherwise, expected) in [
        (
            "merge",
            "insert",
            &["d.a find", "d.b insert", "d.b update"][..],
        ),
        ("replace", "discard", &["d.a find", "d.b update"]),
        (
            "keepExisting",
            "insert",
            &["d.a find", "d.b insert", "d.b update"],
        ),
        ("fail", "insert", &["d.a find", "d.b insert"]),
    ] {
        let stage = format!(
            r#"{{"$merge":{{"into":"b","whenMatched":"{matched}","whenNotMatched":"{otherwise}"}}}}"#
        );
        is(&aggregate(&stage), expected);
    }
}

#[test]
fn filters_and_updates_know_data_from_operators() {
    let find = |filter: &str| format!(r#"{{"find":"a","filter":{filter}}}"#);
    for filter in [
        r#"{"x":{"$eq":{"$where":"1"}}}"#,
        r#"{"x":{"$in":[{"$where":"1"}]}}"#,
        r#"{"x":{"y":{"$where":1}}}"#,
        r#"{"x":{"$ref":"b","$id":1,"$db":"e"}}"#,
        r#"{"x":{"$not":{"$gt":1}},"y":{"$elemMatch":{"a":1,"$or":[{"b":2}]}},"z":{"$elemMatch":{"$gte":1,"$lt":2}}}"#,
        r#"{"x":{"$all":[{"$elemMatch":{"a":1}},"b"]},"$text":{"$search":"q"},"$comment":"c"}"#,
        r#"{"$jsonSchema":{"required":["x"]},"$and":[{"$or":[{"x":{"$type":"string"}}]}]}"#,
        r#"{"x":{"$geoWithin":{"$geometry":{"type":"Polygon","coordinates":[]}}},"y":{"$regex":"a","$options":"i"}}"#,
    ] {
        is(&find(filter), &["d.a find"]);
    }
    for filter in [
        r#"{"$where":"1"}"#,
        r#"{"$or":[{"$and":[{"$where":"1"}]}]}"#,
        r#"{"x":{"$not":{"$where":"1"}}}"#,
        r#"{"x":{"$elemMatch":{"$where":"1"}}}"#,
        r#"{"x":{"$all":[{"$elemMatch":{"$nor":[{"$where":"1"}]}}]}}"#,
        r#"{"$expr":{"$function":{}}}"#,
    ] {
        refused(&find(filter), "JavaScript");
    }
    refused(&find(r#"{"x":{"$gt":1,"y":2}}"#), "not a query operator");
    refused(&find(r#"{"x":{"$ref":"b","$where":"1"}}"#), "reference");
    refused(&find(r#"{"$new":1}"#), "not a query operator");
    let update =
        |update: &str| format!(r#"{{"update":"a","updates":[{{"q":{{}},"u":{update}}}]}}"#);
    is(
        &update(
            r#"{"$set":{"x":{"$where":1}},"$pull":{"y":{"$gt":1}},"$push":{"z":{"$each":[1],"$slice":-5}}}"#,
        ),
        &["d.a update"],
    );
    is(&update(r#"{"x":{"$function":1}}"#), &["d.a update"]);
    refused(
        &update(r#"{"$pull":{"y":{"$elemMatch":{"$where":"1"}}}}"#),
        "JavaScript",
    );
    refused(&update(r#"{"$v":2,"diff":{}}"#), "not an update operator");
    refused(
        &update(r#"[{"$set":{"x":{"$function":{}}}}]"#),
        "JavaScript",
    );
    refused(&update(r#"[{"$match":{}}]"#), "not a stage");
    refused(&update("1"), "document or a pipeline");
    refused(
        r#"{"update":"a","updates":[{"q":{},"u":{},"arrayFilters":[{"$where":"1"}]}]}"#,
        "JavaScript",
    );
    refused(
        r#"{"update":"a","updates":[{"q":{},"u":{},"lsid":{}}]}"#,
        "no option",
    );
    refused(
        r#"{"find":"a","projection":{"x":{"$elemMatch":{"$where":"1"}}}}"#,
        "JavaScript",
    );
    is(
        r#"{"find":"a","projection":{"x":{"$elemMatch":{"y":1}},"z":{"$slice":5},"a.$":1},"sort":{"s":{"$meta":"textScore"}}}"#,
        &["d.a find"],
    );
    refused(r#"{"find":"a","sort":{"s":{"$function":{}}}}"#, "$meta");
    refused(r#"{"find":"a","let":{"x":{"$function":{}}}}"#, "JavaScript");
}

#[test]
fn malformed_and_unknown_commands_are_refused() {
    refused("{}", "empty");
    refused(r#"{"new":1}"#, "not a command");
    refused(r#"{"filter":{},"find":"a"}"#, "not a command");
    refused(r#"{"find":"a","aggregate":"b"}"#, "no option `aggregate`");
    refused(r#"{"find":"a","$$x":1}"#, "no option");
    refused(r#"{"find":"a","lsid":{"id":1,"uid":2}}"#, "`id` alone");
    for option in [
        r#""upsert":true"#,
        r#""update":[]"#,
        r#""update":{"$set":{"x":1}}"#,
        r#""arrayFilters":[]"#,
    ] {
        let command = format!(r#"{{"findAndModify":"a","remove":true,{option}}}"#);
        refused(&command, "left out");
    }
    refused(r#"{"find":1}"#, "string");
    refused(r#"{"find":""}"#, "empty name");
    refused(r#"{"find":"a\u0000b"}"#, "NUL");
    refused(r#"{"find":"a","$db":5}"#, "$db");
    refused(r#"{"find":"a","filter":[]}"#, "document");
    refused(
        r#"{"insert":"a","documents":[{}],"bypassDocumentValidation":true}"#,
        "leave it out",
    );
    for nothing in [
        r#"{"w":0}"#,
        r#"{"w":0,"j":true}"#,
        r#"{"j":true,"w":{"$numberLong":"0"}}"#,
        r#"{"w":{"$numberDouble":"-0.0"}}"#,
        r#"{"w":{"$numberDecimal":"0"}}"#,
    ] {
        for command in [
            r#""insert":"a","documents":[{}]"#,
            r#""delete":"a","deletes":[]"#,
        ] {
            let text = format!(r#"{{{command},"writeConcern":{nothing}}}"#);
            refused(&text, "`w: 0`");
        }
    }
    for something in ["{}", r#"{"w":1}"#, r#"{"w":"majority","wtimeout":0}"#] {
        let text = format!(r#"{{"insert":"a","documents":[{{}}],"writeConcern":{something}}}"#);
        is(&text, &["d.a insert"]);
    }
    refused(r#"{"explain":{"find":"a","$db":"e"},"$db":"d"}"#, "$db");
    refused(r#"{"explain":{"explain":{"find":"a"}}}"#, "one of");
    refused(
        r#"{"bulkWrite":1,"ops":[{"insert":1,"document":{}}],"nsInfo":[{"ns":"d.a"}]}"#,
        "nsInfo",
    );
    refused(r#"{"create":"v","viewOn":"a","pipeline":[]}"#, "viewOn");
    refused(
        r#"{"createIndexes":"a","indexes":[{"key":{},"partialFilterExpression":{"$where":"1"}}]}"#,
        "JavaScript",
    );
    for name in [
        "mapReduce",
        "eval",
        "dropDatabase",
        "createUser",
        "saslStart",
        "_configsvrMoveChunk",
        "collStats",
    ] {
        refused(&format!(r#"{{"{name}":1}}"#), name);
        assert!(is_command_classified(name));
    }
    assert!(!is_command_classified("newCommand"));
    assert!(
        is_stage_classified("$search")
            && is_stage_classified("$match")
            && !is_stage_classified("$new")
    );
    assert!(
        is_operator_classified("$where")
            && is_operator_classified("$sum")
            && !is_operator_classified("$new")
    );
    assert!(read(r#"{"hello":1}"#, Session::Shared).is_err());
    assert!(read(r#"{"hello":1,"client":{}}"#, Session::Own).is_ok());
}
