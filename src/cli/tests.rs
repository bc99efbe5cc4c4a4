//! The arguments, and every verb over a real store read inside this process.

mod served;

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use clap::{CommandFactory, Parser};

use super::{Cli, Stop, is_broken_pipe, output::Output};
use crate::store::{Config, Store};

#[test]
fn the_commands_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_has_an_example() {
    for verb in Cli::command().get_subcommands() {
        let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains(&format!("tapline {}", verb.get_name())), "{}: {help}", verb.get_name());
    }
}

#[test]
fn arguments_are_read() {
    let good = [
        "tail --status error --json",
        "calls --model gpt-4o --since 7d --limit 5 --csv",
        "calls --all --json --url http://127.0.0.1:1 --data x",
        "show last --headers",
        "show 019ab3 --raw response",
        "runs --experiment a",
        "experiments",
        "cost --by model,day --since 7d",
    ];
    for line in good {
        assert!(Cli::try_parse_from(words(line)).is_ok(), "{line}");
    }
    for line in [
        "",
        "calls --limit 0",
        "calls --json --csv",
        "show",
        "show x --raw both",
        "calls --all --limit 3",
        "cals",
    ] {
        let error = Cli::try_parse_from(words(line)).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    std::iter::once("tapline").chain(line.split_whitespace())
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs a command over a store with two calls; what it wrote, and the code of its end.
async fn run(line: &str) -> (String, Result<(), u8>) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&Config::default(), directory.path()).unwrap();
    store.settle(crate::api::sample_calls()).await.unwrap();
    let buffer = Buffer::default();
    let mut output = Output::to(Box::new(buffer.clone()));
    let data = directory.path().to_str().unwrap().to_owned();
    let cli = Cli::try_parse_from(words(line).chain(["--data", &data])).unwrap();
    let result = cli.command.run(&mut output).await;
    let code = result.map_err(|error| error.downcast_ref::<Stop>().map_or(u8::MAX, |stop| stop.code));
    let written = buffer.0.lock().unwrap().clone();
    (String::from_utf8(written).unwrap(), code)
}

#[tokio::test]
async fn lists_are_plain_text_in_a_pipe() {
    let (text, code) = run("calls").await;
    assert_eq!(code, Ok(()));
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(
        lines[1].contains("gpt-4o") && lines[1].contains("1.50s") && lines[1].contains("$0.0020"),
        "{text}"
    );
    assert!(lines[1].contains("100→20") && lines[1].contains("run-1/session-2"), "{text}");
}

#[tokio::test]
async fn lists_have_forms_for_programs() {
    let (text, _) = run("calls --json --all").await;
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(rows.len(), 2);
    let (text, _) = run("calls --csv --limit 1").await;
    assert_eq!(text.lines().count(), 2, "{text}");
    let (text, _) = run("runs --json").await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()[0]["name"], "run-1");
    let (text, _) = run("experiments").await;
    assert!(text.contains("tuning"), "{text}");
}

#[tokio::test]
async fn nothing_found_is_a_code_of_its_own() {
    assert_eq!(run("calls --model none").await, (String::new(), Err(1)));
    assert_eq!(run("calls --model none --json").await, ("[]\n".to_owned(), Err(1)));
    assert_eq!(run("show ffffffff").await.1, Err(1));
    assert_eq!(run("cost --until 2020-01-01").await.1, Err(1));
}

#[tokio::test]
async fn what_the_api_refuses_is_wrong_usage() {
    for line in
        ["calls --status fine", "calls --min-cost cheap", "cost --by colour", "show zz", "tail --since soon"]
    {
        assert_eq!(run(line).await.1, Err(2), "{line}");
    }
}

#[tokio::test]
async fn costs_have_a_line_of_totals() {
    let (text, code) = run("cost --by model,day").await;
    assert_eq!(code, Ok(()));
    let last =
        text.lines().find(|line| line.trim_start().starts_with("total")).unwrap_or_else(|| panic!("{text}"));
    assert!(last.contains("$0.0030"), "{text}");
}

#[tokio::test]
async fn a_call_is_shown_readably() {
    let (text, code) = run("show last --headers").await;
    assert_eq!(code, Ok(()));
    for part in [
        "✓ ok chat gpt-4o",
        "first token after 300ms",
        "tokens (reported)",
        "cache read     40",
        "$0.002 by 2026-11/openai/gpt-4o@2026-01-01",
        "→ user\n  hi\n",
        "← assistant (stop)\n  Hello\n",
        "authorization  Bearer ***",
        "run-1 (by header)",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let (text, _) = run("show last --json").await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["session"], "session-2");
}

#[tokio::test]
async fn inv8_raw_bodies_are_exact() {
    let (text, _) = run("show last --raw request").await;
    assert_eq!(text.as_bytes(), crate::api::sample_calls()[0].request.bytes());
    let (text, _) = run("show last --raw response").await;
    assert!(text.starts_with("data: ") && text.ends_with("[DONE]\n\n"), "{text}");
}

#[tokio::test]
async fn neither_server_nor_store_is_a_code_of_its_own() {
    super::install_tls();
    let empty = tempfile::tempdir().unwrap();
    let data = empty.path().to_str().unwrap();
    // Port 9 (discard) of this machine: nothing listens there.
    for line in [format!("calls --data {data}"), format!("runs --url http://127.0.0.1:9 --data {data}")] {
        let cli = Cli::try_parse_from(words(&line)).unwrap();
        let error = cli.command.run(&mut Output::to(Box::new(io::sink()))).await.unwrap_err();
        assert_eq!(error.downcast_ref::<Stop>().map(|stop| stop.code), Some(3), "{line}: {error:#}");
    }
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&Config::default(), directory.path()).unwrap();
    store.settle(crate::api::sample_calls()).await.unwrap();
    let data = directory.path().to_str().unwrap();
    for line in ["calls", "calls --json", "show last", "cost", "tail --from-start"] {
        let cli = Cli::try_parse_from(words(line).chain(["--data", data])).unwrap();
        let error = cli.command.run(&mut Output::to(Box::new(Closed))).await.unwrap_err();
        assert!(is_broken_pipe(&error), "{line}: {error:#}");
    }
}
