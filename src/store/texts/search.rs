//! Searching the index: words to texts, texts to the calls that brought them in.

use rusqlite::{Connection, ToSql};

use super::{
    spoken::{self, Origin},
    update::TextHash,
};
use crate::{
    model::{Error, call::Call, error::sound, filter::CallFilter},
    store::{
        packing::Unpacker,
        runs,
        search::{self as list, Bound},
    },
};

/// Texts of a common word that are looked at: newest ones first.
const MOST_LOOKED_AT: i64 = 20_000;
/// A place with at most so many texts is looked through itself rather than all that have the words.
const SMALL_PLACE: i64 = 2_000;
/// Characters of a snippet around its first word.
const BEFORE: usize = 60;
const AFTER: usize = 160;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TextOrder {
    /// Texts that were said last come first.
    #[default]
    Newest,
    /// Texts that have the words more often, and rarer ones, come first.
    Rank,
}

/// What is searched for.
#[derive(Debug, Clone, Default)]
pub struct TextQuery {
    /// Words that must all be there; `"in a row"`, `beginning*`, `-not`, `this OR that`.
    pub words: String,
    pub filter: CallFilter,
    pub order: TextOrder,
    pub limit: usize,
}

/// A call that brought in a text.
#[derive(Debug, Clone, PartialEq)]
pub struct TextHit {
    pub call: Call,
    /// Where in the call: `message`, `request` or `response`.
    pub part: &'static str,
    pub snippet: String,
    /// Places of the words in the snippet, as bytes.
    pub marks: Vec<(usize, usize)>,
}

/// What was found, and whether there may be more.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TextHits {
    pub hits: Vec<TextHit>,
    pub more: bool,
}

#[derive(Debug)]
pub(super) struct Mention {
    sequence: i64,
    origin: Origin,
    hash: TextHash,
}

/// Words as FTS5 reads them: every word is quoted, so that nothing a person types is an error.
fn expression(words: &str) -> Result<String, Error> {
    let (mut all, mut not) = (Vec::<String>::new(), Vec::new());
    let mut rest = words.trim();
    while !rest.is_empty() {
        let (negated, after) = match rest.strip_prefix('-') {
            Some(after) if !after.starts_with(char::is_whitespace) => (true, after),
            _ => (false, rest),
        };
        let (term, after, quoted) = match after.strip_prefix('"') {
            Some(inner) => {
                let (term, after) = inner.split_once('"').unwrap_or((inner, ""));
                (term, after, true)
            }
            None => {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                let (term, after) = after.split_at(end);
                (term, after, false)
            }
        };
        rest = after.trim_start();
        let or = !quoted && term == "OR";
        let prefix = !quoted && term.len() > 1 && term.ends_with('*');
        let word = if prefix { term.trim_end_matches('*') } else { term };
        if or {
            all.push("OR".to_owned());
        } else if word.chars().any(char::is_alphanumeric) {
            let word = format!("\"{}\"{}", word.replace('"', " "), if prefix { "*" } else { "" });
            if negated { not.push(word) } else { all.push(word) }
        }
    }
    while all.last().is_some_and(|last| last == "OR") {
        all.pop();
    }
    while all.first().is_some_and(|first| first == "OR") {
        all.remove(0);
    }
    all.dedup_by(|one, before| one == "OR" && before == "OR");
    if all.is_empty() {
        return Err(Error::invalid(format!("expected words to search for, found {words:?}")));
    }
    let mut text = String::new();
    for (number, word) in all.iter().enumerate() {
        let between = number > 0 && word != "OR" && all.get(number - 1).is_some_and(|before| before != "OR");
        text.push_str(if between { " AND " } else { " " });
        text.push_str(word);
    }
    if not.is_empty() {
        return Ok(text);
    }
    Ok(format!("({text}) NOT ({})", not.join(" OR ")))
}

