//! On real servers, started for these tests.

mod changes;
mod dirt;
mod failover;
mod lanes;
mod life;
mod random;
mod statements;
mod transactions;
mod values;

use super::*;
use crate::execute::live::{Kept, request, settings, small_pool};

const CHANGE: Effect = Effect::Change {
    touches_session: false,
};
const DDL: Effect = Effect::Change {
    touches_session: true,
};

struct Rig {
    store: PostgresStore,
}

impl Rig {
    fn new(max: u32) -> Self {
        let settings = settings(Store::Postgres, small_pool(max));
        Self {
            store: PostgresStore::new(&settings, "public").unwrap(),
        }
    }

    async fn run(
        &self,
        effect: Effect,
        sql: &str,
        params: &[&str],
    ) -> Result<(Kept, Summary), Error> {
        let mut sink = Kept::default();
        let summary = self.ask(effect, sql, &request(params), &mut sink).await?;
        Ok((sink, summary))
    }

    async fn ask(
        &self,
        effect: Effect,
        sql: &str,
        request: &SqlRequest,
        sink: &mut dyn RowSink,
    ) -> Result<Summary, Error> {
        let audit = AuditRow {
            key_id: "k1".to_owned(),
            role: "admin".to_owned(),
            action: "test".to_owned(),
            objects: vec!["public.t".to_owned()],
            request_id: sql.to_owned(),
            ..AuditRow::default()
        };
        let asked = Asked {
            sql: &sql.into(),
            effect,
            request,
            audit: Some(&audit),
            caller: "k1",
        };
        self.store.run(asked, sink).await
    }

    async fn read(&self, sql: &str, params: &[&str]) -> Result<Kept, Error> {
        Ok(self.run(Effect::Read, sql, params).await?.0)
    }

    /// The single value of a query.
    async fn value(&self, sql: &str, params: &[&str]) -> String {
        let kept = self
            .read(sql, params)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        kept.rows[0][0].clone()
    }

    async fn change(&self, sql: &str) -> Summary {
        self.run(DDL, sql, &[])
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
            .1
    }

    async fn audited(&self, request_id: &str) -> String {
        self.value(
            "SELECT count(*) FROM audit_logs WHERE request_id = $1",
            &[&serde_json::to_string(request_id).unwrap()],
        )
        .await
    }
}
