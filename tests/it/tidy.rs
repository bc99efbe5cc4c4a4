//! The plan of the house as a test: layers, sizes, openings, and what may be named where. Reads the
//! sources as text; when it fails, either the code or the plan (docs/ARCHITECTURE.md) is wrong.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A module's layer. Imports point down only, and siblings on layer 4 never import each other.
const LAYERS: [(&str, u8); 26] = [
    ("model", 0),
    ("wire", 1),
    ("pricing", 1),
    ("chain", 1),
    ("tokens", 1),
    ("search", 1),
    ("journal", 2),
    ("store", 2),
    ("upstream", 2),
    ("artifacts", 2),
    ("billing", 3),
    ("capture", 3),
    ("eval", 3),
    ("replay", 3),
    ("report", 3),
    ("transfer", 3),
    ("upkeep", 3),
    ("proxy", 4),
    ("api", 4),
    ("mlflow", 4),
    ("otlp", 4),
    ("ui", 4),
    ("serving", 4),
    ("simulate", 4),
    ("config", 5),
    ("app", 5),
];

/// Importable by every layer: our own log lines and metrics.
const ANYWHERE: [&str; 3] = ["background", "events", "telemetry"];

const LARGEST_FILE: usize = 600;
const MEDIAN_FILE: usize = 200;

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            found.push((path, text));
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn house() -> Vec<(PathBuf, String)> {
    let all = sources(&root().join("src"));
    assert!(all.len() > 50, "the sources were not found: {} files", all.len());
    all
}

/// The top-level module that a file belongs to: `proxy` for `src/proxy/tee.rs`, `app` for `src/app.rs`.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).expect("a file of src");
    let first = inside.components().next().expect("a component").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn layer(module: &str) -> Option<u8> {
    if module == "cli" || module == "main" || module == "lib" {
        return Some(6);
    }
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// The top-level modules that a source names with `crate::`, tests included; `use crate::{a, b::c}` is
/// taken apart.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            let mut first = true;
            for character in group.chars() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.push(std::mem::take(&mut word));
                        first = true;
                        continue;
                    }
                    _ => {}
                }
                if depth == 0 && first {
                    if character.is_alphanumeric() || character == '_' {
                        word.push(character);
                    } else if !word.is_empty() {
                        first = false;
                    }
                }
            }
            found.push(word);
        } else {
            found.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found.retain(|name| !name.is_empty() && name.chars().next().is_some_and(char::is_lowercase));
    found
}

#[test]
fn groups_of_imports_are_taken_apart() {
    assert_eq!(imports("use crate::{model::{a, b}, wire, store::Store};"), ["model", "wire", "store"]);
    assert_eq!(imports("use crate::proxy::State; crate::wire::detect()"), ["proxy", "wire"]);
}

#[test]
fn imports_point_down_and_faces_do_not_know_each_other() {
    let mut wrong = Vec::new();
    for (path, text) in house() {
        let own = module(&path);
        let Some(own_layer) = layer(&own) else {
            assert!(ANYWHERE.contains(&own.as_str()), "{} has no layer in this table", path.display());
            continue;
        };
        for import in imports(&text) {
            if import == own || ANYWHERE.contains(&import.as_str()) {
                continue;
            }
            let allowed =
                layer(&import).is_some_and(|layer| layer < own_layer || (layer == own_layer && layer != 4));
            if !allowed {
                wrong.push(format!("{} imports {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_file_is_larger_than_a_sitting_and_the_median_is_small() {
    let mut sizes: Vec<(usize, PathBuf)> =
        house().into_iter().map(|(path, text)| (text.lines().count(), path)).collect();
    sizes.sort();
    let large: Vec<_> = sizes.iter().filter(|(lines, _)| *lines > LARGEST_FILE).collect();
    assert!(large.is_empty(), "over {LARGEST_FILE} lines: {large:?}");
    let median = sizes[sizes.len() / 2].0;
    assert!(median <= MEDIAN_FILE, "the median file has {median} lines");
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let silent: Vec<_> =
        house().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn sql_and_its_crate_stay_in_the_store() {
    let mut wrong = Vec::new();
    for (path, text) in house() {
        let own = module(&path);
        if own == "store" {
            continue;
        }
        for word in ["rusqlite", "\"SELECT ", "\"INSERT ", "\"UPDATE ", "\"DELETE FROM"] {
            if text.contains(word) {
                wrong.push(format!("{} names {word:?}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_pure_layers_know_no_runtime_no_clock_and_no_io() {
    let mut wrong = Vec::new();
    for (path, text) in house() {
        if layer(&module(&path)).is_none_or(|layer| layer > 1) || path.ends_with("tests.rs") {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or(&text);
        for word in
            ["tokio", "std::fs", "std::net", "SystemTime::now", "Instant::now", "hyper", "axum", "reqwest"]
        {
            if code.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word)) {
                wrong.push(format!("{} names {word:?}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_is_left_for_later() {
    let mut wrong = Vec::new();
    let marks = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("FIX", "ME"),
        concat!("#[ig", "nore"),
    ];
    for folder in ["src", "tests"] {
        for (path, text) in sources(&root().join(folder)) {
            for word in marks {
                if text.contains(word) {
                    wrong.push(format!("{} has {word:?}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
