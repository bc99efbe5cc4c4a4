//! `tapline diff`: two calls side by side, message by message and word by word.

use super::{
    output::Output,
    reach::{Reach, segment},
    show,
};
use crate::report::{
    CallDiff, Tone,
    diff::{PieceChange, PieceDiff, WordDiff},
    figures::{self, printable},
    text::{self, Look},
};

/// Characters of unchanged text around a change, and of a piece that came or went.
const AROUND: usize = 60;
const WHOLE: usize = 600;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: tapline diff 019ab3f2c4d17 019ab3f2c5e08")]
pub(super) struct Args {
    /// The call before: its id, the first digits of it, or a span id.
    from: String,
    /// The call after; `last` for the newest.
    to: String,
    /// Unchanged messages and whole texts too.
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
    let from = segment(&args.from)?;
    let to = if args.to == "last" { show::last(&api).await? } else { segment(&args.to)? };
    let diff: CallDiff = api.json(&format!("/api/v1/calls/{from}/diff/{to}"), &[]).await?;
    if args.json {
        output.line(&serde_json::to_string_pretty(&diff)?)?;
        return Ok(output.flush()?);
    }
    let look = output.look;
    output.line(&format!("{} → {}", diff.from, diff.to))?;
    for parameter in &diff.parameters {
        let shown = |value: &Option<serde_json::Value>| {
            value
                .as_ref()
                .map_or_else(|| "absent".to_owned(), |value| figures::one_line(&value.to_string(), 200))
        };
        let before = text::paint(Tone::Bad, &shown(&parameter.before), look);
        let after = text::paint(Tone::Good, &shown(&parameter.after), look);
        output.line(&format!("{}: {before} → {after}", printable(&parameter.name)))?;
    }
    let same = diff.prompt.iter().filter(|piece| piece.change == PieceChange::Same).count();
    output.line(&format!(
        "prompt: {} of {} parts are the same, the first {} of them in a row",
        same,
        diff.prompt.len(),
        diff.shared_prefix
    ))?;
    for (title, pieces) in [("", &diff.prompt), ("answer", &diff.answer)] {
        if !title.is_empty() && pieces.iter().any(|piece| piece.change != PieceChange::Same) {
            output.line(&format!("\n{title}"))?;
        }
        for piece in pieces {
            let page = shown(piece, args.full, look);
            output.write(&page)?;
        }
    }
    Ok(output.flush()?)
}

fn shown(piece: &PieceDiff, full: bool, look: Look) -> String {
    let (tone, mark) = match piece.change {
        PieceChange::Same if !full => return String::new(),
        PieceChange::Same => (Tone::Faint, "="),
        PieceChange::Added => (Tone::Good, "+"),
        PieceChange::Removed => (Tone::Bad, "-"),
        PieceChange::Changed => (Tone::Warning, "~"),
    };
    let place = |at: Option<usize>| at.map_or_else(|| "·".to_owned(), |at| (at + 1).to_string());
    let mut head =
        format!("{mark} {} {} ({} → {})", kind(piece), piece.label, place(piece.before), place(piece.after));
    if !piece.markers.is_empty() {
        let names: Vec<_> = piece.markers.iter().map(|marker| marker.as_str()).collect();
        head.push_str(&format!(", only in: {}", names.join(", ")));
    }
    let mut page = format!("{}\n", text::paint(tone, &printable(&head), look));
    let body = words(&piece.words, full, look);
    for line in body.lines() {
        page.push_str(&format!("    {line}\n"));
    }
    page
}

fn kind(piece: &PieceDiff) -> &'static str {
    use crate::model::lineage::ElementKind;
    match piece.kind {
        ElementKind::Tool => "tool",
        ElementKind::System => "system",
        ElementKind::Parameter => "parameter",
        ElementKind::Message => "message",
    }
}

/// As `git diff --word-diff` writes it: `[-gone-]{+come+}`.
fn words(words: &[WordDiff], full: bool, look: Look) -> String {
    let mut text = String::new();
    for (at, word) in words.iter().enumerate() {
        let shown = printable(&word.text);
        match word.change {
            PieceChange::Removed => {
                text.push_str(&text::paint(Tone::Bad, &format!("[-{}-]", cut(&shown, full)), look));
            }
            PieceChange::Added if words.len() == 1 => {
                text.push_str(&text::paint(Tone::Good, &cut(&shown, full), look));
            }
            PieceChange::Added => {
                text.push_str(&text::paint(Tone::Good, &format!("{{+{}+}}", cut(&shown, full)), look));
            }
            _ if full => text.push_str(&shown),
            _ => {
                let all: Vec<char> = shown.chars().collect();
                let (first, last) = (at == 0, at + 1 == words.len());
                if all.len() <= 2 * AROUND {
                    text.push_str(&shown);
                    continue;
                }
                let head: String = all.iter().take(AROUND).collect();
                let tail: String = all.iter().skip(all.len() - AROUND).collect();
                text.push_str(if first { "" } else { &head });
                text.push('…');
                text.push_str(if last { "" } else { &tail });
            }
        }
    }
    text
}

fn cut(text: &str, full: bool) -> String {
    if full || text.chars().count() <= WHOLE {
        return text.to_owned();
    }
    text.chars().take(WHOLE).chain(['…']).collect()
}
