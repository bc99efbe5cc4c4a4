//! The harness's arguments. Those of libtest that a plain `cargo test -- …` hands to every target are taken
//! and mean nothing here.

use std::net::{SocketAddr, ToSocketAddrs as _};

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) proxy: Option<Proxy>,
    pub(crate) upstream_port: u16,
    /// Parts of names; a case is played if it has all of them.
    pub(crate) only: Vec<String>,
    pub(crate) kills: usize,
    /// Bounds at their whole size: 10,000 streams, a GiB each way, a million events.
    pub(crate) full: bool,
    pub(crate) threads: usize,
    pub(crate) list: bool,
}

/// Another proxy than tapline, by the base URL that a client would be given.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
}

impl Args {
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Self {
            proxy: None,
            upstream_port: 0,
            only: Vec::new(),
            kills: 10,
            full: false,
            threads: 8,
            list: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("expected a value after {word}"));
            let number = |text: String| {
                text.parse::<usize>().map_err(|_| format!("expected a number after {word}, found {text:?}"))
            };
            match word.as_str() {
                "--proxy" => args.proxy = Some(proxy(&value()?)?),
                "--upstream-port" => {
                    let port = number(value()?)?;
                    args.upstream_port =
                        u16::try_from(port).map_err(|_| format!("expected a port, found {port}"))?;
                }
                "--only" => args.only.push(value()?),
                "--kills" => args.kills = number(value()?)?,
                "--threads" => args.threads = number(value()?)?.max(1),
                "--full" => args.full = true,
                "--list" => args.list = true,
                "--test-threads" | "--skip" | "--format" | "--color" => drop(value()?),
                "--nocapture" | "--quiet" | "-q" | "--show-output" | "--exact" | "--include-ignored" => {}
                word if word.starts_with('-') => {
                    return Err(format!(
                        "expected --proxy URL, --upstream-port N, --only PART, --kills N, --full, --threads N \
                         or --list, found {word}"
                    ));
                }
                part => args.only.push(part.to_owned()),
            }
        }
        if args.proxy.is_some() && args.upstream_port == 0 {
            return Err(
                "--proxy needs --upstream-port: the port that the proxy sends its calls to".to_owned()
            );
        }
        Ok(args)
    }
}

fn proxy(url: &str) -> Result<Proxy, String> {
    let wrong = || format!("expected a URL like http://127.0.0.1:8080/v1, found {url:?}");
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let address = authority.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(wrong)?;
    Ok(Proxy { address, path: path.trim_end_matches('/').to_owned() })
}
