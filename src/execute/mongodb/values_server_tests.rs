//! Random documents with values of every BSON type, both ways, on a real mongod.

use bson::oid::ObjectId;
use bson::raw::RawJavaScriptCodeWithScope;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Decimal128, Document, RawDocumentBuf, Regex, Timestamp, doc};

use super::server_tests::run;
use super::*;
use crate::execute::dice::Dice;
use crate::execute::private_servers::MongoServer;
use crate::wire::extended_json::{Form, parse_extended_json, print_extended_json};

fn value(dice: &mut Dice, depth: usize) -> Bson {
    let bytes = |dice: &mut Dice| dice.text().into_bytes();
    match dice.below(if depth == 0 { 18 } else { 21 }) {
        0 => Bson::Double(f64::from_bits(
            dice.int() as u64 & !(0x7FF << 52) | 0x3FF << 52,
        )),
        1 => Bson::Double([f64::NAN, f64::INFINITY, -0.0, 5e-324][dice.below(4)]),
        2 => Bson::String(dice.text()),
        3 => Bson::Boolean(dice.below(2) == 0),
        4 => Bson::Null,
        5 => Bson::Int32(dice.int() as i32),
        6 => Bson::Int64(dice.int()),
        7 => Bson::Decimal128(dice.decimal(16, 16).parse::<Decimal128>().unwrap()),
        8 => Bson::Decimal128(
            dice.pick(&["NaN", "Infinity", "1E+6111", "-0E-10"])
                .parse()
                .unwrap(),
        ),
        9 => Bson::DateTime(DateTime::from_millis(dice.int())),
        10 => Bson::ObjectId(ObjectId::new()),
        11 => Bson::Binary(Binary {
            subtype: [
                BinarySubtype::Generic,
                BinarySubtype::Md5,
                BinarySubtype::UserDefined(0x80),
            ][dice.below(3)],
            bytes: bytes(dice),
        }),
        12 => Bson::Timestamp(Timestamp {
            time: dice.int() as u32,
            increment: dice.int() as u32,
        }),
        13 => Bson::RegularExpression(Regex {
            pattern: dice.word(9).try_into().unwrap(),
            options: dice.pick(&["", "i", "im"]).try_into().unwrap(),
        }),
        14 => Bson::JavaScriptCode(dice.text()),
        15 => Bson::Symbol(dice.text()),
        16 => [Bson::MinKey, Bson::MaxKey, Bson::Undefined][dice.below(3)].clone(),
        17 => Bson::String(String::new()),
        18 => Bson::Document(document(dice, depth - 1)),
        19 => Bson::Array((0..dice.below(4)).map(|_| value(dice, depth - 1)).collect()),
        _ => {
            let scope = RawDocumentBuf::try_from(&document(dice, 0)).unwrap();
            let code = dice.text();
            Bson::try_from(bson::RawBson::JavaScriptCodeWithScope(
                RawJavaScriptCodeWithScope { code, scope },
            ))
            .unwrap()
        }
    }
}

fn document(dice: &mut Dice, depth: usize) -> Document {
    let fields = 1 + dice.below(6);
    (0..fields)
        .map(|place| (format!("{}{place}", dice.word(4)), value(dice, depth)))
        .collect()
}

fn raw(document: &Document) -> Vec<u8> {
    RawDocumentBuf::try_from(document).unwrap().into_bytes()
}

fn first(reply: &Document) -> Document {
    let cursor = reply.get_document("cursor").unwrap();
    let batch = cursor.get_array("firstBatch").unwrap();
    batch[0].as_document().unwrap().clone()
}

#[tokio::test]
async fn any_document_is_shown_and_taken_as_it_is() {
    let server = MongoServer::start().await;
    let store = MongoStore::connect(server.settings()).await.unwrap();
    let direct = store.client().await.unwrap().database("enterprise_db");
    let direct = direct.collection::<Document>("activity_logs");
    let mut dice = Dice::from_environment();
    for id in 0..dice.cases(60) {
        let id = i64::try_from(id).unwrap();
        let mut written = doc! {"_id": id};
        written.extend(document(&mut dice, 3));
        direct.insert_one(&written).await.unwrap();
        let found = run(
            &store,
            doc! {"find": "activity_logs", "filter": {"_id": id}},
        )
        .await;
        let found = first(&found);
        assert_eq!(raw(&found), raw(&written), "{written}");

        // As a caller would send it back: through its text, under another number.
        let text = print_extended_json(&raw(&found), Form::Canonical).unwrap();
        let parsed = parse_extended_json(&text).unwrap();
        assert_eq!(parsed, raw(&written), "{text}");
        let mut again = Document::try_from(RawDocumentBuf::from_bytes(parsed).unwrap()).unwrap();
        again.insert("_id", -1 - id);
        run(
            &store,
            doc! {"insert": "activity_logs", "documents": [again.clone()]},
        )
        .await;
        let read = direct
            .find_one(doc! {"_id": -1 - id})
            .await
            .unwrap()
            .unwrap();
        assert_eq!(raw(&read), raw(&again), "{text}");
    }
}
