//! A private mongod, its administrator, and a user whose rights change.

use std::collections::BTreeSet;

use bson::{Document, doc};
use bulkhead::dev::{Options, Servers};
use bulkhead::operation::{Action, Object, Touch};
use mongodb::{Client, Database};

/// The user and the role that the oracle changes.
const NAME: &str = "oracle";

pub struct Private {
    servers: Servers,
    administrator: Client,
    user: Client,
}

/// What a classification asks for, as the server grants it.
pub type Rights = BTreeSet<(String, String, Action)>;

impl Private {
    pub async fn start() -> Self {
        let mut servers = Servers::prepare(&Options::default()).unwrap();
        servers.mongodb.start().await.unwrap();
        let url = servers.mongodb.url();
        let administrator = Client::with_uri_str(&url).await.unwrap();
        let admin = administrator.database("admin");
        let role = doc! {"createRole": NAME, "privileges": [], "roles": []};
        admin.run_command(role).await.unwrap();
        let roles = vec![NAME];
        let user = doc! {"createUser": NAME, "pwd": NAME, "roles": roles};
        admin.run_command(user).await.unwrap();
        let at = url.find('@').unwrap();
        let url = format!("mongodb://{NAME}:{NAME}{}", &url[at..]);
        let user = Client::with_uri_str(url).await.unwrap();
        Self {
            servers,
            administrator,
            user,
        }
    }

    pub fn admin(&self) -> Database {
        self.administrator.database("admin")
    }

    pub fn database(&self, name: &str) -> Database {
        self.administrator.database(name)
    }

    pub fn as_user(&self, database: &str) -> Database {
        self.user.database(database)
    }

    /// The program that runs.
    pub fn program(&self) -> std::path::PathBuf {
        let pid = self.servers.mongodb.pid().unwrap();
        std::fs::read_link(format!("/proc/{pid}/exe")).unwrap()
    }

    /// Gives the user these rights and no other; the server's refusal where no role can hold them.
    pub async fn allow(&self, rights: &Rights) -> Result<(), mongodb::error::Error> {
        let privileges: Vec<Document> = rights
            .iter()
            .map(|(database, collection, action)| {
                let resource = doc! {"db": database, "collection": collection};
                doc! {"resource": resource, "actions": actions(*action)}
            })
            .collect();
        let update = doc! {"updateRole": NAME, "privileges": privileges, "roles": []};
        self.admin().run_command(update).await.map(drop)
    }
}

fn actions(action: Action) -> Vec<&'static str> {
    match action {
        Action::Find => vec!["find"],
        Action::Insert => vec!["insert"],
        Action::Update => vec!["update"],
        Action::Delete => vec!["remove"],
        Action::Ddl => vec![
            "createCollection",
            "createIndex",
            "dropCollection",
            "dropIndex",
            "collMod",
            "listIndexes",
        ],
        other => panic!("{other}"),
    }
}

pub fn rights(touches: &[Touch]) -> Rights {
    touches
        .iter()
        .map(|touch| match &touch.object {
            Object::Named {
                namespace: Some(database),
                name,
            } => (database.clone(), name.clone(), touch.action),
            other => panic!("{other}"),
        })
        .collect()
}
