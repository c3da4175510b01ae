//! `[[roles.NAME.deny]]`: what overrides every grant.

use std::collections::HashMap;

use super::compile::{nothing_lives, unknown_object};
use super::{ActionGrants, EVERY_OBJECT, GrantIndex, Role, demands};
use crate::decide::fault::Faults;
use crate::decide::glob::Glob;
use crate::decide::raw::RawGrant;
use crate::decide::stores::{ObjectId, PerStore, StoreObjects, glob, split};
use crate::operation::{Action, Object, Touch};

/// What a role is denied in one store, by the number of the rule.
#[derive(Debug, Default)]
pub(super) struct Denials {
    every: ActionGrants,
    some: HashMap<ObjectId, ActionGrants>,
    keys: Vec<(Glob, Action, GrantIndex)>,
}

impl Denials {
    pub(super) fn is_empty(&self) -> bool {
        self.every.is_empty() && self.some.is_empty() && self.keys.is_empty()
    }

    /// The rule that denies a touch. A glob of keys is denied where it may match a denied key.
    pub(super) fn find(&self, objects: &StoreObjects, touch: &Touch) -> Option<GrantIndex> {
        if let Some(at) = self.every.get(touch.action) {
            return Some(at);
        }
        let of_keys = |meets: &dyn Fn(&Glob) -> bool| {
            let mut all = self
                .keys
                .iter()
                .filter(|(_, action, _)| *action == touch.action);
            all.find(|(denied, _, _)| meets(denied))
                .map(|(_, _, at)| *at)
        };
        match (objects, &touch.object) {
            (StoreObjects::Named(named), Object::Named { namespace, name }) => {
                let id = named.objects.find(namespace.as_deref(), name)?;
                self.some.get(&id)?.get(touch.action)
            }
            (StoreObjects::Keys(_), Object::Key(key)) => of_keys(&|denied| denied.matches(key)),
            (StoreObjects::Keys(_), Object::Keys(asked)) => {
                let asked = Glob::lenient(asked);
                of_keys(&|denied| asked.as_ref().is_none_or(|asked| denied.may_meet(asked)))
            }
            (StoreObjects::Named(_), Object::Key(_) | Object::Keys(_))
            | (StoreObjects::Keys(_), Object::Named { .. }) => None,
        }
    }
}

pub(super) fn add(
    role: &mut Role,
    raw: &RawGrant,
    stores: &PerStore<Option<StoreObjects>>,
    faults: &mut Faults,
) {
    let at = GrantIndex(u32::try_from(role.denials.len()).unwrap_or(u32::MAX));
    role.denials.push(demands::grant(raw, faults));
    let Some(objects) = stores.get(raw.store) else {
        nothing_lives(raw, "a deny rule", faults);
        return;
    };
    let denied = role.denied.get_mut(raw.store);
    for written in &raw.objects {
        if written.value == EVERY_OBJECT {
            raw.actions
                .iter()
                .for_each(|action| denied.every.add(*action, at));
            continue;
        }
        match objects {
            StoreObjects::Named(named) => {
                let (namespace, name) = split(raw.store, &written.value);
                let Some(id) = named.objects.find(namespace, name) else {
                    unknown_object(raw.store, written, named, stores, faults);
                    continue;
                };
                let own = denied.some.entry(id).or_default();
                raw.actions.iter().for_each(|action| own.add(*action, at));
            }
            StoreObjects::Keys(_) => {
                let Some(glob) = glob(written, faults) else {
                    continue;
                };
                let each = raw.actions.iter();
                denied
                    .keys
                    .extend(each.map(|action| (glob.clone(), *action, at)));
            }
        }
    }
}
