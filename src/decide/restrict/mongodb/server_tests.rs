//! Against a real server: what the caller sees, and what attacks come to.

#[path = "../../../../tests/attack_table/mod.rs"]
mod attack_table;

use std::sync::Arc;

use bson::{Document, doc};
use jiff::Timestamp;

use crate::authenticate::Principal;
use crate::classify::{Session, mongodb::classify};
use crate::decide::restrict::Circumstances;
use crate::decide::{Policy, PolicyFile};
use crate::error::PublicError as _;
use crate::execute::mongodb::MongoStore;
use crate::execute::private_servers::{MongoServer, ticket};
use crate::limit::Ticket;
use crate::operation::{Operation, Payload, Store};
use crate::wire::extended_json::{Form, parse_extended_json, print_extended_json};

const DATABASE: &str = "enterprise_db";

const POLICY: &str = r#"version = 1
[stores.mongodb]
database = "enterprise_db"
collections = ["people", "orders", "free", "shown"]
[[roles.app.grants]]
store = "mongodb"
collections = ["free", "shown"]
actions = ["find", "insert", "update", "delete"]
[[roles.app.grants]]
store = "mongodb"
collections = ["people"]
actions = ["find", "insert", "update", "delete"]
deny_columns = ["ssn"]
mask_columns = { email = "partial", pin = "null" }
[[roles.app.grants]]
store = "mongodb"
collections = ["orders"]
actions = ["find", "insert", "update", "delete"]
rows = "user_id = :caller.user_id AND state <> 'void'"
[roles.app]
"#;

/// What stands in the data and must never stand in a reply.
const SECRETS: [&str; 6] = ["111-22", "999-88", "@exa", "1234", "theirs", "voided"];

struct Server {
    store: MongoStore,
    policy: Policy,
    _server: MongoServer,
}

impl Server {
    async fn start() -> Self {
        let server = MongoServer::start().await;
        let store = MongoStore::connect(server.settings()).await.unwrap();
        let file = PolicyFile {
            path: "p.toml".into(),
            text: POLICY.into(),
        };
        let whole = Self {
            store,
            policy: Policy::compile(&[file]).unwrap(),
            _server: server,
        };
        whole.fill().await;
        whole
    }

    async fn fill(&self) {
        let people = [
            doc! {"_id": 1, "name": "ann", "email": "ann@example.org", "pin": 1234, "ssn": "111-22-3333", "age": 30},
            doc! {"_id": 2, "name": "bob", "email": "b@exa", "ssn": "999-88-7777", "age": 40},
            doc! {"_id": 3, "name": "eve", "email": bson::Bson::Null, "pin": {"code": 1234}, "age": 50},
        ];
        let orders = [
            doc! {"_id": 1, "user_id": "7", "n": 1, "state": "open", "text": "one"},
            doc! {"_id": 2, "user_id": "8", "n": 0, "state": "open", "text": "theirs"},
            doc! {"_id": 3, "user_id": 7, "n": 5, "state": "paid", "text": "three"},
            doc! {"_id": 4, "user_id": ["7", "8"], "n": 0, "state": "open", "text": "theirs, too"},
            doc! {"_id": 5, "user_id": "7", "n": 0, "state": "void", "text": "voided"},
            doc! {"_id": 6, "user_id": "7", "n": 0, "text": "voided by absence"},
        ];
        for command in [
            doc! {"insert": "people", "documents": people},
            doc! {"insert": "orders", "documents": orders},
            doc! {"insert": "free", "documents": [{"_id": 1, "who": "ann", "guess": "111-22-3333"}]},
            doc! {"create": "shown", "viewOn": "people", "pipeline": []},
            doc! {"createIndexes": "people", "indexes": [{"key": {"ssn": 1}, "name": "ssn"}]},
            doc! {"createIndexes": "people", "indexes": [{"key": {"name": "text", "ssn": "text"}, "name": "words"}]},
        ] {
            self.directly(command).await;
        }
    }

    /// Without the policy.
    async fn directly(&self, command: Document) -> Document {
        let payload = Payload::Mongodb {
            database: DATABASE.into(),
            document: bson::serialize_to_vec(&command).unwrap(),
        };
        let ticket = ticket("set-up", Store::Mongodb, payload, Vec::new());
        let reply = self.store.execute(ticket, None).await.unwrap();
        Document::try_from(reply.as_ref()).unwrap()
    }

