//! Tables as text: ruled and coloured on a terminal, plain aligned columns in a pipe.

use comfy_table::{Cell as Drawn, CellAlignment, Color, ContentArrangement, presets};

use super::{
    figures::{self, UNKNOWN},
    table::{Cell, Table, Tone},
};

/// Where the text goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// A person's terminal: rules, and lines no wider than it.
    pub terminal: bool,
    /// Escape sequences for colours are welcome.
    pub colour: bool,
}

pub fn table(table: &Table, look: Look) -> String {
    let mut drawn = comfy_table::Table::new();
    if look.terminal {
        drawn.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        drawn
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .force_no_tty();
    }
    if look.colour {
        drawn.enforce_styling();
    }
    drawn.set_header(table.columns.iter().map(|column| align(Drawn::new(&column.name), column.right)));
    for row in table.rows.iter().chain(&table.totals) {
        drawn.add_row(
            row.iter().zip(&table.columns).map(|(cell, column)| align(draw(cell, look), column.right)),
        );
    }
    let width = if look.terminal { 1 } else { 0 };
    for column in drawn.column_iter_mut() {
        column.set_padding((width, if look.terminal { 1 } else { 2 }));
    }
    let mut text: String = drawn.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    if text.is_empty() {
        text.push('\n');
    }
    text
}

fn align(cell: Drawn, right: bool) -> Drawn {
    if right { cell.set_alignment(CellAlignment::Right) } else { cell }
}

fn draw(cell: &Cell, look: Look) -> Drawn {
    let (tone, text) = match cell {
        Cell::Empty => (Tone::Faint, UNKNOWN),
        Cell::Text(text) | Cell::Figure(text) => (Tone::Plain, text.as_str()),
        Cell::Toned(tone, text) => (*tone, text.as_str()),
    };
    let drawn = Drawn::new(figures::one_line(text, 200));
    match (look.colour, tone) {
        (false, _) | (true, Tone::Plain) => drawn,
        (true, Tone::Good) => drawn.fg(Color::Green),
        (true, Tone::Bad) => drawn.fg(Color::Red),
        (true, Tone::Warning) => drawn.fg(Color::Yellow),
        (true, Tone::Faint) => drawn.fg(Color::DarkGrey),
    }
}

/// `text` in the colour of its tone (SGR codes), or as it is.
pub fn paint(tone: Tone, text: &str, look: Look) -> String {
    let code = match tone {
        Tone::Plain => return text.to_owned(),
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Warning => "33",
        Tone::Faint => "90",
    };
    if look.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// `text` in bold, or as it is.
pub fn bold(text: &str, look: Look) -> String {
    if look.colour { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{super::table::Column, *};

    fn sample() -> Table {
        let mut table =
            Table::new(vec![Column::left("model"), Column::right("calls"), Column::left("status")]);
        table.rows.push(vec![
            Cell::text("gpt\u{1b}[31m-4o"),
            Cell::figure(12),
            Cell::Toned(Tone::Bad, "error".to_owned()),
        ]);
        table.rows.push(vec![Cell::Empty, Cell::figure(1_000), Cell::text("ok")]);
        table
    }

    #[test]
    fn a_pipe_gets_plain_aligned_text() {
        let text = table(&sample(), Look::default());
        assert!(!text.contains('\u{1b}'), "{text:?}");
        insta::assert_snapshot!(text, @r"
        model        calls  status
        gpt␛[31m-4o     12  error
        -             1000  ok
        ");
    }

    #[test]
    fn colours_come_only_when_asked_for() {
        let coloured = table(&sample(), Look { terminal: true, colour: true });
        assert!(coloured.contains("\u{1b}["), "{coloured:?}");
        let plain = table(&sample(), Look { terminal: true, colour: false });
        assert!(!plain.contains('\u{1b}'), "{plain:?}");
        assert_eq!(paint(Tone::Bad, "x", Look::default()), "x");
    }
}
