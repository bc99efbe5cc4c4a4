//! Values from a file, the environment and flags, each with where it came from, in rising precedence.
//! Only names are checked here; values are read against the types when they are merged.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches};
use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use super::{
    Origin,
    keys::{Key, PREFIX, UPSTREAM_KEYS, keys, nearest},
    units::{quoted, quoted_url},
};
use crate::model::Error;

/// Variables that are ours but no keys: where the file is, what client commands talk to, and the run that
/// `tapline run` started a program as.
const VARIABLES: [&str; 3] = ["TAPLINE_CONFIG", "TAPLINE_URL", "TAPLINE_RUN_ID"];

/// A value that some layer gives to a key.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) path: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// One argument per key, `--config` and `--upstreams`.
pub(super) fn args() -> Vec<Arg> {
    let mut args = vec![
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .help("Configuration file [default: ./tapline.toml where there is one]"),
        Arg::new("upstreams")
            .long("upstreams")
            .value_name("NAME=URL")
            .action(ArgAction::Append)
            .help("A further upstream, reached under /to/NAME/; may be given several times"),
    ];
    for key in keys() {
        let arg = Arg::new(key.path.as_str()).long(key.flag.as_str()).help(key.help.as_str());
        args.push(match key.default {
            // `--allow-wide-bind`, or `--capture-content=false`.
            Value::Boolean(_) => {
                arg.value_name("BOOL").num_args(0..=1).require_equals(true).default_missing_value("true")
            }
            _ => arg.value_name("VALUE"),
        });
    }
    args
}

/// Text from a flag or variable as the type that the key's default has; text that is no such thing stays
/// text, and its type's reader says what was expected.
fn typed(key: &Key, text: &str) -> Value {
    let parsed = match key.default {
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        _ => None,
    };
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// The values of the command line.
pub(super) fn from_flags(matches: &ArgMatches) -> Result<Vec<Given>, Error> {
    let mut given = Vec::new();
    for key in keys() {
        // A subcommand may take fewer arguments than there are keys.
        if let Ok(Some(text)) = matches.try_get_one::<String>(&key.path) {
            let origin = Origin::Flag(format!("--{}", key.flag));
            given.push(Given { path: key.path.clone(), value: typed(key, text), origin });
        }
    }
    for text in matches.try_get_many::<String>("upstreams").ok().flatten().into_iter().flatten() {
        let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, url) = pair.ok_or_else(|| {
            Error::invalid(format!("--upstreams: expected NAME=URL, found {}", quoted_url(text)))
        })?;
        given.push(Given {
            path: upstream_path("--upstreams", name, "url")?,
            value: Value::String(url.to_owned()),
            origin: Origin::Flag("--upstreams".to_owned()),
        });
    }
    Ok(given)
}

/// The values of the environment. `named` are the upstreams that the file names: a variable cannot write
/// a dash, so `MY_GATEWAY` means `my-gateway` where that exists.
pub(super) fn from_environment(
    variables: &[(String, String)],
    named: &[String],
) -> Result<Vec<Given>, Error> {
    let mut given = Vec::new();
    for (variable, text) in variables {
        if !variable.starts_with(PREFIX) || VARIABLES.contains(&variable.as_str()) {
            continue;
        }
        let origin = Origin::Environment(variable.clone());
        if let Some(key) = keys().iter().find(|key| key.variable == *variable) {
            given.push(Given { path: key.path.clone(), value: typed(key, text), origin });
        } else if let Some((name, key)) = upstream_variable(variable) {
            let name = named.iter().find(|known| known.replace('-', "_") == name).unwrap_or(&name);
            let path = upstream_path(variable, name, key)?;
            given.push(Given { path, value: Value::String(text.clone()), origin });
        } else {
            // `TAPLINE_UPSTREAMS_A_URI` is most likely a slip in the last word.
            let upstream = variable.strip_prefix("TAPLINE_UPSTREAMS_").and_then(|rest| rest.rsplit_once('_'));
            let upstreams = upstream.into_iter().flat_map(|(name, _)| {
                UPSTREAM_KEYS.map(|key| format!("{PREFIX}UPSTREAMS_{name}_{}", key.to_uppercase()))
            });
            let upstreams: Vec<_> = upstreams.collect();
            let known = keys().iter().map(|key| key.variable.as_str()).chain(VARIABLES);
            let known = known.chain(upstreams.iter().map(String::as_str));
            return Err(unknown("environment", "variable", variable, nearest(variable, known)));
        }
    }
    Ok(given)
}

/// `TAPLINE_UPSTREAMS_<NAME>_URL` to name and key.
fn upstream_variable(variable: &str) -> Option<(String, &'static str)> {
    let rest = variable.strip_prefix(PREFIX)?.strip_prefix("UPSTREAMS_")?.to_lowercase();
    UPSTREAM_KEYS.into_iter().find_map(|key| {
        let name = rest.strip_suffix(key)?.strip_suffix('_').filter(|name| !name.is_empty())?;
        Some((name.to_owned(), key))
    })
}

