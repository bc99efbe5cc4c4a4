//! Price lists of others as a price file of ours: genai-prices' data and LiteLLM's map, read from text that
//! the operator has fetched. Amounts are carried over digit by digit. What cannot be said in a price file
//! is left out and named.

mod draft;
mod genai;
mod litellm;

use serde_json::Value;

use self::draft::Draft;
use super::PriceTable;
use crate::model::Error;

/// A price file made of somebody else's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The file's text, ready for `prices.file`.
    pub toml: String,
    pub rows: usize,
    pub models: usize,
    /// What was left out and why, in sentences.
    pub skipped: Vec<String>,
}

/// What to take over.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The new table's version, which is in every price id.
    pub version: String,
    /// `2026-11-23`: the day of the list.
    pub checked: String,
    /// Only these providers; all when empty. Any spelling.
    pub providers: Vec<String>,
}

/// Reads genai-prices' `data.json` (a list of providers) or LiteLLM's `model_prices_and_context_window.json`
/// (a map of models), whichever it is.
pub fn import(text: &str, options: &Options) -> Result<Imported, Error> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        Error::invalid(format!("expected a price list as JSON (genai-prices or LiteLLM), found: {error}"))
    })?;
    let mut skipped = Vec::new();
    let (source, drafts) = match &value {
        Value::Array(providers) => ("genai-prices (MIT)", genai::read(providers, &mut skipped)),
        Value::Object(models) => ("LiteLLM (MIT)", litellm::read(models, &mut skipped)),
        _ => return Err(Error::invalid("expected a list of providers or a map of models, found neither")),
    };
    let wanted: Vec<_> = options.providers.iter().map(|name| super::naming::provider(name)).collect();
    let mut drafts: Vec<Draft> =
        drafts.into_iter().filter(|draft| wanted.is_empty() || wanted.contains(&draft.provider)).collect();
    draft::settle(&mut drafts);
    if drafts.is_empty() {
        return Err(Error::invalid("expected at least one model with a price, found none"));
    }
    let mut toml = format!(
        "# Made by `tapline prices update` from {source}; do not edit, put your own rows into another file.\n\n\
         version = {:?}\nsource = {:?}\nchecked = {}\n",
        options.version, source, options.checked
    );
    for draft in &drafts {
        toml.push_str(&draft.toml());
    }
    // What was made must be what is read; a fault here is ours, and is better met now than at the start.
    PriceTable::embedded()?.with_overrides(&toml, "imported prices")?;
    let mut models: Vec<_> = drafts.iter().map(|draft| (&draft.provider, &draft.model)).collect();
    models.dedup();
    Ok(Imported { rows: drafts.len(), models: models.len(), skipped, toml })
}

#[cfg(test)]
mod tests;
