//! What something on the way may have read in another way: for whom a request says that it is, and how its body is
//! framed. Whoever sends such a request is not asked for another.

use hyper::header::{CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Request, Response, Version};

/// Why a request cannot be taken for one that all read alike; `None` where it can.
pub(super) fn doubtful<B>(request: &Request<B>) -> Option<&'static str> {
    host(request).or_else(|| coding(request))
}

/// Nothing here depends on the host. Something on the way may: what it saw as a request to one host must not be
/// another's here (RFC 9112 section 3.2, RFC 9113 section 8.3.1).
fn host<B>(request: &Request<B>) -> Option<&'static str> {
    if request.method() == Method::CONNECT {
        return Some("this is no proxy: `CONNECT` leads nowhere");
    }
    let mut hosts = request.headers().get_all(HOST).into_iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        return Some("there are two `Host` headers: send one");
    }
    let Some(target) = request.uri().authority() else {
        let is_missing = host.is_none() && request.version() == Version::HTTP_11;
        return is_missing.then_some("there is no `Host` header: send one");
    };
    if target.as_str().contains('@') {
        return Some("the request's target has a user in it: leave it out");
    }
    let agrees = host.is_none_or(|host| {
        host.as_bytes()
            .eq_ignore_ascii_case(target.as_str().as_bytes())
    });
    (!agrees).then_some("the request's target names another host than its `Host` header")
}

/// hyper looks at the last transfer coding alone, and would hand on a body that is still packed as if it were not
/// (RFC 9112 section 6.1).
fn coding<B>(request: &Request<B>) -> Option<&'static str> {
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).into_iter();
    let is_chunked = |coding: &HeaderValue| {
        coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked")
    };
    let are_known = codings.next().is_none_or(is_chunked) && codings.next().is_none();
    (!are_known).then_some(
        "the only transfer coding that is understood is `chunked`, once: pack a body by `Content-Encoding`",
    )
}

/// Ends the connection after this reply. HTTP/2 has no such field, and hyper leaves it out there.
pub(super) fn close<B>(reply: &mut Response<B>) {
    let close = HeaderValue::from_static("close");
    reply.headers_mut().insert(CONNECTION, close);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_to_one_host() {
        let check = |version, target: &str, hosts: &[&str], taken: bool| {
            let mut request = Request::get(target).version(version);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            let request = request.body(()).unwrap();
            assert_eq!(doubtful(&request).is_none(), taken, "{target} {hosts:?}");
        };
        check(Version::HTTP_11, "/livez", &["a"], true);
        check(Version::HTTP_11, "/livez", &[], false);
        check(Version::HTTP_10, "/livez", &[], true);
        check(Version::HTTP_11, "/livez", &["a", "a"], false);
        check(Version::HTTP_11, "http://a:1/livez", &["A:1"], true);
        check(Version::HTTP_11, "http://a:1/livez", &["a"], false);
        check(Version::HTTP_11, "http://u@a/livez", &["u@a"], false);
        check(Version::HTTP_2, "http://a/livez", &[], true);
        check(Version::HTTP_2, "http://a/livez", &["b"], false);
    }

    #[test]
    fn a_body_is_chunked_or_not() {
        for (codings, taken) in [
            (&[][..], true),
            (&["chunked"], true),
            (&["Chunked "], true),
            (&["gzip, chunked"], false),
            (&["gzip", "chunked"], false),
            (&["chunked, chunked"], false),
            (&["identity, chunked"], false),
            (&[", chunked"], false),
            (&["gzip"], false),
            (&[""], false),
        ] {
            let mut request = Request::post("/v1/explain").header(HOST, "a");
            for coding in codings {
                request = request.header(TRANSFER_ENCODING, *coding);
            }
            let request = request.body(()).unwrap();
            assert_eq!(doubtful(&request).is_none(), taken, "{codings:?}");
        }
    }
}
