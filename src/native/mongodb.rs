//! MongoDB: `createRole` commands, and what `rolesInfo`, `usersInfo` and `connectionStatus` say.

use std::collections::BTreeSet;

use bson::{Bson, Document, doc};
use mongodb::Client;
use serde_json::{Value, json};

use super::access::Access;
use super::mend::{Mend, Others};
use super::{Difference, Error, Held, Privilege, ROLE_PREFIX, Subject, compare};
use crate::operation::Action;

/// The roles live where accounts usually do.
pub const ROLES_DATABASE: &str = "admin";

/// mongod's code for a user or role that is not there.
const ROLE_NOT_FOUND: i32 = 31;

/// The commands as JSON, each for [`ROLES_DATABASE`]: `createRole`, or `updateRole` where the role is there already;
/// accounts (of another database, where there is a `$db`) get the role for all callers, and no other.
pub fn commands(subjects: &[Subject]) -> Vec<Value> {
    let command = |subject: &Subject| {
        if is_role(&subject.name) {
            json!({
                "createRole": subject.name,
                "privileges": privileges(&subject.access),
                "roles": [],
            })
        } else {
            let (user, database) = account(&subject.name);
            let role = json!({"role": super::CALLERS, "db": ROLES_DATABASE});
            let mut command = json!({"updateUser": user, "roles": [role]});
            if let (true, Some(members)) = (database != ROLES_DATABASE, command.as_object_mut()) {
                members.insert("$db".to_owned(), database.into());
            }
            command
        }
    };
    subjects.iter().map(command).collect()
}

/// The same where it is known which of the roles are there.
pub(super) fn updates(subjects: &[Subject], differences: &[Difference]) -> Vec<Value> {
    let is_there = |name: &str| {
        let mut all = differences.iter();
        !all.any(|found| found.subject == name && found.what == "existence")
    };
    let mut commands = commands(subjects);
    for (subject, command) in subjects.iter().zip(&mut commands) {
        if let Some(members) = command.as_object_mut()
            && is_there(&subject.name)
            && let Some(name) = members.remove("createRole")
        {
            // The command's name is its first member.
            let rest = std::mem::take(members);
            members.insert("updateRole".to_owned(), name);
            members.extend(rest);
        }
    }
    commands
}

fn is_role(name: &str) -> bool {
    name.starts_with(ROLE_PREFIX) || name == super::CALLERS
}

/// The same for mongosh.
pub fn script(subjects: &[Subject]) -> String {
    let (roles, accounts): (Vec<Subject>, Vec<Subject>) = subjects
        .iter()
        .cloned()
        .partition(|subject| is_role(&subject.name));
    let mut text = String::from(
        "// MongoDB: the policy as roles. Run it with mongosh as a user administrator, again after every change of the\n\
         // policy. Give the sidecar's account the one for all callers and take its other roles away (`--account` does):\n\
         //   db.getSiblingDB(\"admin\").updateUser(\"account\", { roles: [\"bulkhead_callers\"] })\n\
         const admin = db.getSiblingDB(\"admin\");\n\
         for (const role of [\n",
    );
    for command in commands(&roles) {
        text += &format!("  {command},\n");
    }
    text += "]) {\n\
        \x20 const known = admin.runCommand({ rolesInfo: { role: role.createRole, db: \"admin\" } }).roles.length > 0;\n\
        \x20 const { createRole, ...content } = role;\n\
        \x20 const done = admin.runCommand(known ? { updateRole: createRole, ...content } : role);\n\
        \x20 if (!done.ok) throw new Error(`${createRole}: ${done.errmsg}`);\n\
        \x20 print(`${createRole}: ${known ? \"updated\" : \"created\"}`);\n\
        }\n";
    for subject in &accounts {
        let (user, database) = account(&subject.name);
        let role = json!([{"role": super::CALLERS, "db": ROLES_DATABASE}]);
        text += &format!(
            "db.getSiblingDB({}).updateUser({}, {{ roles: {role} }});\n",
            json!(database),
            json!(user)
        );
    }
    text
}

