//! `tapline tail`: calls as they are stored. A lost connection is taken up again where it broke.

use std::time::Duration;

use super::{Stop, UNREACHABLE, USAGE, filter::Filter, line, output::Output, reach::Reach};
use crate::report::CallRow;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: tapline tail --status error\n         tapline tail --json | jq .cost_usd")]
pub(super) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Begin with the first call that was ever stored.
    #[arg(long)]
    from_start: bool,
    /// One JSON document per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    let api = args.reach.open(output).await?;
    let mut query = args.filter.query();
    // Ages count from the first connection, not from each later one; the API reads them anew, which only
    // ever lets through calls that are newer.
    if args.from_start {
        query.push(("after", "0".to_owned()));
    }
    let mut events = Events::default();
    let mut pause = FIRST_PAUSE;
    let mut lost = false;
    loop {
        let resume: Vec<_> = events.last_id.iter().map(|id| ("last-event-id", id.clone())).collect();
        match api.get("/api/v1/tail", &query, &resume).await {
            Ok(answer) => {
                if std::mem::take(&mut lost) {
                    output.note("connected again");
                }
                pause = FIRST_PAUSE;
                events.begin();
                let poured = answer
                    .pour(|bytes| {
                        events.push(&bytes, |data| {
                            if args.json {
                                output.line(data)?;
                            } else {
                                let row: CallRow = serde_json::from_str(data)?;
                                let text = line::live(&row, output);
                                output.line(&text)?;
                            }
                            Ok(())
                        })?;
                        output.flush()?;
                        Ok(())
                    })
                    .await;
                if let Err(error) = poured
                    && !error.chain().any(|cause| cause.is::<axum::Error>())
                {
                    return Err(error);
                }
            }
            Err(error) => match error.downcast_ref::<Stop>() {
                Some(stop) if stop.code == USAGE => return Err(error),
                Some(stop) if stop.code == UNREACHABLE || lost => {}
                _ => return Err(error),
            },
        }
        if !lost {
            output.note("the connection was lost; trying again until it is back");
            lost = true;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Server-sent events (WHATWG) as far as our own server sends them: `id` and `data`, cut anywhere.
#[derive(Debug, Default)]
struct Events {
    line: Vec<u8>,
    data: String,
    id: Option<String>,
    /// The id of the last whole event.
    last_id: Option<String>,
}

impl Events {
    /// A new connection: what the old one left unfinished will be sent again.
    fn begin(&mut self) {
        self.line.clear();
        self.data.clear();
        self.id = None;
    }

    fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (head, after) = rest.split_at(end);
            self.line.extend_from_slice(head);
            rest = after.get(1..).unwrap_or_default();
            let line = std::mem::take(&mut self.line);
            self.take(String::from_utf8_lossy(&line).trim_end_matches('\r'), &mut each)?;
        }
        self.line.extend_from_slice(rest);
        Ok(())
    }

    fn take(&mut self, line: &str, each: &mut impl FnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            if !data.is_empty() {
                each(&data)?;
            }
            if let Some(id) = self.id.take() {
                self.last_id = Some(id);
            }
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" => self.id = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let text =
            b"retry: 1000\nid: 7\n\n: alive\n\nid: 8\nevent: call\ndata: {\"a\":1}\n\nid: 9\ndata: {\"b\"";
        for cut in 0..text.len() {
            let mut events = Events::default();
            let mut seen = Vec::new();
            for piece in [&text[..cut], &text[cut..]] {
                events
                    .push(piece, |data| {
                        seen.push(data.to_owned());
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(seen, ["{\"a\":1}"], "cut at {cut}");
            assert_eq!(events.last_id.as_deref(), Some("8"), "an unfinished event does not move the place");
            events.begin();
            events.push(b"\n", |_| panic!("nothing is left of the old connection")).unwrap();
        }
    }
}
