//! The verbs against a server: a real socket between them.

use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{mpsc, watch};

use super::{Buffer, words};
use crate::{
    api::{Fresh, State, router, sample_calls},
    capture::recorder,
    cli::{Cli, Stop, install_tls, output::Output},
    store::{Config, Store},
};
use clap::Parser;

struct Server {
    store: Store,
    url: String,
    stop: watch::Sender<bool>,
    /// How often the server was asked.
    asked: watch::Receiver<usize>,
    _directory: tempfile::TempDir,
}

async fn serve() -> Server {
    install_tls();
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&Config::default(), directory.path()).unwrap();
    let (stop, stopped) = watch::channel(false);
    let (count, asked) = watch::channel(0);
    let fresh: Fresh = Arc::new(move || {
        count.send_modify(|count| *count += 1);
        Box::pin(std::future::ready(()))
    });
    let state = State::new(store.clone(), fresh, recorder::now).stopping(stopped);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router(state)).await });
    Server { store, url, stop, asked, _directory: directory }
}

async fn run(server: &Server, line: &str) -> (Vec<u8>, Result<(), u8>) {
    let buffer = Buffer::default();
    let mut output = Output::to(Box::new(buffer.clone()));
    let cli = Cli::try_parse_from(words(line).chain(["--url", &server.url])).unwrap();
    let result = cli.command.run(&mut output).await;
    let code = result.map_err(|error| error.downcast_ref::<Stop>().map_or(u8::MAX, |stop| stop.code));
    let written = buffer.0.lock().unwrap().clone();
    (written, code)
}

#[tokio::test]
async fn verbs_ask_the_server() {
    let server = serve().await;
    assert_eq!(run(&server, "calls").await, (Vec::new(), Err(1)));
    server.store.settle(sample_calls()).await.unwrap();
    let (text, code) = run(&server, "calls").await;
    assert_eq!((String::from_utf8(text).unwrap().lines().count(), code), (3, Ok(())));
    assert_eq!(run(&server, "calls --status fine").await.1, Err(2));
    assert_eq!(run(&server, "show ffffffff").await.1, Err(1));
}

#[tokio::test]
async fn inv8_an_encoded_body_is_not_decoded_on_the_way() {
    let server = serve().await;
    let mut calls = sample_calls();
    // Not gzip at all: a client that tried to decode it would fail.
    let mut headers = calls[0].call.response_headers.to_vec();
    headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
    calls[0].call.response_headers = headers.into();
    let exact = calls[0].response.bytes();
    let id = calls[0].call.id;
    server.store.settle(calls).await.unwrap();
    let (bytes, code) = run(&server, &format!("show {id} --raw response")).await;
    assert_eq!((bytes, code), (exact.to_vec(), Ok(())));
}

/// Hands over each line as it is written.
struct Lines {
    partial: Vec<u8>,
    to: mpsc::UnboundedSender<String>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            if *byte == b'\n' {
                let line = String::from_utf8(std::mem::take(&mut self.partial)).unwrap();
                self.to.send(line).map_err(|_| io::ErrorKind::BrokenPipe)?;
            } else {
                self.partial.push(*byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_tail_takes_up_again_where_it_was_cut() {
    let server = serve().await;
    let mut calls = sample_calls().into_iter();
    server.store.settle(calls.next().into_iter().collect()).await.unwrap();
    let (to, mut lines) = mpsc::unbounded_channel();
    let tail = async {
        let mut output = Output::to(Box::new(Lines { partial: Vec::new(), to }));
        let line = "tail --json --from-start";
        let cli = Cli::try_parse_from(words(line).chain(["--url", &server.url])).unwrap();
        cli.command.run(&mut output).await
    };
    let mut session = async || {
        let line = tokio::time::timeout(Duration::from_secs(20), lines.recv()).await.unwrap().unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["session"].clone()
    };
    let script = async {
        assert_eq!(session().await, "session-1");
        server.stop.send(true).unwrap();
        // Asked whether it is there, tailed, and tailed again: the first tail was cut.
        server.asked.clone().wait_for(|asked| *asked >= 3).await.unwrap();
        server.store.settle(calls.next().into_iter().collect()).await.unwrap();
        server.stop.send(false).unwrap();
        // The first call is not told again although the tail began at the start.
        assert_eq!(session().await, "session-2");
    };
    tokio::select! {
        result = tail => panic!("a tail goes on until it is stopped, found {result:?}"),
        () = script => {}
    }
}