/// The names are path segments of URLs and parts of variables.
fn upstream_path(place: &str, name: &str, key: &str) -> Result<String, Error> {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    if name == "default" {
        return Err(Error::invalid(format!(
            "{place}: expected a name other than default, which is the one set by the key upstream"
        )));
    }
    if name.is_empty() || !name.bytes().all(letters) {
        return Err(Error::invalid(format!(
            "{place}: expected an upstream's name in lower case letters, digits, - and _, found {}",
            quoted_url(name)
        )));
    }
    Ok(format!("upstreams.{name}.{key}"))
}

/// The file to read: the flag's, else the variable's, else `tapline.toml` in `cwd` where there is one.
pub(super) fn file(matches: &ArgMatches, variables: &[(String, String)], cwd: &Path) -> Option<PathBuf> {
    let flag = matches.try_get_one::<String>("config").ok().flatten();
    let variable = || variables.iter().find(|(name, text)| name == "TAPLINE_CONFIG" && !text.is_empty());
    if let Some(named) = flag.or_else(|| variable().map(|(_, path)| path)) {
        return Some(PathBuf::from(named));
    }
    cwd.join("tapline.toml").exists().then(|| PathBuf::from("tapline.toml"))
}

/// The values of a file's text; `file` is its name in errors.
pub(super) fn from_file(text: &str, file: &Path) -> Result<Vec<Given>, Error> {
    let not_toml = |error: toml::de::Error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        let message = error.message().replace('\n', ", ");
        Error::invalid(format!("{}:{line}: not TOML: {message}", file.display()))
    };
    // Read twice: once for where each key stands, once for plain values.
    let places = DeTable::parse(text).map_err(not_toml)?;
    let values: Table = text.parse().map_err(not_toml)?;
    let mut walk = Walk { text, file, given: Vec::new() };
    walk.table(places.get_ref(), &values, "")?;
    Ok(walk.given)
}

struct Walk<'a> {
    text: &'a str,
    file: &'a Path,
    given: Vec<Given>,
}

impl Walk<'_> {
    fn table(&mut self, places: &DeTable<'_>, values: &Table, prefix: &str) -> Result<(), Error> {
        let mut entries: Vec<_> = places.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, place) in entries {
            let line = line_of(self.text, name.span().start);
            let name = name.get_ref().as_ref();
            let path = format!("{prefix}{name}");
            let Some(value) = values.get(name) else { continue };
            let at = format!("{}:{line}", self.file.display());
            match (place.get_ref(), value) {
                (DeValue::Table(inside), Value::Table(values)) if is_section(&path) => {
                    if let Some(name) = path.strip_prefix("upstreams.") {
                        upstream_path(&at, name, "url")?;
                    }
                    self.table(inside, values, &format!("{path}."))?;
                }
                // The only list: a table for each.
                (DeValue::Array(_), Value::Array(_)) if path == "budgets" => {
                    let origin = Origin::File(self.file.to_owned(), line);
                    self.given.push(Given { path, value: value.clone(), origin });
                }
                _ if is_section(&path) => {
                    let found = value.as_str().map_or_else(|| quoted(value), quoted_url);
                    return Err(Error::invalid(format!(
                        "{at}: expected {path} to be a table, found {found}"
                    )));
                }
                _ if is_key(&path) => {
                    let origin = Origin::File(self.file.to_owned(), line);
                    self.given.push(Given { path, value: value.clone(), origin });
                }
                _ => return Err(unknown(&at, "key", &path, nearest_key(&path).as_deref())),
            }
        }
        Ok(())
    }
}

fn is_section(path: &str) -> bool {
    match path.strip_prefix("upstreams.") {
        Some(name) => !name.contains('.'),
        None => {
            path == "upstreams"
                || keys().iter().any(|key| key.path.split_once('.').is_some_and(|(s, _)| s == path))
        }
    }
}

fn is_key(path: &str) -> bool {
    match path.strip_prefix("upstreams.").and_then(|rest| rest.split_once('.')) {
        Some((_, key)) => UPSTREAM_KEYS.contains(&key),
        None => keys().iter().any(|key| key.path == path),
    }
}

fn nearest_key(path: &str) -> Option<String> {
    if let Some((name, wrong)) = path.strip_prefix("upstreams.").and_then(|rest| rest.split_once('.')) {
        return nearest(wrong, UPSTREAM_KEYS.into_iter()).map(|key| format!("upstreams.{name}.{key}"));
    }
    let sections =
        keys().iter().filter_map(|key| Some(key.path.split_once('.')?.0)).chain(["upstreams", "budgets"]);
    nearest(path, keys().iter().map(|key| key.path.as_str()).chain(sections)).map(str::to_owned)
}

fn unknown(place: &str, what: &str, name: &str, nearest: Option<&str>) -> Error {
    let advice = match nearest {
        Some(known) => format!("the nearest known {what} is {known}"),
        None => "`tapline config` lists all keys".to_owned(),
    };
    Error::invalid(format!("{place}: unknown {what} {name}; {advice}"))
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
