//! Usage × price → money (layer 1): pure and exact. No network, no clock, no float; whoever asks passes
//! the time of the call in. An unknown price is `None`, never zero (invariant 6).

mod decimal;
mod naming;
mod rates;
mod table;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use self::{
    naming::{CANONICAL, Providers, key},
    rates::{Part, Schedule},
    table::Row,
};
use crate::model::{Error, NanoUsd, UnixNanos, usage::Usage};

/// What the provider itself said the call cost.
const REPORTED: &str = "reported";

/// Dated prices by provider and model. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PriceTable {
    /// Overrides first.
    layers: Vec<Arc<Layer>>,
}

/// The rows of one file.
#[derive(Debug)]
struct Layer {
    version: String,
    models: Vec<Model>,
    /// (provider, name key) → model; aliases included.
    names: HashMap<(String, String), usize>,
}

#[derive(Debug)]
struct Model {
    model: String,
    /// Newest first; the one without a date, if any, last.
    rows: Vec<Row>,
}

/// What decides a price besides the counts.
#[derive(Debug, Clone, Copy)]
pub struct Billing<'a> {
    pub provider: &'a str,
    /// The answering model first, then the asked one.
    pub response_model: Option<&'a str>,
    pub request_model: Option<&'a str>,
    /// The served tier (`default`, `flex`, `priority`, `batch`, …).
    pub service_tier: Option<&'a str>,
    pub at: UnixNanos,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    pub total: NanoUsd,
    /// `<table version>/<provider>/<model>[/<tier>]@<valid from>`, or `reported`. A price that holds for
    /// all time before the next says `@undated`.
    pub price_id: String,
}

impl PriceTable {
    /// The table compiled in from `config/prices.toml`.
    pub fn embedded() -> Result<Self, Error> {
        let layer = Layer::parse(include_str!("../../config/prices.toml"), "prices.toml")?;
        Ok(Self { layers: vec![Arc::new(layer)] })
    }

    /// Rows of `text` before the embedded ones. A row for a model that the table has already wins for
    /// all its names wherever the row is valid; elsewhere the older price goes on.
    pub fn with_overrides(mut self, text: &str, name: &str) -> Result<Self, Error> {
        self.layers.insert(0, Arc::new(Layer::parse(text, name)?));
        Ok(self)
    }

    /// `None`: no price is known for this model at this time, or the usage is empty.
    pub fn cost(&self, usage: &Usage, billing: &Billing<'_>) -> Option<Cost> {
        if let Some(reported) = usage.reported_cost_nano_usd.filter(|nanos| *nanos >= 0) {
            return Some(Cost { total: NanoUsd(reported), price_id: REPORTED.to_owned() });
        }
        if usage.is_empty() {
            return None;
        }
        let price = self.price(billing)?;
        Some(Cost { total: price.total(usage)?, price_id: price.id })
    }