/// The mentions of texts with these words that the filter lets through, one more than asked for.
pub(super) fn find(connection: &Connection, query: &TextQuery) -> Result<(Vec<Mention>, bool), Error> {
    let expression = expression(&query.words)?;
    let Some((condition, mut bound)) = list::condition(connection, &query.filter)? else {
        return Ok((Vec::new(), false));
    };
    let filtered = query.filter != CallFilter::default();
    let mut values: Vec<Bound> = vec![Box::new(expression)];
    let places = places(connection, &query.filter)?;
    let small = match &places {
        Some(places) => texts_in(connection, places)? <= SMALL_PLACE,
        None => false,
    };
    let mut text = String::new();
    if small {
        // Few texts: each is asked whether it has the words.
        text.push_str(
            "SELECT m.sequence, m.origin, (SELECT hash FROM text_hashes AS h WHERE h.text = m.text) FROM mentions AS m CROSS JOIN words AS w ON w.rowid = m.text",
        );
    } else {
        let inner = match query.order {
            TextOrder::Newest => {
                "SELECT rowid AS text, 0 AS score FROM words WHERE words MATCH ?1 ORDER BY rowid DESC"
            }
            TextOrder::Rank => {
                "SELECT rowid AS text, bm25(words) AS score FROM words WHERE words MATCH ?1 ORDER BY rowid DESC"
            }
        };
        text.push_str(&format!("SELECT m.sequence, m.origin, (SELECT hash FROM text_hashes AS h WHERE h.text = m.text) FROM ({inner} LIMIT {MOST_LOOKED_AT}) AS w CROSS JOIN mentions AS m ON m.text = w.text"));
    }
    if filtered {
        text.push_str(" CROSS JOIN spans AS s ON s.sequence = m.sequence");
    }
    text.push_str(if small { " WHERE words MATCH ?1" } else { " WHERE 1" });
    if let Some(places) = places {
        text.push_str(" AND m.place IN (SELECT value FROM json_each(?))");
        values.push(Box::new(serde_json::Value::from(places).to_string()));
    }
    if filtered {
        text.push_str(&condition);
        values.append(&mut bound);
    }
    text.push_str(match (query.order, small) {
        (TextOrder::Newest, _) => " ORDER BY m.text DESC, m.sequence DESC LIMIT ?",
        (TextOrder::Rank, false) => " ORDER BY w.score, m.text DESC LIMIT ?",
        (TextOrder::Rank, true) => " ORDER BY bm25(words), m.text DESC LIMIT ?",
    });
    let limit = i64::try_from(query.limit + 1).unwrap_or(i64::MAX);
    values.push(Box::new(limit));
    let mut statement = connection.prepare_cached(&text)?;
    let values: Vec<&dyn ToSql> = values.iter().map(|value| &**value).collect();
    let rows = statement.query_map(values.as_slice(), |row| {
        Ok(Mention { sequence: row.get(0)?, origin: Origin::of(row.get(1)?), hash: row.get(2)? })
    })?;
    let mut mentions: Vec<Mention> = rows.collect::<Result<_, _>>()?;
    let more = mentions.len() > query.limit;
    mentions.truncate(query.limit);
    Ok((mentions, more))
}

/// The places that a filter by run, session or experiment leaves; `None` where it names none of them.
fn places(connection: &Connection, filter: &CallFilter) -> Result<Option<Vec<i64>>, Error> {
    let mut text = "SELECT id FROM places WHERE 1".to_owned();
    let mut values: Vec<Bound> = Vec::new();
    if let Some(session) = &filter.session {
        text.push_str(" AND session = ?");
        values.push(Box::new(session.clone()));
    }
    if let Some(run) = &filter.run {
        text.push_str(" AND run_id IN (SELECT value FROM json_each(?))");
        values.push(Box::new(serde_json::Value::from(runs::run_ids(connection, run)?).to_string()));
    }
    if let Some(experiment) = &filter.experiment {
        text.push_str(" AND experiment_id = ?");
        values.push(Box::new(runs::experiment_id(connection, experiment)?));
    }
    if values.is_empty() {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached(&text)?;
    let values: Vec<&dyn ToSql> = values.iter().map(|value| &**value).collect();
    let rows = statement.query_map(values.as_slice(), |row| row.get(0))?;
    Ok(Some(rows.collect::<Result<_, _>>()?))
}

/// How many texts places have, counted no further than it matters.
fn texts_in(connection: &Connection, places: &[i64]) -> Result<i64, Error> {
    const COUNT: &str = "
        SELECT count(*) FROM (
            SELECT 1 FROM json_each(?1) AS p CROSS JOIN mentions AS m ON m.place = p.value LIMIT ?2
        )";
    let places = serde_json::Value::from(places).to_string();
    let mut count = connection.prepare_cached(COUNT)?;
    Ok(count.query_row(rusqlite::params![places, SMALL_PLACE + 1], |row| row.get(0))?)
}

/// Reads the calls and cuts the snippets.
pub(in crate::store) fn show(
    connection: &Connection,
    query: &TextQuery,
    (mentions, more): (Vec<Mention>, bool),
) -> Result<TextHits, Error> {
    let wanted = wanted(&query.words);
    let mut unpacker = Unpacker::default();
    let mut hits = Vec::new();
    for mention in mentions {
        let found =
            spoken::text_at(connection, &mut unpacker, mention.sequence, mention.origin, mention.hash);
        let Some((call, text)) = sound(found)?.flatten() else {
            continue;
        };
        let (snippet, marks) = snippet(&text, &wanted);
        let part = match mention.origin {
            Origin::Content(_) => "message",
            Origin::Request => "request",
            Origin::Response => "response",
        };
        hits.push(TextHit { call, part, snippet, marks });
    }
    Ok(TextHits { hits, more })
}

/// The words that a snippet shows, folded; true for beginnings.
fn wanted(words: &str) -> Vec<(String, bool)> {
    let kept = words.split_whitespace().filter(|word| !word.starts_with('-') && *word != "OR");
    let terms = kept.flat_map(|word| {
        let prefix = word.ends_with('*');
        let parts: Vec<_> =
            word.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).collect();
        let last = parts.len();
        parts
            .into_iter()
            .enumerate()
            .map(move |(number, part)| (fold(part), prefix && number + 1 == last))
            .collect::<Vec<_>>()
    });
    terms.collect()
}

