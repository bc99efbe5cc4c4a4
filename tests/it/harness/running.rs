//! The whole binary as a process: started, asked, and ended.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

/// A running `tapline` verb; killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    /// Kept open: a program whose reader went away may end.
    _stdout: BufReader<std::process::ChildStdout>,
    pub(crate) url: String,
}

impl Running {
    /// Starts the binary and reads where it listens from its first line.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tapline"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut line).expect("a first line");
        let at = line.find("http://").unwrap_or_else(|| panic!("no address in {line:?}"));
        let url: String = line[at..].chars().take_while(|c| !c.is_whitespace() && *c != ',').collect();
        Self { child, _stdout: stdout, url: url.trim_end_matches("/v1").to_owned() }
    }

    pub(crate) fn simulator() -> Self {
        Self::start(&["simulate", "--listen", "127.0.0.1:0", "--latency", "0ms", "--chunk-interval", "2ms"])
    }

    pub(crate) fn server(upstream: &str, data: &Path) -> Self {
        Self::serving(data, &["--upstream", &format!("{upstream}/v1")])
    }

    pub(crate) fn serving(data: &Path, flags: &[&str]) -> Self {
        let data = data.to_str().expect("a plain path");
        Self::start(&[&["serve", "--listen", "127.0.0.1:0", "--data", data][..], flags].concat())
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    pub(crate) fn terminate(&mut self) -> std::process::ExitStatus {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().expect("kill is there");
        self.child.wait().expect("it ends")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(crate) fn client() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

pub(crate) async fn get(client: &reqwest::Client, url: String) -> Value {
    let response = client.get(&url).send().await.unwrap_or_else(|error| panic!("{url}: {error}"));
    assert!(response.status().is_success(), "{url}: {}", response.status());
    response.json().await.expect("JSON")
}
