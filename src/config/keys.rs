//! The one declaration of what can be configured: `config/default.toml`, compiled in. Keys, defaults,
//! flags, environment variables and help are all read from it, so none can disagree with another.

use std::sync::LazyLock;

use toml::{Table, Value};

use crate::model::Error;

pub(super) const DEFAULT: &str = include_str!("../../config/default.toml");

/// The keys of a named upstream, `upstreams.<name>.<key>`. The name is free, so the file shows them as an
/// example only; a test reads that example.
pub(super) const UPSTREAM_KEYS: [&str; 8] =
    ["url", "provider", "key_env", "on_client_gone", "usage", "response_timeout", "idle_timeout", "prices"];

/// Keys whose values are secret.
const SECRETS: [&str; 1] = ["export.headers"];

/// Every variable of the environment that is ours starts with this.
pub(super) const PREFIX: &str = "TAPLINE_";

/// A key of the declaration.
#[derive(Debug)]
pub(super) struct Key {
    /// `journal.mode`
    pub(super) path: String,
    /// `journal-mode`
    pub(super) flag: String,
    /// `TAPLINE_JOURNAL_MODE`
    pub(super) variable: String,
    /// The first sentence of its comment, and its default.
    pub(super) help: String,
    pub(super) default: Value,
}

/// All keys in the order of the file.
pub(super) fn keys() -> &'static [Key] {
    static KEYS: LazyLock<Vec<Key>> =
        LazyLock::new(|| declared(DEFAULT).expect("config/default.toml is compiled in and a test reads it"));
    &KEYS
}

pub(super) fn is_secret(path: &str) -> bool {
    SECRETS.contains(&path)
}

/// The defaults as TOML.
pub(super) fn defaults() -> Table {
    let mut table = Table::new();
    for key in keys() {
        set(&mut table, &key.path, key.default.clone());
    }
    table
}

/// Puts a value at a dotted path. Every segment on the way is a table, or becomes one.
pub(super) fn set(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = entry {
                set(inner, rest, value);
            }
        }
    }
}

fn get<'t>(table: &'t Table, path: &str) -> Option<&'t Value> {
    match path.split_once('.') {
        None => table.get(path),
        Some((section, rest)) => get(table.get(section)?.as_table()?, rest),
    }
}

/// Reads the keys with the comments above them. A blank line parts a comment from what follows.
pub(super) fn declared(text: &str) -> Result<Vec<Key>, Error> {
    let table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| Error::internal(format!("default.toml: {}", error.message())))?;
    let mut keys = Vec::new();
    let (mut section, mut comment) = (String::new(), Vec::new());
    for line in text.lines() {
        let line = line.trim();
        if let Some(words) = line.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((name, _)) = line.split_once(" = ") {
            let path = format!("{section}{name}");
            let default = get(&table, &path).cloned();
            let default = default.ok_or_else(|| {
                Error::internal(format!("default.toml: expected {path} on a line of its own"))
            })?;
            let doc = comment.join(" ");
            keys.push(Key {
                flag: path.replace(['.', '_'], "-"),
                variable: format!("{PREFIX}{}", path.replace('.', "_").to_uppercase()),
                help: help(&doc, &default),
                path,
                default,
            });
        }
        comment.clear();
    }
    Ok(keys)
}

fn help(doc: &str, default: &Value) -> String {
    let sentence = doc.split_once(". ").map_or(doc, |(first, _)| first).trim_end_matches('.');
    match shown(default).as_str() {
        "" => sentence.to_owned(),
        default => format!("{sentence} [default: {default}]"),
    }
}

/// A value as it would be typed: text without quotes.
pub(super) fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The known name that is most like `wrong`, if any is alike at all.
pub(super) fn nearest<'k>(wrong: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let last = |path: &'_ str| path.rsplit('.').next().map(str::to_owned).unwrap_or_default();
    let alike = |name: &str| {
        // A key in the wrong section is as good as one slip.
        let elsewhere = distance(&last(wrong), &last(name)) + 1;
        distance(wrong, name).min(elsewhere)
    };
    let (cost, name) = known.map(|name| (alike(name), name)).min()?;
    (cost <= wrong.chars().count().div_ceil(3).max(2)).then_some(name)
}

/// Levenshtein's edit distance.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (deleted, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], deleted + 1);
        for (index, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[index + 1];
            row[index + 1] = replaced.min(diagonal + 1).min(row[index] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("mode", "mode"), 0);
    }

    #[test]
    fn the_nearest_is_alike_or_none() {
        let paths = || keys().iter().map(|key| key.path.as_str());
        assert_eq!(nearest("jurnal.mode", paths()), Some("journal.mode"));
        assert_eq!(nearest("compression_level", paths()), Some("store.compression_level"));
        assert_eq!(nearest("proxy.tick", paths()), Some("journal.tick"));
        assert_eq!(nearest("xyzzy.quux", paths()), None);
    }
}