fn privileges(access: &Access) -> Vec<Value> {
    let mut list: Vec<Value> = access
        .objects
        .iter()
        .map(|(name, granted)| {
            let actions: Vec<&str> = granted
                .keys()
                .flat_map(|action| actions(*action))
                .copied()
                .collect();
            json!({
                "resource": {"db": name.namespace, "collection": name.name},
                "actions": actions,
            })
        })
        .collect();
    if access.for_sidecar && !access.is_empty() {
        // The sidecar looks for views, whose definitions these list.
        list.push(json!({
            "resource": {"db": access.default_namespace, "collection": ""},
            "actions": ["listCollections"],
        }));
    }
    list
}

const fn actions(action: Action) -> &'static [&'static str] {
    match action {
        Action::Find => &["find"],
        Action::Insert => &["insert"],
        Action::Update => &["update"],
        Action::Delete => &["remove"],
        Action::Ddl => &[
            "collMod",
            "createCollection",
            "createIndex",
            "dropCollection",
            "dropIndex",
            "listIndexes",
        ],
        Action::Select | Action::Read | Action::Write => &[],
    }
}

fn wanted(access: &Access) -> BTreeSet<Privilege> {
    let mut wanted = BTreeSet::new();
    for (name, granted) in &access.objects {
        for action in granted.keys().flat_map(|action| actions(*action)) {
            let on = format!("collection {}.{}", name.namespace, name.name);
            wanted.insert(Privilege::new(*action, on));
        }
    }
    if access.for_sidecar && !access.is_empty() {
        let on = format!("database {}", access.default_namespace);
        wanted.insert(Privilege::new("listCollections", on));
    }
    wanted
}

/// Compares a server with the subjects: roles, and accounts as `user@database`. May be cancelled.
pub async fn differences(client: &Client, subjects: &[Subject]) -> Result<Vec<Difference>, Error> {
    let mut all = Vec::new();
    for subject in subjects {
        let name = &subject.name;
        let (command, field) = if is_role(name) {
            let of = doc! {"role": name, "db": ROLES_DATABASE};
            (doc! {"rolesInfo": of, "showPrivileges": true}, "roles")
        } else {
            let (user, database) = account(name);
            let of = doc! {"user": user, "db": database};
            (doc! {"usersInfo": of, "showPrivileges": true}, "users")
        };
        let answer = ask(client, command).await?;
        let found = answer.get_array(field).map_err(unread)?;
        let mut held = Held::default();
        if let Some(found) = found.first().and_then(Bson::as_document) {
            held.exists = true;
            let list = found.get_array("inheritedPrivileges").map_err(unread)?;
            add(&mut held, list);
        }
        all.extend(compare(name, &wanted(&subject.access), &held, covers));
    }
    Ok(all)
}

/// Compares the account of this connection, which needs no privilege for it.
pub async fn own_differences(client: &Client, subject: &Subject) -> Result<Vec<Difference>, Error> {
    let answer = ask(client, doc! {"connectionStatus": 1, "showPrivileges": true}).await?;
    let status = answer.get_document("authInfo").map_err(unread)?;
    let users = status.get_array("authenticatedUsers").map_err(unread)?;
    let mut held = Held {
        exists: true,
        ..Held::default()
    };
    if users.is_empty() {
        held.privileges.insert(Privilege::new(
            "everything (nobody has to log in)",
            "the server",
        ));
    }
    add(
        &mut held,
        status
            .get_array("authenticatedUserPrivileges")
            .map_err(unread)?,
    );
    Ok(compare(
        &subject.name,
        &wanted(&subject.access),
        &held,
        covers,
    ))
}