    /// The reply as text, or the refusal's.
    async fn ask(&self, command: &str) -> Result<String, String> {
        let document = parse_extended_json(command).unwrap();
        let classified = classify(&document, DATABASE, Session::Shared);
        let classified = classified.map_err(|refusal| refusal.to_string())?;
        let whole = self.store.behind_views(&classified).await.unwrap();
        let operation = Operation {
            store: Store::Mongodb,
            classification: Arc::new(whole.unwrap_or(classified)),
            payload: Payload::Mongodb {
                database: DATABASE.into(),
                document,
            },
        };
        let caller = Arc::new(Principal {
            key_id: "k".into(),
            user_id: Some("7".into()),
            role: "app".into(),
        });
        let permit = self
            .policy
            .decide(
                &caller,
                operation,
                &Circumstances::at(Timestamp::UNIX_EPOCH),
            )
            .map_err(|refusal| format!("refused: {}", refusal.0.detail))?;
        let reply = self.store.execute(Ticket::for_tests(permit), None).await;
        let reply = reply.map_err(|error| format!("server: {}", error.problem().detail))?;
        Ok(print_extended_json(reply.as_bytes(), Form::Relaxed).unwrap())
    }

    async fn firsts(&self, command: &str) -> String {
        let reply = self
            .ask(command)
            .await
            .unwrap_or_else(|refused| panic!("{command}: {refused}"));
        let start = reply
            .find("\"firstBatch\":")
            .map(|at| at + "\"firstBatch\":".len());
        let rest = &reply[start.unwrap()..];
        let end = rest.find(",\"id\":").unwrap_or(rest.len());
        rest[..end].to_owned()
    }
}

