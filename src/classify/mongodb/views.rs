//! What a view reads, from its definition in the database's catalogue.
//!
//! No command shows it: the server runs a view's pipeline with the rights of whoever made the view, so a caller
//! who may read the view alone would read everything behind it.

use std::collections::HashMap;

use bson::raw::RawBsonRef;

use super::{Scope, pipeline, structure};
use crate::classify::{Refusal, Result, Session};
use crate::operation::{Action, Classification, Touch};

/// The views of one database. A collection that is not among them is not a view.
#[derive(Debug, Clone, Default)]
pub struct Views(HashMap<String, Result<Vec<Touch>>>);

impl Views {
    /// Takes an entry of `listCollections` (BSON bytes); one of another type is left out.
    ///
    /// # Errors
    /// When the entry is not one that `listCollections` gives; nothing can then be said of the database.
    pub fn add(&mut self, database: &str, entry: &[u8]) -> Result<()> {
        let entry = bson::raw::RawDocument::from_bytes(entry)
            .map_err(|error| Refusal::Unparsable(format!("the catalogue's entry: {error}")))?;
        let name = structure::get(entry, "name")?
            .ok_or_else(|| structure::wrong("name", "in the catalogue's entry"))?;
        let kind = structure::get(entry, "type")?
            .ok_or_else(|| structure::wrong("type", "in the catalogue's entry"))?;
        if structure::text("type", kind)? == "view" {
            let name = structure::text("name", name)?.to_owned();
            let reads = definition(database, entry).map_err(|refusal| {
                Refusal::Forbidden(format!(
                    "the view `{}` cannot be told: {refusal}",
                    structure::shown(&name)
                ))
            });
            self.0.insert(name, reads);
        }
        Ok(())
    }

    /// What reading `name` reads besides, one level deep; nothing if it is no view.
    ///
    /// # Errors
    /// When it is a view whose definition is not understood.
    pub fn behind(&self, name: &str) -> Result<&[Touch]> {
        match self.0.get(name) {
            None => Ok(&[]),
            Some(Ok(reads)) => Ok(reads),
            Some(Err(refusal)) => Err(refusal.clone()),
        }
    }
}

/// The collection that a view stands on, and those that its pipeline names.
fn definition(database: &str, entry: &bson::raw::RawDocument) -> Result<Vec<Touch>> {
    let entry = structure::read(entry.as_bytes())?;
    let options = structure::get(entry, "options")?
        .ok_or_else(|| structure::wrong("options", "in the catalogue's entry"))?;
    let options = structure::document("options", options)?;
    let on = structure::get(options, "viewOn")?
        .ok_or_else(|| structure::wrong("viewOn", "in a view's definition"))?;
    let mut scope = Scope {
        database,
        session: Session::Shared,
        target: None,
        classification: Classification::default(),
    };
    scope.touch(structure::text("viewOn", on)?, Action::Find)?;
    match structure::get(options, "pipeline")? {
        None | Some(RawBsonRef::Null) => {}
        Some(stages) => pipeline::check(&mut scope, "pipeline", stages)?,
    }
    Ok(scope.classification.finish().touches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::extended_json::parse_extended_json;

    #[test]
    fn a_view_reads_what_its_definition_names() {
        let cases = [
            (r#"{"name":"c","type":"collection","options":{}}"#, Ok("")),
            (
                r#"{"name":"c","type":"timeseries","options":{"timeseries":{"timeField":"t"}}}"#,
                Ok(""),
            ),
            (
                r#"{"name":"c","type":"view","options":{"viewOn":"a"}}"#,
                Ok("d.a find"),
            ),
            (
                r#"{"name":"c","type":"view","options":{"viewOn":"a","pipeline":[{"$match":{"x":1}},{"$lookup":{"from":"b","pipeline":[{"$unionWith":"e"}],"as":"y"}}]}}"#,
                Ok("d.a find, d.b find, d.e find"),
            ),
            (
                r#"{"name":"c","type":"view","options":{"viewOn":"a","pipeline":[{"$search":{}}]}}"#,
                Err("the view `c` cannot be told: forbidden: `$search`"),
            ),
            (r#"{"name":"c","type":"view","options":{}}"#, Err("viewOn")),
            (r#"{"name":"c","type":"view"}"#, Err("options")),
        ];
        for (entry, expected) in cases {
            let mut views = Views::default();
            views
                .add("d", &parse_extended_json(entry).unwrap())
                .unwrap();
            let told = views.behind("c").map(|touches| {
                let told = touches
                    .iter()
                    .map(|touch| format!("{} {}", touch.object, touch.action));
                told.collect::<Vec<_>>().join(", ")
            });
            match (told, expected) {
                (Ok(told), Ok(expected)) => assert_eq!(told, expected, "{entry}"),
                (Err(told), Err(expected)) => {
                    assert!(told.to_string().contains(expected), "{entry}: {told}");
                }
                (told, _) => panic!("{entry}: {told:?}"),
            }
        }
        assert!(
            Views::default()
                .add("d", &parse_extended_json(r#"{"type":"view"}"#).unwrap())
                .is_err()
        );
    }
}
