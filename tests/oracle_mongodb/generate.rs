//! Commands and pipelines of every kind that is understood, and some that should not be.

use bson::{Bson, Document, doc};

use super::chance::Chance;

const COLLECTIONS: [&str; 4] = [
    "activity_logs",
    "analytics_events",
    "event_store",
    "salaries",
];
/// Deepest nesting of pipelines.
const NESTING_MAX: usize = 3;

pub fn collection(chance: &mut Chance) -> &'static str {
    let name: &&str = chance.pick(&COLLECTIONS);
    name
}

/// One command, and the database it runs in.
pub fn command(chance: &mut Chance) -> (&'static str, Document) {
    let database = if chance.one_in(10) {
        "other_db"
    } else {
        "enterprise_db"
    };
    let command = match chance.below(16) {
        0..=5 => aggregate(chance),
        6 => explain(chance),
        7..=8 => update(chance),
        9 => find_and_modify(chance),
        10 => bulk(chance),
        11 => definition(chance),
        _ => simple(chance),
    };
    (database, command)
}

fn simple(chance: &mut Chance) -> Document {
    let name = collection(chance);
    match chance.below(6) {
        0 => {
            doc! {"find": name, "filter": filter(chance), "projection": {"x": expression(chance)}, "sort": {"x": 1}, "limit": 3}
        }
        1 => {
            doc! {"find": name, "filter": filter(chance), "let": {"v": 1}, "batchSize": 1, "singleBatch": true}
        }
        2 => doc! {"count": name, "query": filter(chance)},
        3 => doc! {"distinct": name, "key": "x", "query": filter(chance)},
        4 => doc! {"insert": name, "documents": [{"x": 1, "$y": {"from": "salaries"}}]},
        _ => {
            let delete = doc! {"q": filter(chance), "limit": (chance.below(2) as i32)};
            doc! {"delete": name, "deletes": [delete]}
        }
    }
}

fn definition(chance: &mut Chance) -> Document {
    let name = collection(chance);
    match chance.below(6) {
        0 => doc! {"createIndexes": name, "indexes": [{"key": {"x": 1}, "name": "x_1"}]},
        1 => doc! {"listIndexes": name},
        2 => doc! {"dropIndexes": name, "index": "x_1"},
        3 => doc! {"collMod": name, "validationLevel": "off"},
        4 => doc! {"create": name},
        _ => doc! {"drop": name},
    }
}

fn explain(chance: &mut Chance) -> Document {
    let mut inner = match chance.below(4) {
        0 => simple(chance),
        1 => update(chance),
        2 => find_and_modify(chance),
        _ => aggregate(chance),
    };
    inner.remove("explain");
    doc! {"explain": inner, "verbosity": "queryPlanner"}
}

fn modification(chance: &mut Chance) -> Bson {
    match chance.below(4) {
        0 => doc! {"x": 1}.into(),
        1 => Bson::Array(vec![doc! {"$set": {"y": expression(chance)}}.into()]),
        2 => doc! {"$set": {"y": {"from": "salaries"}}, "$inc": {"n": 1}}.into(),
        _ => doc! {"$pull": {"tags": {"$in": [1]}}}.into(),
    }
}

fn update(chance: &mut Chance) -> Document {
    let statements: Vec<Document> = (0..=chance.below(2))
        .map(|_| {
            let mut statement = doc! {"q": filter(chance), "u": modification(chance)};
            if chance.one_in(3) {
                statement.insert("upsert", !chance.one_in(4));
            }
            statement
        })
        .collect();
    doc! {"update": collection(chance), "updates": statements}
}

fn find_and_modify(chance: &mut Chance) -> Document {
    let mut command = doc! {"findAndModify": collection(chance), "query": filter(chance)};
    if chance.one_in(3) {
        command.insert("remove", true);
    } else {
        command.insert("update", modification(chance));
        command.insert("new", chance.one_in(2));
        if chance.one_in(3) {
            command.insert("upsert", true);
        }
    }
    command
}

/// MongoDB 8's; older servers say that they do not know it.
fn bulk(chance: &mut Chance) -> Document {
    let space = format!("enterprise_db.{}", collection(chance));
    doc! {"bulkWrite": 1, "ops": [{"insert": 0, "document": {"x": 1}}], "nsInfo": [{"ns": space}]}
}

fn aggregate(chance: &mut Chance) -> Document {
    let mut stages = pipeline(chance, 0);
    if chance.one_in(12) {
        stages.insert(0, doc! {"$documents": [{"x": 1}]});
        return doc! {"aggregate": 1, "pipeline": stages, "cursor": {}};
    }
    if chance.one_in(5) {
        stages.push(output(chance));
    }
    let mut command = doc! {"aggregate": collection(chance), "pipeline": stages, "cursor": {}};
    if chance.one_in(10) {
        command.insert("let", doc! {"v": expression(chance)});
    }
    if chance.one_in(12) {
        command.insert("explain", true);
    }
    command
}

fn output(chance: &mut Chance) -> Document {
    let name = collection(chance);
    let place: Bson = if chance.one_in(3) {
        doc! {"db": "other_db", "coll": name}.into()
    } else {
        name.into()
    };
    if chance.one_in(2) {
        return doc! {"$out": place};
    }
    if chance.one_in(4) {
        return doc! {"$merge": place};
    }
    let matched: Bson = match chance.below(6) {
        0 => "replace".into(),
        1 => "merge".into(),
        2 => "keepExisting".into(),
        3 => "fail".into(),
        4 => Bson::Array(vec![doc! {"$set": {"y": "$$new.x"}}.into()]),
        _ => "delete".into(),
    };
    let otherwise = *chance.pick(&["insert", "discard", "fail"]);
    doc! {"$merge": {"into": place, "whenMatched": matched, "whenNotMatched": otherwise}}
}

