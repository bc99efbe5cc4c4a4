//! Standard output and error, and how they look: colours only where a person's terminal shows them.

use std::io::{self, BufWriter, IsTerminal, Write};

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use crate::report::{
    Table, Tone,
    figures::printable,
    text::{self, Look},
};

pub(super) struct Output {
    out: Box<dyn Write + Send>,
    pub(super) look: Look,
    offset: UtcOffset,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("look", &self.look).finish_non_exhaustive()
    }
}

impl Output {
    /// Standard output. Call it before any thread is started.
    pub(super) fn of_process() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let unwanted = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            look: Look { terminal, colour: terminal && !unwanted("NO_COLOR") && !dumb },
            out: Box::new(BufWriter::new(stdout)),
            offset: UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC),
        }
    }

    #[cfg(test)]
    pub(super) fn to(out: Box<dyn Write + Send>) -> Self {
        Self { out, look: Look::default(), offset: UtcOffset::UTC }
    }

    pub(super) fn write(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }

    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.write(text)?;
        self.write("\n")
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    pub(super) fn table(&mut self, table: &Table) -> io::Result<()> {
        let text = text::table(table, self.look);
        self.write(&text)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Something the reader should know, on standard error: never in the way of the answer.
    pub(super) fn note(&self, text: &str) {
        let look = self.error_look();
        writeln!(io::stderr(), "{}", text::paint(Tone::Faint, &printable(text), look)).ok();
    }

    /// Something for a program to read, on standard error, where standard output is another's.
    pub(super) fn aside(&self, text: &str) {
        writeln!(io::stderr(), "{text}").ok();
    }

    pub(super) fn complain(&self, text: &str) {
        let look = self.error_look();
        writeln!(io::stderr(), "{} {}", text::paint(Tone::Bad, "error:", look), printable(text)).ok();
    }

    fn error_look(&self) -> Look {
        Look { colour: self.look.colour && io::stderr().is_terminal(), ..self.look }
    }

    /// Hours, minutes and seconds of an RFC 3339 time, on the reader's clock.
    pub(super) fn clock(&self, instant: &str) -> String {
        self.local(instant).map_or_else(
            || instant.to_owned(),
            |at| format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second()),
        )
    }

    /// Date and time to the second, on the reader's clock.
    pub(super) fn when(&self, instant: &str) -> String {
        self.local(instant).map_or_else(
            || instant.to_owned(),
            |at| format!("{} {:02}:{:02}:{:02}", at.date(), at.hour(), at.minute(), at.second()),
        )
    }

    fn local(&self, instant: &str) -> Option<OffsetDateTime> {
        OffsetDateTime::parse(instant, &Rfc3339).ok().map(|at| at.to_offset(self.offset))
    }
}
