//! Rows and columns before they are text: what each cell is decides how a rendering may write it.

/// What a cell says about itself, where colours can be shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    #[default]
    Plain,
    Good,
    Bad,
    Warning,
    Faint,
}

/// One cell. Only text can come from outside, so only text is escaped where a reader might run it.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Unknown or not applicable.
    Empty,
    Text(String),
    /// A figure as it is to be written.
    Figure(String),
    Toned(Tone, String),
}

impl Cell {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub fn maybe(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::Empty, |text| Self::Text(text.into()))
    }

    pub fn figure(figure: impl ToString) -> Self {
        Self::Figure(figure.to_string())
    }

    pub fn maybe_figure(figure: Option<impl ToString>) -> Self {
        figure.map_or(Self::Empty, |figure| Self::Figure(figure.to_string()))
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Empty => "",
            Self::Text(text) | Self::Figure(text) | Self::Toned(_, text) => text,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// Figures stand right.
    pub right: bool,
}

impl Column {
    pub fn left(name: impl Into<String>) -> Self {
        Self { name: name.into(), right: false }
    }

    pub fn right(name: impl Into<String>) -> Self {
        Self { name: name.into(), right: true }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
    /// A last line of sums, set apart.
    pub totals: Option<Vec<Cell>>,
}

impl Table {
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns, rows: Vec::new(), totals: None }
    }

    /// As GitHub's Markdown.
    pub fn markdown(&self) -> String {
        let escape = |text: &str| {
            super::figures::one_line(text, usize::MAX)
                .replace('\\', "\\\\")
                .replace('|', "\\|")
                .replace('<', "&lt;")
                .replace('`', "\\`")
        };
        let mut out = String::new();
        let mut line = |cells: Vec<String>| {
            out.push_str("| ");
            out.push_str(&cells.join(" | "));
            out.push_str(" |\n");
        };
        line(self.columns.iter().map(|column| escape(&column.name)).collect());
        line(
            self.columns.iter().map(|column| if column.right { "---:" } else { "---" }.to_owned()).collect(),
        );
        for row in self.rows.iter().chain(&self.totals) {
            line(row.iter().map(|cell| escape(cell.as_str())).collect());
        }
        out
    }
}

/// One JSON document per line; each value is on one line because JSON strings hold no bare new line.
pub fn jsonl<T: serde::Serialize>(rows: &[T]) -> Result<String, serde_json::Error> {
    let mut out = String::new();
    for row in rows {
        out.push_str(&serde_json::to_string(row)?);
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_cells_cannot_break_out() {
        let mut table = Table::new(vec![Column::left("model"), Column::right("calls")]);
        table.rows.push(vec![Cell::text("a|b\nc <img>"), Cell::figure(3)]);
        table.totals = Some(vec![Cell::text("total"), Cell::figure(3)]);
        insta::assert_snapshot!(table.markdown(), @r"
        | model | calls |
        | --- | ---: |
        | a\|b c &lt;img> | 3 |
        | total | 3 |
        ");
    }

    #[test]
    fn json_lines_are_one_per_row() {
        assert_eq!(jsonl(&["a\nb", "c"]).unwrap(), "\"a\\nb\"\n\"c\"\n");
    }
}