/// Who else there is that concerns us.
pub(super) async fn others(client: &Client, subjects: &[Subject]) -> Result<Others, Error> {
    let roles = ask(client, doc! {"rolesInfo": 1}).await?;
    let text = |document: &Document, key| document.get_str(key).unwrap_or_default().to_owned();
    let documents = |answer: &Document, key: &str| -> Vec<Document> {
        let list = answer.get_array(key).map(Vec::as_slice).unwrap_or_default();
        list.iter()
            .filter_map(|item| item.as_document().cloned())
            .collect()
    };
    let dropped = |name: String| {
        let mend = Mend {
            text: format!("db.getSiblingDB(\"admin\").dropRole({});", json!(name)),
            command: json!({"dropRole": name}),
        };
        (name, mend)
    };
    let strays = documents(&roles, "roles")
        .iter()
        .map(|role| text(role, "role"))
        .filter(|role| role.starts_with(ROLE_PREFIX))
        .filter(|role| !subjects.iter().any(|subject| subject.name == *role))
        .map(dropped)
        .collect();
    let users = ask(client, doc! {"usersInfo": {"forAllDBs": true}}).await?;
    let holders = documents(&users, "users")
        .iter()
        .filter(|user| {
            documents(user, "roles").iter().any(|role| {
                let role = text(role, "role");
                role == super::CALLERS || role.starts_with(ROLE_PREFIX)
            })
        })
        .map(|user| format!("{}@{}", text(user, "user"), text(user, "db")))
        .collect();
    Ok(Others {
        strays,
        holders,
        ..Others::default()
    })
}

async fn ask(client: &Client, command: Document) -> Result<Document, Error> {
    let database = client.database(ROLES_DATABASE);
    match database.run_command(command).await {
        Ok(answer) => Ok(answer),
        Err(error) => {
            if let mongodb::error::ErrorKind::Command(command) = error.kind.as_ref()
                && command.code == ROLE_NOT_FOUND
            {
                return Ok(doc! {"roles": [], "users": []});
            }
            Err(Error::Read(error.to_string()))
        }
    }
}

/// `user@database`; without a database it is [`ROLES_DATABASE`].
fn account(name: &str) -> (&str, &str) {
    name.rsplit_once('@').unwrap_or((name, ROLES_DATABASE))
}

fn add(held: &mut Held, list: &[Bson]) {
    for privilege in list.iter().filter_map(Bson::as_document) {
        let on = privilege
            .get_document("resource")
            .map_or_else(|_| "something".to_owned(), place);
        let actions = privilege
            .get_array("actions")
            .map(Vec::as_slice)
            .unwrap_or_default();
        for action in actions.iter().filter_map(Bson::as_str) {
            held.privileges.insert(Privilege::new(action, on.clone()));
        }
    }
}

/// `{db, collection}`, `{cluster: true}`, `{anyResource: true}` and what else there may be.
fn place(resource: &Document) -> String {
    let text = |key| resource.get_str(key).ok();
    match (text("db"), text("collection")) {
        (Some(""), Some("")) => "every database".to_owned(),
        (Some(""), Some(collection)) => format!("collection {collection} of every database"),
        (Some(database), Some("")) => format!("database {database}"),
        (Some(database), Some(collection)) => format!("collection {database}.{collection}"),
        _ => match resource.keys().next() {
            Some(key) if resource.len() == 1 => format!("the {key}"),
            Some(_) | None => resource.to_string(),
        },
    }
}

/// Whether something wider gives it: the whole database, every database, any resource.
fn covers(held: &Held, wanted: &Privilege) -> bool {
    let collection = wanted.on.strip_prefix("collection ");
    let database = collection
        .and_then(|name| name.split_once('.'))
        .map(|(database, _)| database);
    held.privileges.iter().any(|privilege| {
        (privilege.what == wanted.what || privilege.what == "anyAction")
            && (privilege.on == "every database"
                || privilege.on == "the anyResource"
                || database.is_some_and(|database| privilege.on == format!("database {database}")))
    })
}

fn unread(error: impl std::fmt::Display) -> Error {
    Error::Read(error.to_string())
}
