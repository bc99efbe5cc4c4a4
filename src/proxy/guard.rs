//! Keeps web pages of other sites out: a page may make its visitor's browser call a server on loopback
//! (cross-site request forgery), also under the page's own host name (DNS rebinding).

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, Uri, header};
use serde::{Deserialize, Serialize};

use super::{respond::Refusal, route::Owner};

/// Names beyond loopback under which tapline is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Host names, without port, that the management faces answer to; `*` for any.
    pub allowed_hosts: Vec<String>,
    /// Origins (`https://app.example`) of pages that may call; `*` for any.
    pub allowed_origins: Vec<String>,
}

/// What a probe or a load balancer asks under whatever name it knows; it tells nothing of what was recorded.
/// MLflow's server has the same two.
const ANY_HOST: [&str; 2] = ["/health", "/version"];

#[derive(Debug, Clone)]
pub struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Guard {
    pub fn new(config: &Config) -> Self {
        let lower = |list: &[String]| list.iter().map(|entry| entry.to_ascii_lowercase()).collect();
        Self { hosts: lower(&config.allowed_hosts), origins: lower(&config.allowed_origins) }
    }

    /// Refuses what a foreign page may have sent. A management face must be called by a name that is its
    /// own and, by a browser, from its own page. A proxy path takes any name (its callers are programs)
    /// and pages of this machine.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap, owner: Owner) -> Result<(), Refusal> {
        let host = match self.host(uri, headers) {
            Ok(host) => host,
            Err(refusal) if owner == Owner::Management && !ANY_HOST.contains(&uri.path()) => {
                return Err(refusal);
            }
            Err(_) => String::new(),
        };
        let Some(origin) = only(headers, &header::ORIGIN)? else {
            return Ok(());
        };
        let origin = origin.to_ascii_lowercase();
        if listed(&self.origins, &origin) {
            return Ok(());
        }
        // `null` (a sandboxed page, a file) parses to no authority and is refused.
        let site = origin.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned());
        let welcome = site.is_some_and(|site| match owner {
            Owner::Management => !host.is_empty() && site.as_str() == host,
            Owner::Proxy => is_loopback(bare(site.host())),
        });
        if welcome { Ok(()) } else { Err(Refusal::foreign_origin(&origin)) }
    }

    /// The authority that the client named, if it may name it.
    fn host(&self, uri: &Uri, headers: &HeaderMap) -> Result<String, Refusal> {
        let named = match uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => only(headers, &header::HOST)?,
        };
        let named = named.unwrap_or_default().to_ascii_lowercase();
        let authority: Option<http::uri::Authority> = named.parse().ok();
        let name = authority.as_ref().map(|authority| bare(authority.host()).to_owned()).unwrap_or_default();
        let known = is_loopback(&name) || name.parse::<IpAddr>().is_ok() || listed(&self.hosts, &name);
        if known { Ok(named) } else { Err(Refusal::foreign_host(&name)) }
    }
}

fn listed(list: &[String], entry: &str) -> bool {
    list.iter().any(|allowed| allowed == "*" || allowed == entry)
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// `localhost` and names under it resolve to loopback in every browser.
fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The value of a header that may stand only once; more than one is a trick.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Refusal::ambiguous(name)),
        (Some(_), Some(_)) => Err(Refusal::ambiguous(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(guard: &Guard, owner: Owner, headers: &[(&str, &str)]) -> bool {
        let mut request = http::Request::get("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        guard.check(request.uri(), request.headers(), owner).is_ok()
    }

    #[test]
    fn management_answers_to_its_own_names() {
        let guard =
            Guard::new(&Config { allowed_hosts: vec!["Tap.Example".to_owned()], ..Config::default() });
        for host in [
            "localhost:4000",
            "LOCALHOST",
            "127.0.0.1:4000",
            "[::1]:4000",
            "10.0.0.7",
            "tap.example:80",
            "a.localhost",
        ] {
            assert!(allows(&guard, Owner::Management, &[("host", host)]), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "tap.example.evil"]
        {
            assert!(!allows(&guard, Owner::Management, &[("host", host)]), "{host}");
            assert!(allows(&guard, Owner::Proxy, &[("host", host)]), "{host}");
        }
        assert!(!allows(&guard, Owner::Management, &[]));
        assert!(!allows(&guard, Owner::Management, &[("host", "localhost"), ("host", "evil.example")]));
    }

    #[test]
    fn probes_may_use_any_name_and_foreign_pages_may_not_probe() {
        let guard = Guard::new(&Config::default());
        let allows = |path: &str, headers: &[(&str, &str)]| {
            let mut request = http::Request::get(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(()).unwrap();
            guard.check(request.uri(), request.headers(), Owner::Management).is_ok()
        };
        let foreign = ("host", "tracking.internal:5000");
        for path in ["/health", "/version", "/version?a=b"] {
            assert!(allows(path, &[foreign]), "{path}");
            assert!(!allows(path, &[foreign, ("origin", "http://tracking.internal:5000")]), "{path}");
        }
        for path in ["/health/", "/version/x", "/healthz", "/", "//health", "/api/2.0/mlflow/runs/get"] {
            assert!(!allows(path, &[foreign]), "{path}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let guard = Guard::new(&Config {
            allowed_origins: vec!["https://app.example".to_owned()],
            ..Config::default()
        });
        let host = ("host", "localhost:4000");
        for (origin, management, proxy) in [
            ("http://localhost:4000", true, true),
            ("http://localhost:3000", false, true),
            ("http://127.0.0.1:4000", false, true),
            ("http://evil.example", false, false),
            ("http://localhost.evil.example", false, false),
            ("https://app.example", true, true),
            ("null", false, false),
        ] {
            assert_eq!(
                allows(&guard, Owner::Management, &[host, ("origin", origin)]),
                management,
                "{origin}"
            );
            assert_eq!(allows(&guard, Owner::Proxy, &[host, ("origin", origin)]), proxy, "{origin}");
        }
    }
}
