//! CSV (RFC 4180) that a spreadsheet cannot be tricked with: text that would start a formula is defused.

use super::table::{Cell, Table};

/// The table with its header line; totals are left out, because a program that sums a column would count
/// them twice.
pub fn table(table: &Table) -> String {
    let mut out = header(table);
    out.push_str(&rows(table));
    out
}

pub fn header(table: &Table) -> String {
    let mut out = String::new();
    line(&mut out, table.columns.iter().map(|column| field(&column.name)));
    out
}

/// The rows alone, for the pages after the first.
pub fn rows(table: &Table) -> String {
    let mut out = String::new();
    for row in &table.rows {
        line(
            &mut out,
            row.iter().map(|cell| match cell {
                Cell::Figure(figure) => figure.clone(),
                other => field(other.as_str()),
            }),
        );
    }
    out
}

fn line(out: &mut String, fields: impl Iterator<Item = String>) {
    for (index, field) in fields.enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&field);
    }
    out.push_str("\r\n");
}

/// One text field. A leading `=`, `+`, `-`, `@`, tab or carriage return makes a spreadsheet run the text as
/// a formula, so an apostrophe goes before it (OWASP, CSV injection); full-width forms count as well.
pub fn field(text: &str) -> String {
    let starts_formula = text
        .trim_start_matches([' ', '\u{feff}', '"'])
        .starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    let quoted = starts_formula || text.contains([',', '"', '\r', '\n', ';', '\t']);
    if !quoted {
        return text.to_owned();
    }
    let guard = if starts_formula { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::table::Column, *};

    #[test]
    fn formulas_are_defused_and_figures_stay_figures() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"] {
            let written = field(text);
            assert!(written.starts_with("\"'"), "{text:?} became {written:?}");
        }
        assert_eq!(field("gpt-4o"), "gpt-4o");
        assert_eq!(field("a,\"b\""), "\"a,\"\"b\"\"\"");
        let mut all = Table::new(vec![Column::left("model"), Column::right("cost_usd")]);
        all.rows.push(vec![Cell::text("=cmd|' /C calc'!A0"), Cell::figure("-0.5")]);
        assert_eq!(table(&all), "model,cost_usd\r\n\"'=cmd|' /C calc'!A0\",-0.5\r\n");
    }

    /// Reads one line of CSV back, as RFC 4180 says.
    fn parse(line: &str) -> Vec<String> {
        let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
        let mut chars = line.trim_end_matches("\r\n").chars().peekable();
        while let Some(c) = chars.next() {
            match (quoted, c) {
                (true, '"') if chars.peek() == Some(&'"') => {
                    chars.next();
                    field.push('"');
                }
                (_, '"') => quoted = !quoted,
                (false, ',') => fields.push(std::mem::take(&mut field)),
                (_, other) => field.push(other),
            }
        }
        fields.push(field);
        fields
    }

    proptest! {
        #[test]
        fn any_text_stays_in_its_field(texts in proptest::collection::vec("[ -~\n\r\tü=]{0,12}[a-z]", 1..5)) {
            let mut all = Table::new(texts.iter().map(|_| Column::left("c")).collect());
            all.rows.push(texts.iter().map(Cell::text).collect());
            let read = parse(&rows(&all));
            prop_assert_eq!(read.len(), texts.len());
            for (read, text) in read.iter().zip(&texts) {
                prop_assert_eq!(read.strip_prefix('\'').filter(|rest| rest == text).unwrap_or(read), text);
                prop_assert!(!read.starts_with(['=', '+', '-', '@', '\t', '\r']));
            }
        }
    }
}