    /// The price that holds for a call: the answering model's, else the asked one's.
    fn price(&self, billing: &Billing<'_>) -> Option<Price<'_>> {
        let models = [billing.response_model, billing.request_model];
        let (layer, row) = models.into_iter().flatten().find_map(|model| self.find(model, billing))?;
        let (tier, schedule) = tier(row, billing.service_tier)?;
        let tier = tier.map(|tier| format!("/{tier}")).unwrap_or_default();
        let from = row.valid_from.map_or_else(|| "undated".to_owned(), UnixNanos::date);
        Some(Price {
            schedule,
            web_search: row.web_search,
            thousandths: row.peak.as_ref().map_or(1_000, |peak| peak.thousandths(billing.at)),
            id: format!("{}/{}/{}{tier}@{from}", layer.version, row.provider, row.model),
        })
    }

    /// The row that is valid at the time of the call, for the most certain reading of a model's name.
    fn find(&self, model: &str, billing: &Billing<'_>) -> Option<(&Layer, &Row)> {
        naming::candidates(billing.provider, model).into_iter().find_map(|candidate| {
            let name = key(&candidate.model);
            let valid = |provider: &str| self.valid(provider, &name, billing.at);
            match &candidate.providers {
                Providers::First(chain) => chain.iter().find_map(|provider| valid(provider)),
                Providers::Custom(own) => valid(own).or_else(|| {
                    let mut known = CANONICAL.iter().filter_map(|provider| valid(provider));
                    known.next().filter(|_| known.next().is_none())
                }),
            }
        })
    }

    /// An alias in one layer stands for the model in all, so that overriding a model covers its aliases.
    fn valid(&self, provider: &str, name: &str, at: UnixNanos) -> Option<(&Layer, &Row)> {
        let known = self.layers.iter().find_map(|layer| layer.model(provider, name))?;
        let canonical = key(&known.model);
        self.layers.iter().find_map(|layer| {
            let model = layer.model(provider, name).or_else(|| layer.model(provider, &canonical))?;
            let row = model.rows.iter().find(|row| row.valid_from.is_none_or(|from| from <= at))?;
            Some((&**layer, row))
        })
    }
}

/// The price of one call.
struct Price<'a> {
    schedule: &'a Schedule,
    web_search: Option<i128>,
    /// Multiplier of the hour.
    thousandths: i128,
    id: String,
}

impl Price<'_> {
    fn parts(&self, usage: &Usage) -> Option<Vec<Part>> {
        self.schedule.parts(usage)
    }

    /// Thousandths of femto-USD for searches; `None` when there were some and no price for them.
    fn searches(&self, usage: &Usage) -> Option<i128> {
        match usage.web_searches.unwrap_or(0) {
            0 => Some(0),
            count => self.web_search?.checked_mul(count.into())?.checked_mul(1_000),
        }
    }

    fn total(&self, usage: &Usage) -> Option<NanoUsd> {
        let mut sum = self.searches(usage)?;
        for part in self.parts(usage)? {
            sum = sum.checked_add(part.femto.checked_mul(self.thousandths)?)?;
        }
        rates::nanos(sum)
    }
}

/// The rates of the served tier; `None` when the tier is a special one that the row has no price for.
fn tier<'a>(row: &'a Row, served: Option<&str>) -> Option<(Option<String>, &'a Schedule)> {
    let served = served.unwrap_or_default().trim().to_lowercase();
    match served.as_str() {
        // What vendors call service at list price.
        "" | "default" | "standard" | "standard_only" | "auto" | "on_demand" => Some((None, &row.standard)),
        name => {
            // OpenAI calls its priority tier `fast` in some places.
            let names = if name == "fast" { ["fast", "priority"] } else { [name, name] };
            names.into_iter().find_map(|name| Some((Some(name.to_owned()), row.service_tiers.get(name)?)))
        }
    }
}

impl Layer {
    fn parse(text: &str, file: &str) -> Result<Self, Error> {
        let (version, rows) = table::parse(text, file)?;
        let version = version.unwrap_or_else(|| stem(file).to_owned());
        let mut layer = Self { version, models: Vec::new(), names: HashMap::new() };
        let mut aliases = Vec::new();
        for mut row in rows {
            let name = (row.provider.clone(), key(&row.model));
            aliases.extend(row.aliases.drain(..).map(|alias| (name.clone(), alias)));
            let models = &mut layer.models;
            let index = *layer.names.entry(name).or_insert_with(|| {
                models.push(Model { model: row.model.clone(), rows: Vec::new() });
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
        }
        Ok(layer)
    }

    fn index(&self, provider: &str, name: &str) -> Option<usize> {
        self.names.get(&(provider.to_owned(), name.to_owned())).copied()
    }

    fn model(&self, provider: &str, name: &str) -> Option<&Model> {
        self.models.get(self.index(provider, name)?)
    }
}

/// A file's name without folders and extension: short enough for a price id.
fn stem(file: &str) -> &str {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    name.split_once('.').map_or(name, |(stem, _)| stem)
}
