//! Whom a request is addressed to (RFC 9110, 7.2), and whether the page that sent it is of the same site (RFC 6454).
//! What cannot be read is foreign.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Uri};
use url::{Origin, Url};

/// The host that a request is for, with its port if it names one. Empty if it names none, as HTTP/1.0 may.
#[must_use]
pub fn host<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> &'r str {
    let named = || headers.get(HOST).and_then(|host| host.to_str().ok());
    // A colon without a port behind it says nothing (RFC 3986, 6.2.3).
    uri.authority().map(Authority::as_str).or_else(named).unwrap_or_default().trim_end_matches(':')
}

/// Whether a host can be only this machine: a loopback address, `localhost`, or the address that it listens on. Any other
/// name may be one that somebody has made to resolve to this machine, so that their pages count as pages of it (DNS
/// rebinding). An address cannot be; if it listens on all addresses, each of them is its own.
#[must_use]
pub fn is_own_host(host: &str, listens_on: IpAddr) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).parse::<IpAddr>();
    address.is_ok_and(|address| {
        let address = address.to_canonical();
        address.is_loopback() || address == listens_on.to_canonical() || listens_on.is_unspecified()
    })
}

/// Whether a page of another site sent a request that is for `host`. Programs send no `Origin`; browsers send one with
/// everything that is not a `GET` or `HEAD`.
#[must_use]
pub fn is_foreign(headers: &HeaderMap, host: &str) -> bool {
    headers.get_all(ORIGIN).iter().any(|origin| {
        let own = origin.to_str().ok().and_then(|origin| Url::parse(origin).ok()).is_some_and(|origin| {
            // A proxy may have taken TLS off, so the scheme is that of the page.
            let own = Url::parse(&format!("{}://{host}", origin.scheme())).map(|own| own.origin());
            own.is_ok_and(|own| matches!(own, Origin::Tuple(..)) && own == origin.origin())
        });
        !own
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_hosts_that_nobody_else_can_name_are_own() {
        let loopback: IpAddr = [127, 0, 0, 1].into();
        for host in [
            "127.0.0.1",
            "127.0.0.1:9090",
            "127.1.2.3:1",
            "localhost",
            "LocalHost:9090",
            "[::1]",
            "[::1]:9090",
            "[::ffff:127.0.0.1]:9090",
        ] {
            assert!(is_own_host(host, loopback), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9090",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "evil.example@127.0.0.2.example",
            "10.0.0.1:9090",
            "0.0.0.0",
            "[::2]",
            "a b",
        ] {
            assert!(!is_own_host(host, loopback), "{host}");
        }
        let private: IpAddr = [10, 0, 0, 1].into();
        assert!(is_own_host("10.0.0.1:9090", private) && !is_own_host("10.0.0.2:9090", private));
        let all: IpAddr = [0, 0, 0, 0].into();
        assert!(is_own_host("192.168.1.9:8080", all) && !is_own_host("evil.example", all));
    }

    #[test]
    fn an_origin_is_foreign_unless_it_is_that_of_the_host() {
        let is_foreign = |origin: &'static str, host| {
            super::is_foreign(&HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))]), host)
        };
        for (origin, host) in [
            ("http://localhost:9090", "localhost:9090"),
            ("http://LOCALHOST:9090", "localhost:9090"),
            ("http://[::1]:9090", "[::1]:9090"),
            ("https://admin.example", "admin.example"),
            ("https://admin.example", "admin.example:443"),
        ] {
            assert!(!is_foreign(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("null", "localhost:9090"),
            ("", "localhost:9090"),
            ("http://evil.example", "localhost:9090"),
            ("http://localhost:3000", "localhost:9090"),
            ("http://localhost", "localhost:9090"),
            ("http://127.0.0.1:9090", "localhost:9090"),
            ("file://", ""),
            ("file:///", "localhost"),
            ("data:,", "localhost"),
            ("http://admin.example", "admin.example:443"),
        ] {
            assert!(is_foreign(origin, host), "{origin} {host}");
        }
        assert!(!super::is_foreign(&HeaderMap::new(), "localhost"), "a program");
    }

    #[test]
    fn the_target_names_the_host_before_the_field() {
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("a:"))]);
        assert_eq!(host(&Uri::from_static("/x"), &headers), "a");
        assert_eq!(host(&Uri::from_static("http://b:80/x"), &headers), "b:80");
        assert_eq!(host(&Uri::from_static("/x"), &HeaderMap::new()), "");
    }
}
