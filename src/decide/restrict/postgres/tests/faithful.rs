//! Whether what libraries send survives being written anew.

use super::super::faithful;
use super::super::table::Tables;
use crate::authenticate::Principal;
use crate::classify::postgres as parser;
use crate::decide::restrict::Restrictions;

#[test]
fn what_libraries_send_is_written_faithfully() {
    let caller = Principal {
        key_id: "key".into(),
        user_id: None,
        role: "app".into(),
    };
    let rules = Restrictions {
        caller: &caller,
        default_namespace: "public",
        mask_salt: "",
        tables: Vec::new(),
    };
    let tables = Tables::new(&rules, None).unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut files: Vec<_> = std::fs::read_dir(root.join("recordings"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .collect();
    files.push(root.join("corpus/known.jsonl"));
    let (mut count, mut wrong) = (0, Vec::new());
    for path in files {
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let recorded: serde_json::Value = serde_json::from_str(line).unwrap();
            let Some(sql) = recorded["request"].as_str() else {
                continue;
            };
            if recorded["store"] != "postgres" {
                continue;
            }
            let Ok(tree) = parser::tree(sql) else {
                continue;
            };
            let is_query = sql.trim_start().get(..6).is_some_and(|word| {
                ["select", "insert", "update", "delete"].contains(&word.to_lowercase().as_str())
            });
            if tree.stmts.len() == 1 && is_query {
                count += 1;
                if faithful::written(&tree, &tables).is_err() {
                    wrong.push(sql.to_owned());
                }
            }
        }
    }
    assert!(count > 300, "{count}");
    assert!(wrong.is_empty(), "of {count}:\n{}", wrong.join("\n"));
}
