//! `tapline simulate`: the built-in provider on a port of its own.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;

use super::{output::Output, signals};
use crate::simulate::{self, Config};

/// An OpenAI-compatible server that makes its answers up: for demos, tests, and trying a program without a key.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example: tapline simulate --latency 300ms --listen 127.0.0.1:4010\n\n\
    Faults are asked for with a request header, or after an @ in the model's name:\n  \
    x-simulate: status=429;retry_after=1;times=2   an error, for the first two of equal requests\n  \
    x-simulate: error_after=5                      an error event after five events of a stream\n  \
    x-simulate: cut_after=5 | reset_after=5        the connection ends there, or is reset\n  \
    x-simulate: latency_ms=900;chunk_ms=20;stall_ms=3000;tokens=200;refuse\n  \
    x-simulate: cache_miss;cache_diagnosis=tools_changed   the prompt cache serves nothing, and why it says so\n  \
    model: sim-small@status=503")]
pub struct Args {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:4010", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// From a request to the first byte of its answer.
    #[arg(long, default_value = "120ms", value_parser = duration, value_name = "DURATION")]
    pub latency: Duration,
    /// Between two events of a stream.
    #[arg(long, default_value = "15ms", value_parser = duration, value_name = "DURATION")]
    pub chunk_interval: Duration,
    /// Makes answers reproducible byte for byte: ids and times too.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Demand this API key; may be given several times.
    #[arg(long = "key", value_name = "KEY")]
    pub keys: Vec<String>,
}

/// Reads `120ms`, `1.5s`, `2m` or `0`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a duration such as 120ms, 1.5s or 2m, found {text:?}");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let seconds = match text.strip_prefix(digits) {
        Some("ms") => number / 1e3,
        Some("s") => number,
        Some("m") => number * 60.0,
        Some("") if number == 0.0 => 0.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

/// Serves until Ctrl-C or SIGTERM.
pub async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("could not listen on {}; choose another with --listen", args.listen))?;
    let address = listener.local_addr()?;
    output.line(&format!(
        "simulated provider on http://{address}/v1 (models sim-small, sim-large, sim-embed, and any gpt-* or claude-*)"
    ))?;
    output.line(&format!(
        "try: curl http://{address}/v1/chat/completions -H 'content-type: application/json' \\"
    ))?;
    output.line(
        "  -d '{\"model\":\"sim-small\",\"messages\":[{\"role\":\"user\",\"content\":\"What is an index?\"}]}'",
    )?;
    output.flush()?;
    let config = Config {
        latency: args.latency,
        chunk_interval: args.chunk_interval,
        seed: args.seed,
        keys: args.keys,
    };
    simulate::serve(listener, config, signals::stop()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        assert_eq!(duration("120ms"), Ok(Duration::from_millis(120)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for wrong in ["", "5", "-1s", "1h", "ms", "1e400s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
