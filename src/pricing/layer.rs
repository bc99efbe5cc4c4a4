//! One price file: its rows by provider and name, the names it gives to models, and its rules.

use std::collections::HashMap;

use super::{
    naming::key,
    rules::Rule,
    table::{self, Row},
};
use crate::model::Error;

/// The rows of one file.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) version: String,
    pub(super) models: Vec<Model>,
    pub(super) rules: Vec<Rule>,
    /// (provider, name key) → model; aliases included.
    names: HashMap<(String, String), usize>,
    /// Name key → the model that it stands for, such as a deployment's.
    renames: HashMap<String, String>,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) model: String,
    /// Newest first; the one without a date, if any, last.
    pub(super) rows: Vec<Row>,
    pub(super) aliases: Vec<String>,
}

impl Layer {
    pub(super) fn parse(text: &str, file: &str, provider: Option<&str>) -> Result<Self, Error> {
        let parsed = table::parse(text, file, provider)?;
        let version = parsed.version.unwrap_or_else(|| stem(file).to_owned());
        let renames = parsed.names.into_iter().map(|(name, model)| (key(&name), model)).collect();
        let mut layer =
            Self { version, models: Vec::new(), rules: parsed.rules, names: HashMap::new(), renames };
        let mut aliases = Vec::new();
        for mut row in parsed.rows {
            let name = (row.provider.clone(), key(&row.model));
            aliases.extend(row.aliases.drain(..).map(|alias| (name.clone(), alias)));
            let models = &mut layer.models;
            let index = *layer.names.entry(name).or_insert_with(|| {
                models.push(Model { model: row.model.clone(), rows: Vec::new(), aliases: Vec::new() });
                models.len() - 1
            });
            let model = &mut layer.models[index];
            if model.rows.iter().any(|other| other.valid_from == row.valid_from) {
                let from = row
                    .valid_from
                    .map_or_else(|| "without a date".to_owned(), |at| format!("from {}", at.date()));
                return Err(Error::invalid(format!(
                    "{file}: expected one price of {}/{} {from}, found two; give one of them another valid_from",
                    row.provider, row.model
                )));
            }
            model.rows.push(row);
            model.rows.sort_by_key(|row| std::cmp::Reverse(row.valid_from));
        }
        for (name, alias) in aliases {
            let index = layer.names[&name];
            let provider = name.0.clone();
            let known = *layer.names.entry((provider, key(&alias))).or_insert(index);
            if known != index {
                return Err(Error::invalid(format!(
                    "{file}: expected the alias {alias:?} of {}/{} to be of no other model, found it at {}",
                    name.0, layer.models[index].model, layer.models[known].model
                )));
            }
            layer.models[index].aliases.push(alias);
        }
        Ok(layer)
    }

    /// A model and its place in `models`.
    pub(super) fn model(&self, provider: &str, name: &str) -> Option<(usize, &Model)> {
        let index = *self.names.get(&(provider.to_owned(), name.to_owned()))?;
        Some((index, self.models.get(index)?))
    }

    pub(super) fn renamed(&self, model: &str) -> Option<&str> {
        if self.renames.is_empty() { None } else { self.renames.get(&key(model)).map(String::as_str) }
    }
}

/// A file's name without folders and extension: short enough for a price id.
fn stem(file: &str) -> &str {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    name.split_once('.').map_or(name, |(stem, _)| stem)
}
