//! Which path is which route.

use hyper::Method;

use crate::error::{Code, Methods, Problem, PublicError};
use crate::execute::transaction::Fault;
use crate::operation::Store;
use crate::transaction::TransactionId;

/// The routes of the data listener, version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Query(Store),
    Batch(Store),
    Transactions(Store),
    Transaction(Going),
    MongodbCommand,
    RedisCommand,
    RedisPipeline,
    Explain,
    Whoami,
    Health,
    Livez,
    Readyz,
}

/// An open transaction, and what is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Going {
    pub store: Store,
    pub id: TransactionId,
    pub step: Step,
}

/// What is done with an open transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Query,
    Commit,
    RollBack,
}

/// Finds the route, or says which method it wants.
pub fn find(method: &Method, path: &str) -> Result<Route, Problem> {
    let (route, methods) = match path {
        "/v1/postgres/query" => (Route::Query(Store::Postgres), Methods::Post),
        "/v1/mysql/query" => (Route::Query(Store::Mysql), Methods::Post),
        "/v1/postgres/batch" => (Route::Batch(Store::Postgres), Methods::Post),
        "/v1/mysql/batch" => (Route::Batch(Store::Mysql), Methods::Post),
        "/v1/postgres/transactions" => (Route::Transactions(Store::Postgres), Methods::Post),
        "/v1/mysql/transactions" => (Route::Transactions(Store::Mysql), Methods::Post),
        "/v1/mongodb/command" => (Route::MongodbCommand, Methods::Post),
        "/v1/redis/command" => (Route::RedisCommand, Methods::Post),
        "/v1/redis/pipeline" => (Route::RedisPipeline, Methods::Post),
        "/v1/explain" => (Route::Explain, Methods::Post),
        "/v1/whoami" => (Route::Whoami, Methods::Read),
        "/health" => (Route::Health, Methods::Read),
        "/livez" => (Route::Livez, Methods::Read),
        "/readyz" => (Route::Readyz, Methods::Read),
        _ => match transaction(path) {
            Some(route) => {
                takes(path, Methods::Post, method)?;
                (route?, Methods::Post)
            }
            None => {
                return Err(Problem::new(
                    Code::RouteUnknown,
                    "there is no such route; see the README for the list",
                ));
            }
        },
    };
    takes(path, methods, method)?;
    Ok(route)
}

/// Whether `method` is one of the `methods` of `path`.
pub(super) fn takes(path: &str, methods: Methods, method: &Method) -> Result<(), Problem> {
    let mut known = methods.as_str().split(", ");
    if known.any(|known| known == method.as_str()) {
        return Ok(());
    }
    let mut problem = Problem::new(
        Code::RouteMethodNotAllowed,
        format!("{path} takes {}, not {method}", methods.as_str()),
    );
    problem.allow = Some(methods);
    Err(problem)
}

/// `/v1/{store}/transactions/{id}/{step}`. A name that is none of ours is told like one that is not the key's.
fn transaction(path: &str) -> Option<Result<Route, Problem>> {
    let (store, rest) = path.strip_prefix("/v1/")?.split_once("/transactions/")?;
    let store = match store {
        "postgres" => Store::Postgres,
        "mysql" => Store::Mysql,
        _ => return None,
    };
    let (id, step) = rest.split_once('/')?;
    let step = match step {
        "query" => Step::Query,
        "commit" => Step::Commit,
        "rollback" => Step::RollBack,
        _ => return None,
    };
    Some(match TransactionId::parse(id) {
        Some(id) => Ok(Route::Transaction(Going { store, id, step })),
        None => Err(Fault::NotFound.problem()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_exact() {
        let check = |method: Method, path: &str, expected: Option<Route>| {
            assert_eq!(find(&method, path).ok(), expected, "{method} {path}");
        };
        check(
            Method::POST,
            "/v1/mysql/query",
            Some(Route::Query(Store::Mysql)),
        );
        check(Method::GET, "/v1/mysql/query", None);
        check(Method::POST, "/v1/mysql/query/", None);
        check(Method::POST, "/v1/redis/query", None);
        check(Method::POST, "//v1/mysql/query", None);
        check(
            Method::POST,
            "/v1/postgres/batch",
            Some(Route::Batch(Store::Postgres)),
        );
        check(Method::POST, "/v1/redis/batch", None);
        let id = TransactionId::random().unwrap();
        for (path, step) in [
            ("query", Some(Step::Query)),
            ("commit", Some(Step::Commit)),
            ("rollback", Some(Step::RollBack)),
            ("", None),
            ("query/", None),
        ] {
            check(
                Method::POST,
                &format!("/v1/mysql/transactions/{id}/{path}"),
                step.map(|step| {
                    Route::Transaction(Going {
                        store: Store::Mysql,
                        id,
                        step,
                    })
                }),
            );
        }
        let unnamed = find(&Method::POST, "/v1/mysql/transactions/tx_1/commit");
        assert_eq!(unnamed.unwrap_err().code, Code::TransactionNotFound);
        check(Method::GET, "/health", Some(Route::Health));
        check(Method::HEAD, "/livez", Some(Route::Livez));
        for (method, path, allow) in [
            (Method::GET, "/v1/mysql/query", Methods::Post),
            (
                Method::GET,
                "/v1/mysql/transactions/tx_1/commit",
                Methods::Post,
            ),
            (Method::DELETE, "/v1/whoami", Methods::Read),
            (Method::OPTIONS, "/health", Methods::Read),
        ] {
            let problem = find(&method, path).unwrap_err();
            let told = (problem.code, problem.allow);
            assert_eq!(told, (Code::RouteMethodNotAllowed, Some(allow)), "{path}");
        }
    }
}
