//! The pattern's three isolation tests, and the proof that the refusal is ours.

use serde_json::json;

use crate::support::{Dev, shared};

/// Test 1: user CRUD in MySQL.
#[tokio::test]
async fn users_live_in_mysql() {
    let dev = shared();
    let reply = dev
        .sql(
            "mysql",
            "SELECT id, email FROM users WHERE id = ?",
            json!([1]),
        )
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.body["rows"].as_array().unwrap().len(), 1);
}

/// Test 2: audit logging in PostgreSQL, with the pattern's own statement.
#[tokio::test]
async fn an_audit_row_is_written_in_postgres() {
    let dev = shared();
    let sql =
        "INSERT INTO audit_logs (user_id, action, resource_type, metadata) VALUES ($1, $2, $3, $4)";
    let params = json!(["42", "user.update", "user", "{\"field\": \"email\"}"]);
    let reply = dev.sql("postgres", sql, params).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.body["rows_affected"], 1);
}

/// Test 3: a table asked of the wrong store is refused with where it lives.
#[tokio::test]
async fn a_table_asked_of_the_wrong_store_is_refused_with_where_it_lives() {
    let dev = shared();
    for (store, table, lives_in) in [
        ("postgres", "users", "mysql"),
        ("mysql", "api_keys", "postgres"),
        ("postgres", "activity_logs", "mongodb"),
    ] {
        let reply = dev
            .sql(store, &format!("SELECT * FROM {table}"), json!([]))
            .await;
        assert_eq!(
            (reply.status, reply.code()),
            (403, "policy.wrong_store"),
            "{}",
            reply.text
        );
        assert_eq!(reply.body["lives_in"], lives_in);
        assert_eq!(reply.body["objects"], json!([table]));
    }
}

/// A table of that name put into the wrong store by hand is reached directly, and refused by us: the
/// refusal does not come from the table being absent.
#[tokio::test]
async fn the_refusal_is_ours() {
    let dev = shared();
    let postgres = postgres(dev).await;
    postgres
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS public.users (id int); \
             TRUNCATE public.users; INSERT INTO public.users VALUES (7); \
             GRANT ALL ON public.users TO PUBLIC",
        )
        .await
        .unwrap();
    let row = postgres
        .query_one("SELECT id FROM users", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i32>(0), 7);
    let mut mysql = mysql(dev).await;
    let reached: Option<String> = {
        use mysql_async::prelude::Queryable;
        mysql
            .query_drop("CREATE TABLE IF NOT EXISTS api_keys AS SELECT 'k' AS id")
            .await
            .unwrap();
        mysql.query_first("SELECT id FROM api_keys").await.unwrap()
    };
    assert_eq!(reached.as_deref(), Some("k"));
    for (store, table) in [("postgres", "users"), ("mysql", "api_keys")] {
        let reply = dev
            .sql(store, &format!("SELECT id FROM {table}"), json!([]))
            .await;
        assert_eq!(reply.code(), "policy.wrong_store", "{}", reply.text);
    }
}

/// The administrator's connection, past the sidecar.
pub async fn postgres(dev: &Dev) -> tokio_postgres::Client {
    let url = dev
        .store_url("postgres")
        .split('?')
        .next()
        .unwrap()
        .to_owned();
    let mut config: tokio_postgres::Config = url.parse().unwrap();
    config.ssl_mode(tokio_postgres::config::SslMode::Require);
    let tls = bulkhead::execute::tls::client_config(&tls_settings(dev))
        .unwrap()
        .unwrap();
    let (client, connection) = config
        .connect(tokio_postgres_rustls::MakeRustlsConnect::new(tls))
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

pub async fn mysql(dev: &Dev) -> mysql_async::Conn {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = dev.store_url("mysql").split('?').next().unwrap().to_owned();
    let tls = mysql_async::SslOpts::default()
        .with_root_certs(vec![tls_settings(dev).ca_file.unwrap().into()]);
    let options = mysql_async::OptsBuilder::from_opts(mysql_async::Opts::from_url(&url).unwrap())
        .ssl_opts(tls);
    mysql_async::Conn::new(options).await.unwrap()
}

fn tls_settings(dev: &Dev) -> bulkhead::execute::settings::TlsSettings {
    let config = bulkhead::config::Config::load(&dev.config).unwrap();
    config.stores.postgres.unwrap().tls
}
