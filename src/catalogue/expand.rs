//! Follows what a statement touches to everything that this reaches.

use std::collections::HashSet;
use std::sync::Arc;

use super::words::Text;
use super::{Actions, Catalogue, Name, REACHED_MAX, Reach, Target};
use crate::classify::{Refusal, Result};
use crate::operation::{Action, Classification, Object};

impl Catalogue {
    /// What a statement touches, together with everything that this reaches.
    ///
    /// `sql` is the text that was classified. `is_listed` says whether the policy names an object in any store.
    /// Where nothing more is reached, the classification itself comes back.
    pub fn expand(
        &self,
        classification: &Arc<Classification>,
        sql: &str,
        is_listed: impl Fn(&Object) -> bool,
    ) -> Result<Arc<Classification>> {
        let mut text = Text::new(sql);
        if !self.sets_off(classification, &mut text) {
            return Ok(Arc::clone(classification));
        }
        let mut walk = Walk {
            catalogue: self,
            text,
            is_listed,
            seen: HashSet::new(),
            todo: Vec::new(),
            found: Vec::new(),
            functions: Vec::new(),
        };
        walk.everywhere(classification)?;
        for touch in &classification.touches {
            if let Some((namespace, name)) = self.named(&touch.object) {
                walk.follow(Name::new(namespace, name), touch.action)?;
            }
        }
        walk.finish()?;
        if walk.found.is_empty() && walk.functions.is_empty() {
            return Ok(Arc::clone(classification));
        }
        let (found, functions) = (walk.found, walk.functions);
        let mut whole = Classification::clone(classification);
        for (name, action) in found {
            let object = self.object(&name);
            whole.reached.push(object.clone());
            whole.touch(object, action);
        }
        whole.functions.extend(functions);
        Ok(Arc::new(whole.finish()))
    }

    /// Whether anything is reached at all. Mostly nothing is, and then no list is made.
    fn sets_off(&self, classification: &Classification, text: &mut Text<'_>) -> bool {
        let touches = &classification.touches;
        let everywhere = self.everywhere.iter();
        let mut everywhere = everywhere.filter(|reach| reach.is_set_off_by_any(classification));
        everywhere.any(|reach| text.meets(&reach.when))
            || touches.iter().any(|touch| {
                let named = self.named(&touch.object).into_iter();
                let mut reaches = named.flat_map(|(namespace, name)| self.reaches(namespace, name));
                reaches.any(|reach| reach.is_set_off(touch.action, text))
            })
    }
}

impl Reach {
    fn is_set_off(&self, action: Action, text: &mut Text<'_>) -> bool {
        self.on.meets(Actions::of(action)) && text.meets(&self.when)
    }

    /// Of those that belong to no relation.
    fn is_set_off_by_any(&self, classification: &Classification) -> bool {
        let mut touches = classification.touches.iter();
        self.on == Actions::ALL || touches.any(|touch| self.on.meets(Actions::of(touch.action)))
    }
}

struct Walk<'c, 't, L> {
    catalogue: &'c Catalogue,
    text: Text<'t>,
    is_listed: L,
    seen: HashSet<(Name, Action)>,
    /// Relations that are used, and whose own reaches are still to be followed.
    todo: Vec<(Name, Action)>,
    /// What is touched beside the text's own.
    found: Vec<(Name, Action)>,
    functions: Vec<String>,
}

impl<L: Fn(&Object) -> bool> Walk<'_, '_, L> {
    fn everywhere(&mut self, classification: &Classification) -> Result<()> {
        let catalogue = self.catalogue;
        for reach in &catalogue.everywhere {
            if reach.is_set_off_by_any(classification) && self.text.meets(&reach.when) {
                self.reach(reach, Action::Select)?;
            }
        }
        Ok(())
    }

    /// Notes that a relation is used in this way, and what is behind it to be followed.
    fn follow(&mut self, relation: Name, action: Action) -> Result<()> {
        if self.seen.len() >= REACHED_MAX {
            return Err(Refusal::TooLarge(format!(
                "the statement reaches more than {REACHED_MAX} relations through views, foreign keys or inheritance"
            )));
        }
        if self.seen.insert((relation.clone(), action)) {
            self.todo.push((relation, action));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        while let Some((relation, action)) = self.todo.pop() {
            let catalogue = self.catalogue;
            for reach in catalogue.reaches(&relation.namespace, &relation.name) {
                if reach.is_set_off(action, &mut self.text) {
                    self.reach(reach, action)?;
                }
            }
        }
        Ok(())
    }

    fn reach(&mut self, reach: &Reach, action: Action) -> Result<()> {
        match &reach.target {
            Target::Relation(name, action) => {
                self.found.push((name.clone(), *action));
                self.follow(name.clone(), *action)
            }
            Target::Same(name) => {
                self.found.push((name.clone(), action));
                self.follow(name.clone(), action)
            }
            Target::Piece(name) => {
                if (self.is_listed)(&self.catalogue.object(name)) {
                    self.found.push((name.clone(), action));
                }
                self.follow(name.clone(), action)
            }
            Target::Function(function) => {
                self.functions.push(self.catalogue.function(function));
                Ok(())
            }
        }
    }
}
