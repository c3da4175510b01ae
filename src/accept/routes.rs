//! Which path is which route.

use hyper::Method;

use crate::error::{Code, Problem};
use crate::operation::Store;

/// The routes of the data listener, version 1.
///
/// `batch` and `transactions` belong here; they answer `route.unknown` until they exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Query(Store),
    MongodbCommand,
    RedisCommand,
    RedisPipeline,
    Explain,
    Whoami,
    Health,
    Livez,
    Readyz,
}

/// Finds the route, or says which method it wants.
pub fn find(method: &Method, path: &str) -> Result<Route, Problem> {
    let (route, wanted) = match path {
        "/v1/postgres/query" => (Route::Query(Store::Postgres), Method::POST),
        "/v1/mysql/query" => (Route::Query(Store::Mysql), Method::POST),
        "/v1/mongodb/command" => (Route::MongodbCommand, Method::POST),
        "/v1/redis/command" => (Route::RedisCommand, Method::POST),
        "/v1/redis/pipeline" => (Route::RedisPipeline, Method::POST),
        "/v1/explain" => (Route::Explain, Method::POST),
        "/v1/whoami" => (Route::Whoami, Method::GET),
        "/health" => (Route::Health, Method::GET),
        "/livez" => (Route::Livez, Method::GET),
        "/readyz" => (Route::Readyz, Method::GET),
        _ => {
            return Err(Problem::new(
                Code::RouteUnknown,
                "there is no such route; see the README for the list",
            ));
        }
    };
    if *method == wanted || (wanted == Method::GET && *method == Method::HEAD) {
        return Ok(route);
    }
    Err(Problem::new(
        Code::RouteUnknown,
        format!("{path} takes {wanted}, not {method}"),
    ))
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
        check(Method::GET, "/health", Some(Route::Health));
        check(Method::HEAD, "/livez", Some(Route::Livez));
    }
}