fn pipeline(chance: &mut Chance, depth: usize) -> Vec<Document> {
    let count = chance.below(4);
    (0..count).map(|_| stage(chance, depth)).collect()
}

fn stage(chance: &mut Chance, depth: usize) -> Document {
    if depth < NESTING_MAX && chance.one_in(2) {
        return reaching(chance, depth + 1);
    }
    match chance.below(20) {
        0 => doc! {"$match": filter(chance)},
        1 => doc! {"$project": {"x": expression(chance), "_id": 0}},
        2 => doc! {"$addFields": {"y": expression(chance)}},
        3 => doc! {"$group": {"_id": expression(chance), "n": {"$sum": expression(chance)}}},
        4 => doc! {"$sort": {"x": 1}},
        5 => doc! {"$limit": 2},
        6 => doc! {"$skip": 1},
        7 => doc! {"$unset": ["x"]},
        8 => doc! {"$count": "n"},
        9 => doc! {"$sample": {"size": 1}},
        10 => doc! {"$bucketAuto": {"groupBy": "$x", "buckets": 2}},
        11 => doc! {"$sortByCount": "$x"},
        12 => doc! {"$replaceRoot": {"newRoot": {"x": expression(chance)}}},
        13 => doc! {"$redact": {"$cond": [true, "$$KEEP", "$$PRUNE"]}},
        14 => doc! {"$unwind": "$tags"},
        15 => {
            doc! {"$setWindowFields": {"sortBy": {"x": 1}, "output": {"r": {"$sum": "$x", "window": {"documents": ["unbounded", "current"]}}}}}
        }
        16 => doc! {"$densify": {"field": "x", "range": {"step": 1, "bounds": [0, 2]}}},
        17 => doc! {"$fill": {"output": {"x": {"value": 0}}}},
        18 => doc! {"$collStats": {"count": {}}},
        _ => doc! {"$replaceWith": {"$mergeObjects": ["$$ROOT", {"x": expression(chance)}]}},
    }
}

/// Stages that read another collection, or hold pipelines that may.
fn reaching(chance: &mut Chance, depth: usize) -> Document {
    let name = collection(chance);
    let from: Bson = if chance.one_in(12) {
        doc! {"db": "other_db", "coll": name}.into()
    } else {
        name.into()
    };
    match chance.below(9) {
        0 => doc! {"$lookup": {"from": from, "localField": "x", "foreignField": "x", "as": "j"}},
        1 => {
            doc! {"$lookup": {"from": from, "let": {"v": "$x"}, "pipeline": pipeline(chance, depth), "as": "j"}}
        }
        2 => {
            doc! {"$lookup": {"from": from, "localField": "x", "foreignField": "x", "pipeline": pipeline(chance, depth), "as": "j"}}
        }
        3 => {
            doc! {"$graphLookup": {"from": from, "startWith": "$x", "connectFromField": "x", "connectToField": "y", "as": "g", "restrictSearchWithMatch": filter(chance)}}
        }
        4 => doc! {"$unionWith": name},
        5 => doc! {"$unionWith": {"coll": name, "pipeline": pipeline(chance, depth)}},
        6 => {
            // Within $facet and $unionWith a writing stage is not for the server either.
            let mut stages = pipeline(chance, depth);
            if chance.one_in(8) {
                stages.push(output(chance));
            }
            doc! {"$facet": {"a": stages, "b": pipeline(chance, depth)}}
        }
        7 => {
            let mut stages = pipeline(chance, depth);
            stages.insert(0, doc! {"$documents": [{"x": 1}]});
            doc! {"$lookup": {"pipeline": stages, "as": "j"}}
        }
        _ => {
            let mut stages = pipeline(chance, depth);
            if chance.one_in(8) {
                stages.push(output(chance));
            }
            doc! {"$unionWith": {"coll": name, "pipeline": stages}}
        }
    }
}

fn filter(chance: &mut Chance) -> Document {
    match chance.below(9) {
        0 => doc! {},
        1 => doc! {"x": 1},
        2 => doc! {"x": {"$gte": 1, "$lt": 5}},
        3 => doc! {"$or": [{"x": 1}, {"y": {"$exists": true}}]},
        4 => doc! {"$expr": {"$eq": [expression(chance), 1]}},
        5 => doc! {"tags": {"$elemMatch": {"$in": [1, 2]}}},
        6 => doc! {"x": {"$not": {"$type": "string"}}},
        7 => doc! {"x": {"from": "salaries", "pipeline": []}},
        _ => doc! {"name": {"$regex": "^a", "$options": "i"}},
    }
}

fn expression(chance: &mut Chance) -> Bson {
    match chance.below(8) {
        0 => 1.into(),
        1 => "$x".into(),
        2 => doc! {"$add": ["$x", 1]}.into(),
        3 => doc! {"$cond": [{"$gt": ["$x", 1]}, "a", "b"]}.into(),
        4 => doc! {"$literal": {"$lookup": {"from": "salaries"}}}.into(),
        5 => doc! {"$map": {"input": "$tags", "as": "t", "in": {"$toString": "$$t"}}}.into(),
        6 => doc! {"$ifNull": ["$x", {"from": "salaries"}]}.into(),
        _ => doc! {"$let": {"vars": {"v": "$x"}, "in": "$$v"}}.into(),
    }
}
