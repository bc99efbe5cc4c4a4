//! `tapline log`: a session as it was spoken, call by call.

use super::{FAILED, Stop, line, output::Output, reach::Reach, sessions, step};
use crate::{
    api::{LogEntry, SessionLog},
    model::exchange::{Message, MessagePart},
    report::{
        Tone,
        figures::{self, printable},
        text::{self, Look},
    },
};

/// Characters of a message that a log shows.
const WIDTH: usize = 160;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: tapline log last\n         tapline log s-4f3a9c21d0e1 --skip 50")]
pub(super) struct Args {
    /// Session id, the beginning of one, or `last`.
    session: String,
    /// Calls at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Calls to leave out at the beginning.
    #[arg(long, default_value_t = 0)]
    skip: u64,
    /// Whole messages.
    #[arg(long)]
    full: bool,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    let api = args.reach.open(output).await?;
    let id = sessions::named(&api, &args.session).await?;
    let query = [("limit", args.limit.to_string()), ("skip", args.skip.to_string())];
    let log: SessionLog = api.json(&format!("/api/v1/sessions/{id}/log"), &query).await?;
    if args.json {
        output.line(&serde_json::to_string_pretty(&log)?)?;
        return Ok(output.flush()?);
    }
    let head = step::session_head(&log.session, output.look);
    output.line(&head)?;
    for entry in &log.entries {
        let text = call(entry, args.full, output);
        output.write(&text)?;
    }
    output.flush()?;
    if log.entries.is_empty() {
        return Err(Stop::error(FAILED, "no call was found"));
    }
    if let Some(next) = log.next_skip {
        output.note(&format!("there are more; --skip {next} gives them"));
    }
    Ok(())
}

fn call(entry: &LogEntry, full: bool, output: &Output) -> String {
    let look = output.look;
    let mut page = format!("\n{}\n", step::line(&entry.step, output));
    for message in &entry.added {
        said(&mut page, &message.role, message, full, look);
    }
    for choice in &entry.answer {
        said(&mut page, "→", &choice.message, full, look);
    }
    if let Some(error) = &entry.error_message {
        let (tone, mark) = line::mark(entry.step.status);
        page.push_str(&format!(
            "  {:<10} {}\n",
            mark,
            text::paint(tone, &figures::one_line(error, WIDTH), look)
        ));
    }
    page
}

fn said(page: &mut String, speaker: &str, message: &Message, full: bool, look: Look) {
    for part in &message.parts {
        let (mark, content) = match part {
            MessagePart::Text { content } | MessagePart::Refusal { content } => {
                (speaker.to_owned(), content.clone())
            }
            MessagePart::Reasoning { content } => ("thinking".to_owned(), content.clone()),
            MessagePart::ToolCall { name, arguments, .. } => {
                ("calls".to_owned(), format!("{name}({arguments})"))
            }
            MessagePart::ToolCallResponse { response, .. } => {
                ("result".to_owned(), response.as_str().map_or_else(|| response.to_string(), str::to_owned))
            }
            MessagePart::Blob { modality, bytes, .. } => {
                (speaker.to_owned(), format!("({modality}, {bytes} bytes)"))
            }
            MessagePart::Uri { modality, uri, .. } => (speaker.to_owned(), format!("({modality}: {uri})")),
            MessagePart::File { file_id } => (speaker.to_owned(), format!("(file {file_id})")),
            MessagePart::Other { value } => (speaker.to_owned(), value.to_string()),
        };
        let mark = format!("{:<10}", printable(&mark));
        if full {
            for line in content.lines() {
                page.push_str(&format!("  {} {}\n", text::paint(Tone::Faint, &mark, look), printable(line)));
            }
        } else {
            let content = figures::one_line(&content, WIDTH);
            page.push_str(&format!("  {} {content}\n", text::paint(Tone::Faint, &mark, look)));
        }
    }
}
