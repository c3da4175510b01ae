use super::decide_tests::{compile, decide, touching};
use super::*;
use crate::operation::Action;

/// The whole of the default policy, so that a change of it shows in a diff: for each role and object what may
/// be done with it.
#[test]
fn the_default_policy_as_a_table() {
    let policy = compile(include_str!("../../policies/default.toml"));
    let mut table = String::new();
    for role in policy.roles() {
        for store in Store::ALL {
            for name in policy.objects(store) {
                let name = name.replace('*', "x");
                let granted: Vec<&str> = Action::of(store)
                    .iter()
                    .filter(|a| {
                        decide(
                            &policy,
                            role.name(),
                            store,
                            touching(store, &[(&name, **a)]),
                        )
                        .is_ok()
                    })
                    .map(|action| action.as_str())
                    .collect();
                table += &format!("{} {store} {name}: {}\n", role.name(), may(&granted));
            }
        }
    }
    assert_eq!(table, include_str!("default_policy_table.txt"));
    assert_eq!(policy.warnings(), []);
    assert!(policy.role("admin").unwrap().rate_limits().is_empty());
}

fn may(granted: &[&str]) -> String {
    if granted.is_empty() {
        "nothing".to_owned()
    } else {
        granted.join(" ")
    }
}