#[tokio::test]
async fn what_may_be_seen_is_seen_as_it_may() {
    let server = Server::start().await;
    for (command, expected) in [
        (
            r#"{"find":"people","sort":{"_id":1}}"#,
            r#"[{"_id":1,"name":"ann","email":"****.org","pin":null,"age":30},{"_id":2,"name":"bob","email":"****","age":40,"pin":null},{"_id":3,"name":"eve","email":null,"pin":null,"age":50}]"#,
        ),
        (
            r#"{"find":"people","filter":{"name":{"$gt":"ann"}},"sort":{"age":-1},"limit":1,"singleBatch":true,"projection":{"name":1,"_id":0}}"#,
            r#"[{"name":"eve"}]"#,
        ),
        (
            r#"{"find":"people","filter":{"email":"****.org"},"projection":{"age":1}}"#,
            r#"[{"_id":1,"age":30}]"#,
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$group":{"_id":"$email","n":{"$sum":1}}},{"$sort":{"_id":1}}],"cursor":{}}"#,
            r#"[{"_id":null,"n":1},{"_id":"****","n":1},{"_id":"****.org","n":1}]"#,
        ),
        (
            r#"{"find":"orders","sort":{"_id":1},"projection":{"text":1}}"#,
            r#"[{"_id":1,"text":"one"},{"_id":3,"text":"three"}]"#,
        ),
        (
            r#"{"aggregate":"free","pipeline":[{"$lookup":{"from":"people","localField":"who","foreignField":"name","as":"p"}}],"cursor":{}}"#,
            r#"[{"_id":1,"who":"ann","guess":"111-22-3333","p":[{"_id":1,"name":"ann","email":"****.org","pin":null,"age":30}]}]"#,
        ),
        (
            r#"{"aggregate":"free","pipeline":[{"$project":{"_id":1}},{"$unionWith":"orders"},{"$count":"n"}],"cursor":{}}"#,
            r#"[{"n":3}]"#,
        ),
    ] {
        assert_eq!(server.firsts(command).await, expected, "{command}");
    }
    for (command, expected) in [
        (r#"{"count":"orders"}"#, r#""n":2"#),
        (
            r#"{"distinct":"orders","key":"text"}"#,
            r#""values":["one","three"]"#,
        ),
        (
            r#"{"update":"orders","updates":[{"q":{},"u":{"$inc":{"n":10}},"multi":true}]}"#,
            r#""nModified":2"#,
        ),
        (
            r#"{"delete":"orders","deletes":[{"q":{"_id":{"$gt":1}},"limit":0}]}"#,
            r#""n":1"#,
        ),
        (
            r#"{"insert":"orders","documents":[{"_id":9,"user_id":"7","state":"open"}]}"#,
            r#""n":1"#,
        ),
        (
            r#"{"findAndModify":"orders","query":{"_id":9},"update":{"$set":{"n":1}},"new":true}"#,
            r#""n":1"#,
        ),
    ] {
        let reply = server.ask(command).await.unwrap();
        assert!(reply.contains(expected), "{command}: {reply}");
    }
    let rest = server
        .directly(doc! {"find": "orders", "filter": {"n": 0}, "sort": {"_id": 1}})
        .await;
    let rest = rest
        .get_document("cursor")
        .unwrap()
        .get_array("firstBatch")
        .unwrap()
        .len();
    assert_eq!(rest, 4, "other rows were written");
}

/// Each attack with a guess that is right and one that is wrong: the replies must be the same, and tell no secret.
#[tokio::test]
async fn attacks_tell_nothing() {
    let server = Server::start().await;
    let attacks = [
        // Filters, sorts, groups, computed fields.
        (
            r#"{"find":"people","filter":{"ssn":"GUESS"}}"#,
            "111-22-3333",
            "x",
        ),
        (
            r#"{"find":"people","filter":{"email":{"$gt":"GUESS"}}}"#,
            "ann",
            "zzz",
        ),
        (
            r#"{"find":"people","filter":{"$expr":{"$eq":["$ssn","GUESS"]}}}"#,
            "111-22-3333",
            "x",
        ),
        (
            r#"{"find":"people","filter":{"ssn":{"$regex":"^GUESS"}}}"#,
            "111",
            "555",
        ),
        (
            r#"{"find":"people","filter":{"$jsonSchema":{"properties":{"ssn":{"enum":["GUESS"]}}}}}"#,
            "111-22-3333",
            "x",
        ),
        (
            r#"{"find":"people","filter":{"$or":[{"pin":{"$gt":GUESS}},{"_id":9}]}}"#,
            "1000",
            "2000",
        ),
        (
            r#"{"find":"people","filter":{"pin":{"$type":"GUESS"}}}"#,
            "int",
            "string",
        ),
        (
            r#"{"find":"people","filter":{"ssn":{"$exists":GUESS}},"projection":{"x":"$$ROOT"}}"#,
            "false",
            "false",
        ),
        (
            r#"{"find":"people","sort":{"ssn":GUESS},"projection":{"email":1}}"#,
            "1",
            "1",
        ),
        (
            r#"{"find":"people","projection":{"x":"$ssn","y":"$$CURRENT.email","z":{"$getField":"ssn"}}}"#,
            "",
            "",
        ),
        (
            r#"{"find":"people","let":{"CURRENT":{"email":"x"}},"filter":{}}"#,
            "",
            "",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$group":{"_id":"$ssn"}}],"cursor":{}}"#,
            "",
            "",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$project":{"x":{"$objectToArray":"$$ROOT"}}}],"cursor":{}}"#,
            "",
            "",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$project":{"x":{"$cond":[{"$eq":["$pin",GUESS]},{"$divide":[1,{"$subtract":["$age","$age"]}]},1]}}}],"cursor":{}}"#,
            "1234",
            "1",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$match":{"$expr":{"$toInt":"$ssn"}}}],"cursor":{}}"#,
            "",
            "",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$sort":{"email":1}},{"$limit":1}],"cursor":{}}"#,
            "",
            "",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$redact":{"$cond":[{"$eq":["$ssn","GUESS"]},"$$KEEP","$$PRUNE"]}}],"cursor":{}}"#,
            "111-22-3333",
            "x",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$unset":"email"},{"$set":{"email":"$$ROOT.email"}}],"cursor":{}}"#,
            "",
            "",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$replaceWith":{"$mergeObjects":["$$ROOT",{"x":"$ssn"}]}}],"cursor":{}}"#,
            "",
            "",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$facet":{"a":[{"$match":{"ssn":"GUESS"}}]}}],"cursor":{}}"#,
            "111-22-3333",
            "x",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$setWindowFields":{"sortBy":{"ssn":1},"output":{"r":{"$rank":{}}}}}],"cursor":{}}"#,
            "",
            "",
        ),
        (
            r#"{"find":"people","filter":{"$where":"this.ssn == 'GUESS'"}}"#,
            "111-22-3333",
            "x",
        ),
        (
            r#"{"mapReduce":"people","map":"function() { emit(this.ssn, 1) }","reduce":"function() { return 1 }","out":{"inline":1}}"#,
            "",
            "",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$set":{"x":{"$function":{"body":"function(d) { return d.ssn }","args":["$$ROOT"],"lang":"js"}}}}],"cursor":{}}"#,
            "",
            "",
        ),
        (
            r#"{"find":"people","filter":{"email":{"$in":["GUESS","x"]}}}"#,
            "ann@example.org",
            "y",
        ),
        (
            r#"{"find":"people","filter":{"pin":{"$not":{"$lt":GUESS}}},"sort":{"pin":-1},"limit":1}"#,
            "1000",
            "2000",
        ),
        (
            r#"{"find":"people","filter":{"pin.code":GUESS},"projection":{"pin.code":1}}"#,
            "1234",
            "1",
        ),
        (
            r#"{"find":"people","filter":{"ssn":{"$bitsAllSet":[1]}},"projection":{"ssn":{"$elemMatch":{"$eq":"GUESS"}}}}"#,
            "111-22-3333",
            "x",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$sortByCount":"$ssn"}],"cursor":{}}"#,
            "",
            "",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$bucketAuto":{"groupBy":"$ssn","buckets":2}}],"cursor":{}}"#,
            "",
            "",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$fill":{"sortBy":{"ssn":1},"output":{"pin":{"method":"locf"}}}}],"cursor":{}}"#,
            "",
            "",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$collStats":{"count":{}}}],"cursor":{}}"#,
            "",
            "",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$indexStats":{}}],"cursor":{}}"#,
            "",
            "",
        ),
        (
            r#"{"aggregate":"free","pipeline":[{"$unset":"guess"},{"$facet":{"a":[{"$lookup":{"from":"people","pipeline":[{"$match":{"ssn":"GUESS"}}],"as":"p"}}]}}],"cursor":{}}"#,
            "111-22-3333",
            "x",
        ),
        (r#"{"distinct":"people","key":"pin.code"}"#, "", ""),
        (
            r#"{"findAndModify":"people","query":{"_id":{"$lt":GUESS}},"sort":{"ssn":1},"update":{"$set":{"age":1}},"fields":{"_id":1}}"#,
            "9",
            "9",
        ),
        (
            r#"{"update":"people","updates":[{"q":{"_id":1},"u":{"$set":{"pin":GUESS}}}]}"#,
            "1234",
            "1",
        ),
        // Joins and unions.
        (
            r#"{"aggregate":"free","pipeline":[{"$set":{"guess":"GUESS"}},{"$lookup":{"from":"people","localField":"guess","foreignField":"ssn","as":"p"}},{"$unset":"guess"}],"cursor":{}}"#,
            "111-22-3333",
            "x",
        ),
        (
            r#"{"aggregate":"free","pipeline":[{"$unset":"guess"},{"$lookup":{"from":"people","let":{"g":"GUESS"},"pipeline":[{"$match":{"$expr":{"$eq":["$ssn","$$g"]}}}],"as":"p"}}],"cursor":{}}"#,
            "111-22-3333",
            "x",
        ),
        (
            r#"{"aggregate":"free","pipeline":[{"$unset":"guess"},{"$lookup":{"from":"people","pipeline":[],"as":"p"}},{"$unwind":"$p"},{"$match":{"p.ssn":"GUESS"}}],"cursor":{}}"#,
            "111-22-3333",
            "x",
        ),
        (
            r#"{"aggregate":"free","pipeline":[{"$unset":"guess"},{"$unionWith":{"coll":"people","pipeline":[{"$match":{"ssn":"GUESS"}}]}}],"cursor":{}}"#,
            "111-22-3333",
            "x",
        ),
        (
            r#"{"aggregate":"free","pipeline":[{"$unset":"guess"},{"$graphLookup":{"from":"people","startWith":"GUESS","connectFromField":"ssn","connectToField":"ssn","as":"p"}}],"cursor":{}}"#,
            "111-22-3333",
            "x",
        ),
        (
            r#"{"aggregate":"free","pipeline":[{"$unset":"guess"},{"$unionWith":"orders"},{"$match":{"text":"GUESS"}}],"cursor":{}}"#,
            "theirs",
            "x",
        ),
        // Other commands and options.
        (
            r#"{"count":"people","query":{"ssn":"GUESS"}}"#,
            "111-22-3333",
            "x",
        ),
        (r#"{"distinct":"people","key":"ssn"}"#, "", ""),
        (r#"{"distinct":"people","key":"email"}"#, "", ""),
        (
            r#"{"distinct":"people","key":"name","query":{"$nor":[{"ssn":{"$gt":"GUESS"}}]}}"#,
            "5",
            "0",
        ),
        (
            r#"{"find":"people","min":{"ssn":"GUESS"},"hint":{"ssn":1}}"#,
            "100",
            "999-9",
        ),
        (r#"{"find":"people","hint":"ssn","returnKey":true}"#, "", ""),
        (
            r#"{"find":"people","projection":{"k":{"$meta":"indexKey"}}}"#,
            "",
            "",
        ),
        (
            r#"{"find":"people","filter":{"$text":{"$search":"GUESS"}}}"#,
            "111",
            "555",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$match":{"$text":{"$search":"GUESS"}}}],"cursor":{}}"#,
            "111",
            "555",
        ),
        (
            r#"{"explain":{"find":"people","filter":{"ssn":"GUESS"}}}"#,
            "111-22-3333",
            "x",
        ),
        (
            r#"{"find":"shown","filter":{"ssn":"GUESS"}}"#,
            "111-22-3333",
            "x",
        ),
        (
            r#"{"aggregate":"free","pipeline":[{"$unset":"guess"},{"$lookup":{"from":"shown","pipeline":[],"as":"p"}}],"cursor":{}}"#,
            "",
            "",
        ),
        // Rows.
        (
            r#"{"find":"orders","filter":{"text":"GUESS"}}"#,
            "theirs",
            "x",
        ),
        (r#"{"find":"orders","filter":{"_id":GUESS}}"#, "2", "99"),
        (
            r#"{"find":"orders","filter":{"$or":[{"_id":GUESS},{"_id":98}]}}"#,
            "4",
            "99",
        ),
        (
            r#"{"find":"orders","filter":{"$nor":[{"_id":GUESS}]}}"#,
            "5",
            "99",
        ),
        (
            r#"{"find":"orders","filter":{"user_id":{"$in":["7","GUESS"]}}}"#,
            "8",
            "99",
        ),
        (
            r#"{"find":"orders","collation":{"locale":"en","strength":1},"filter":{"text":"GUESS"}}"#,
            "THEIRS",
            "x",
        ),
        (
            r#"{"find":"orders","filter":{"$expr":{"$cond":[{"$eq":["$text","GUESS"]},{"$divide":[1,"$n"]},true]}}}"#,
            "theirs",
            "x",
        ),
        (
            r#"{"aggregate":"orders","pipeline":[{"$match":{"$expr":{"$cond":[{"$eq":["$text","GUESS"]},{"$divide":[1,"$n"]},true]}}}],"cursor":{}}"#,
            "theirs",
            "x",
        ),
        (
            r#"{"aggregate":"orders","pipeline":[{"$match":{"_id":2,"$expr":{"$divide":[1,"$n"]}}}],"cursor":{}}"#,
            "",
            "",
        ),
        (
            r#"{"aggregate":"orders","pipeline":[{"$set":{"x":{"$divide":[1,"$n"]}}},{"$match":{"x":{"$gt":0}}}],"cursor":{}}"#,
            "",
            "",
        ),
        (
            r#"{"aggregate":"free","pipeline":[{"$unset":"guess"},{"$lookup":{"from":"orders","pipeline":[{"$match":{"$expr":{"$divide":[1,"$n"]}}}],"as":"p"}}],"cursor":{}}"#,
            "",
            "",
        ),
        (
            r#"{"count":"orders","query":{"text":"GUESS"}}"#,
            "theirs",
            "x",
        ),
        (
            r#"{"count":"orders","query":{"$expr":{"$divide":[1,"$n"]}}}"#,
            "",
            "",
        ),
        (
            r#"{"count":"orders","query":{"text":{"$regex":"GUESS"}}}"#,
            "theirs",
            "x",
        ),
        (r#"{"distinct":"orders","key":"user_id"}"#, "", ""),
        // Writes.
        (
            r#"{"update":"orders","updates":[{"q":{"text":"GUESS"},"u":{"$set":{"n":9}}}]}"#,
            "theirs",
            "x",
        ),
        (
            r#"{"update":"orders","updates":[{"q":{"_id":GUESS},"u":{"$set":{"n":9}},"upsert":true}]}"#,
            "2",
            "99",
        ),
        (
            r#"{"update":"orders","updates":[{"q":{"_id":1},"u":{"$set":{"user_id":"GUESS"}}}]}"#,
            "8",
            "99",
        ),
        (
            r#"{"update":"orders","updates":[{"q":{"_id":1},"u":[{"$set":{"user_id":"GUESS"}}]}]}"#,
            "8",
            "99",
        ),
        (
            r#"{"delete":"orders","deletes":[{"q":{"_id":GUESS},"limit":1}]}"#,
            "2",
            "99",
        ),
        (
            r#"{"insert":"orders","documents":[{"user_id":"GUESS","state":"open"}]}"#,
            "8",
            "99",
        ),
        (
            r#"{"insert":"orders","documents":[{"user_id":"7","state":"GUESS"}]}"#,
            "void",
            "void",
        ),
        (
            r#"{"findAndModify":"orders","query":{"_id":GUESS},"remove":true}"#,
            "2",
            "99",
        ),
        (
            r#"{"findAndModify":"people","query":{"_id":1},"update":{"$set":{"age":30}}}"#,
            "",
            "",
        ),
        (
            r#"{"update":"people","updates":[{"q":{"ssn":"GUESS"},"u":{"$set":{"age":30}}}]}"#,
            "111-22-3333",
            "x",
        ),
        (
            r#"{"update":"people","updates":[{"q":{"_id":1},"u":{"$max":{"pin":GUESS}}}]}"#,
            "1",
            "2000",
        ),
        (
            r#"{"update":"people","updates":[{"q":{"_id":1},"u":{"$set":{"ssn":"GUESS"}}}]}"#,
            "111-22-3333",
            "x",
        ),
        (
            r#"{"update":"people","updates":[{"q":{"_id":1},"u":{"$rename":{"ssn":"age"}}}]}"#,
            "",
            "",
        ),
        (
            r#"{"update":"people","updates":[{"q":{"_id":1},"u":[{"$set":{"age":"$ssn"}}]}]}"#,
            "",
            "",
        ),
        (
            r#"{"update":"people","updates":[{"q":{"_id":1},"u":{"age":"x"}}]}"#,
            "",
            "",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$out":"orders"}],"cursor":{}}"#,
            "",
            "",
        ),
        (
            r#"{"aggregate":"free","pipeline":[{"$merge":{"into":"people","on":"_id","whenMatched":[{"$set":{"age":"$ssn"}}]}}],"cursor":{}}"#,
            "",
            "",
        ),
        (
            r#"{"aggregate":"people","pipeline":[{"$merge":"free"}],"cursor":{}}"#,
            "",
            "",
        ),
        (r#"{"find":"free","filter":{"_id":{"$gt":1}}}"#, "", ""),
    ];
    let mut table = attack_table::Table::new("MongoDB", attack_table::MONGODB);
    for (attack, right, wrong) in attacks {
        let told = server.ask(&attack.replace("GUESS", wrong)).await;
        let same = server.ask(&attack.replace("GUESS", right)).await;
        assert_eq!(same, told, "{attack}");
        let is_refused = told
            .as_ref()
            .is_err_and(|reason| !reason.starts_with("server: "));
        table.note(attack, is_refused);
        let told = told.unwrap_or_else(|refused| refused);
        for secret in SECRETS {
            assert!(!told.contains(secret), "{attack}: {told}");
        }
        assert!(!told.contains("divide"), "{attack}: {told}");
    }
    let kept = server
        .directly(doc! {"find": "orders", "sort": {"_id": 1}, "projection": {"n": 1}})
        .await;
    let kept: Vec<String> = (kept
        .get_document("cursor")
        .unwrap()
        .get_array("firstBatch")
        .unwrap())
    .iter()
    .map(ToString::to_string)
    .collect();
    assert_eq!(kept.len(), 6, "{kept:?}");
    table.check();
}