fn fold(word: &str) -> String {
    word.chars().flat_map(char::to_lowercase).map(plain).collect()
}

/// Latin letters without their marks, as the index has them.
fn plain(c: char) -> char {
    match c {
        'à'..='å' => 'a',
        'ç' => 'c',
        'è'..='ë' => 'e',
        'ì'..='ï' => 'i',
        'ñ' => 'n',
        'ò'..='ö' => 'o',
        'ù'..='ü' => 'u',
        'ý' | 'ÿ' => 'y',
        other => other,
    }
}

/// Where the words are.
fn places_of(text: &str, wanted: &[(String, bool)]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (c.is_alphanumeric(), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                start = None;
                let word = fold(text.get(from..at).unwrap_or_default());
                if wanted.iter().any(|(wanted, prefix)| {
                    if *prefix { word.starts_with(wanted.as_str()) } else { word == *wanted }
                }) {
                    found.push((from, at));
                }
            }
            _ => {}
        }
    }
    found
}

/// The text around the first of the words, on one line, and where the words are in it.
fn snippet(text: &str, wanted: &[(String, bool)]) -> (String, Vec<(usize, usize)>) {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let places = places_of(&line, wanted);
    let first = places.first().map_or(0, |(from, _)| *from);
    let from = line.get(..first).unwrap_or_default().char_indices().rev().nth(BEFORE).map_or(0, |(at, _)| at);
    let rest = line.get(first..).unwrap_or_default();
    let to = first + rest.char_indices().nth(AFTER).map_or(rest.len(), |(at, _)| at);
    let cut = line.get(from..to).unwrap_or_default();
    let head = if from > 0 { "…" } else { "" };
    let tail = if to < line.len() { "…" } else { "" };
    let marks = places
        .into_iter()
        .filter(|(start, end)| *start >= from && *end <= to)
        .map(|(start, end)| (start - from + head.len(), end - from + head.len()))
        .collect();
    (format!("{head}{cut}{tail}"), marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_an_expression_that_is_never_an_error() {
        for (words, expected) in [
            ("refund policy", " \"refund\" AND \"policy\""),
            ("\"in a row\" begin*", " \"in a row\" AND \"begin\"*"),
            ("a OR b -c", "( \"a\" OR \"b\") NOT (\"c\")"),
            ("OR x OR OR y OR", " \"x\" OR \"y\""),
            ("NEAR(x) col:y ^z", " \"NEAR(x)\" AND \"col:y\" AND \"^z\""),
            ("un\"closed phrase", " \"un closed\" AND \"phrase\""),
        ] {
            assert_eq!(expression(words).unwrap(), expected, "{words}");
        }
        for nothing in ["", " ", "-x", "\"\"", "OR", "***"] {
            assert!(expression(nothing).is_err(), "{nothing}");
        }
    }

    #[test]
    fn a_snippet_shows_the_words_where_they_are() {
        let text = format!("{} the Café\nis  open {}", "before ".repeat(40), "after ".repeat(40));
        let (snippet, marks) = snippet(&text, &wanted("cafe op*"));
        let shown: Vec<_> = marks.iter().map(|(from, to)| snippet.get(*from..*to).unwrap()).collect();
        assert_eq!(shown, ["Café", "open"]);
        assert!(
            snippet.starts_with('…') && snippet.ends_with('…') && snippet.contains("Café is open"),
            "{snippet}"
        );
    }
}
