//! Usage × price → money (layer 1): pure and exact. No network, no clock, no float; whoever asks passes
//! the time of the call in. An unknown price is `None`, never zero (invariant 6).

mod decimal;
mod explain;
mod fees;
pub mod import;
mod known;
mod layer;
mod list;
mod naming;
mod place;
mod rates;
mod rules;
mod table;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

pub use self::{
    explain::{Explanation, Line},
    list::{PriceChange, PriceRow},
};
use self::{
    fees::Fee,
    known::{Found, Known},
    layer::Layer,
    naming::{CANONICAL, Candidate, Providers, key},
    rates::{Part, Rates},
    table::{HourPrice, Row},
};
use crate::model::{
    Error, NanoUsd, UnixNanos,
    call::{Call, Charge},
    usage::Usage,
};

/// What the provider itself said the call cost.
const REPORTED: &str = "reported";

/// Dated prices by provider and model. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PriceTable {
    /// Overrides first.
    layers: Vec<Arc<Layer>>,
    /// Rows that hold at one upstream, before all others.
    upstreams: HashMap<String, Arc<Layer>>,
    known: Arc<Known>,
}

/// What decides a price besides the counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Billing<'a> {
    pub upstream: &'a str,
    pub provider: &'a str,
    /// The answering model first, then the asked one.
    pub response_model: Option<&'a str>,
    pub request_model: Option<&'a str>,
    /// The served tier (`default`, `flex`, `priority`, `batch`, …).
    pub service_tier: Option<&'a str>,
    /// Where it was processed.
    pub region: Option<&'a str>,
    pub at: UnixNanos,
}

impl<'a> Billing<'a> {
    pub fn of(call: &'a Call) -> Self {
        Self {
            upstream: &call.upstream,
            provider: &call.provider,
            response_model: call.response_model.as_deref(),
            request_model: call.request_model.as_deref(),
            service_tier: call.service_tier.as_deref(),
            region: call.region.as_deref(),
            at: call.started_at,
        }
    }

    fn models(&self) -> impl Iterator<Item = &'a str> {
        [self.response_model, self.request_model].into_iter().flatten()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    pub total: NanoUsd,
    /// `<table version>/<provider>/<model>[/<tier>][/<region>]@<valid from>`, or `reported`. A price that
    /// holds for all time before the next says `@undated`.
    pub price_id: String,
    /// What is billed in place of the list price, by experiment.
    pub charges: Vec<Charge>,
}

impl PriceTable {
    /// The table compiled in from `config/prices.toml`.
    pub fn embedded() -> Result<Self, Error> {
        let layer = Layer::parse(include_str!("../../config/prices.toml"), "prices.toml", None)?;
        let table = Self { layers: vec![Arc::new(layer)], upstreams: HashMap::new(), known: Arc::default() };
        Ok(table.changed())
    }

    /// Rows of `text` before the ones that are there. A row for a model that the table has already wins
    /// for all its names wherever the row is valid; elsewhere the older price goes on.
    pub fn with_overrides(mut self, text: &str, name: &str) -> Result<Self, Error> {
        self.layers.insert(0, Arc::new(Layer::parse(text, name, None)?));
        Ok(self.changed())
    }

    /// Rows that hold for calls to one upstream only. They need not name its provider.
    pub fn with_upstream(
        mut self,
        upstream: &str,
        provider: &str,
        text: &str,
        name: &str,
    ) -> Result<Self, Error> {
        let layer = Layer::parse(text, name, Some(&naming::provider(provider)))?;
        self.upstreams.insert(upstream.to_owned(), Arc::new(layer));
        Ok(self.changed())
    }

    fn changed(mut self) -> Self {
        let layers = self.layers.iter().chain(self.upstreams.values()).map(|layer| &**layer);
        self.known = Arc::new(Known::of(layers));
        self
    }

    /// `None`: no price is known for this model at this time, or the usage is empty and the price asks for counts.
    pub fn cost(&self, usage: &Usage, billing: &Billing<'_>) -> Option<Cost> {
        let (total, price_id) = match usage.reported_cost_nano_usd.filter(|nanos| *nanos >= 0) {
            Some(reported) => (NanoUsd(reported), REPORTED.to_owned()),
            None => {
                let price = self.price(billing)?;
                if usage.is_empty() && !price.row.is_by_request() {
                    return None;
                }
                (price.total(usage)?, price.id())
            }
        };
        let charges = self.charges(total, billing);
        Some(Cost { total, price_id, charges })
    }

    fn charges(&self, total: NanoUsd, billing: &Billing<'_>) -> Vec<Charge> {
        if self.layers_of(billing.upstream).all(|layer| layer.rules.is_empty()) {
            return Vec::new();
        }
        let model = billing.models().next().unwrap_or_default();
        let provider = naming::provider(billing.provider);
        let rules = self.layers_of(billing.upstream).flat_map(|layer| &layer.rules);
        rules::charges(rules, total, (&provider, billing.upstream, model))
    }

    fn layers_of(&self, upstream: &str) -> impl Iterator<Item = &Layer> {
        self.upstreams.get(upstream).into_iter().chain(&self.layers).map(|layer| &**layer)
    }

    /// The price that holds for a call: the answering model's, else the asked one's.
    fn price<'t>(&'t self, billing: &Billing<'_>) -> Option<Price<'t>> {
        let (layer, row, candidate) = billing.models().find_map(|model| self.find(model, billing))?;
        let region = candidate.region.clone().or_else(|| billing.region.map(str::to_lowercase));
        let cloud = candidate.reseller(&row.provider, region.as_deref());
        let region_factor = row.region_factor(region.as_deref(), cloud)?;
        Some(Price {
            layer,
            row,
            named: candidate.model,
            tier: tier(row, billing.service_tier)?,
            hour: row.hour_price(billing.at),
            region_factor,
            region: region.filter(|_| region_factor != 1_000),
        })
    }

    /// The row that is valid at the time of the call, for the most certain reading of a model's name.
    fn find(&self, model: &str, billing: &Billing<'_>) -> Option<(&Layer, &Row, Candidate)> {
        let Billing { upstream, provider, at, .. } = *billing;
        let Found { layer, model, row, candidate } =
            self.known.find(upstream, provider, model, at, || self.look_up(model, billing))?;
        let layer = self.layers_of(upstream).nth(layer)?;
        Some((layer, layer.models.get(model)?.rows.get(row)?, candidate))
    }

    fn look_up(&self, model: &str, billing: &Billing<'_>) -> Option<Found> {
        let renamed = self.layers_of(billing.upstream).find_map(|layer| layer.renamed(model));
        naming::candidates(billing.provider, renamed.unwrap_or(model)).into_iter().find_map(|candidate| {
            let name = key(&candidate.model);
            let valid = |provider: &str| self.valid(provider, &name, billing);
            let found = match &candidate.providers {
                Providers::First(chain) => chain.iter().find_map(|provider| valid(provider)),
                Providers::Custom(own) => valid(own).or_else(|| {
                    let mut known = CANONICAL.iter().filter_map(|provider| valid(provider));
                    known.next().filter(|_| known.next().is_none())
                }),
            };
            found.map(|[layer, model, row]| Found { layer, model, row, candidate })
        })
    }

    /// Layer, model and row. An alias in one layer stands for the model in all, so that overriding a model covers
    /// its aliases.
    fn valid(&self, provider: &str, name: &str, billing: &Billing<'_>) -> Option<[usize; 3]> {
        let layers = || self.layers_of(billing.upstream);
        let known = layers().find_map(|layer| layer.model(provider, name))?;
        let canonical = key(&known.1.model);
        layers().enumerate().find_map(|(number, layer)| {
            let (index, model) = layer.model(provider, name).or_else(|| layer.model(provider, &canonical))?;
            let valid = |row: &Row| row.valid_from.is_none_or(|from| from <= billing.at);
            Some([number, index, model.rows.iter().position(valid)?])
        })
    }
}

/// The price of one call.
struct Price<'a> {
    layer: &'a Layer,
    row: &'a Row,
    /// The form of the model's name by which the row was found.
    named: String,
    tier: Option<&'a str>,
    hour: Option<&'a HourPrice>,
    /// Set where it moves the price.
    region: Option<String>,
    /// Thousandths.
    region_factor: i128,
}

impl<'a> Price<'a> {
    fn id(&self) -> String {
        let Self { row, .. } = self;
        let tier = self.tier.map(|tier| format!("/{tier}")).unwrap_or_default();
        let region = self.region.as_ref().map(|region| format!("/{region}")).unwrap_or_default();
        let from = row.valid_from.map_or_else(|| "undated".to_owned(), UnixNanos::date);
        format!("{}/{}/{}{tier}{region}@{from}", self.layer.version, row.provider, row.model)
    }

    /// The rates for an input of this length, and the threshold that it is above.
    fn rates(&self, input: u64) -> (&'a Rates, Option<u64>) {
        if let Some(HourPrice::Rates(rates)) = self.hour {
            return (rates, None);
        }
        let schedule = self.tier.and_then(|tier| self.row.service_tiers.get(tier));
        schedule.unwrap_or(&self.row.standard).rates(input)
    }

    fn parts(&self, usage: &Usage) -> Option<Vec<Part>> {
        self.rates(usage.input.unwrap_or(0)).0.parts(usage)
    }

    fn fees(&self, usage: &Usage) -> Option<Vec<Fee>> {
        self.row.fees.of(usage)
    }

    /// The hour's factor in thousandths.
    fn hour_factor(&self) -> i128 {
        match self.hour {
            Some(HourPrice::Times(times)) => *times,
            _ => 1_000,
        }
    }

    /// Hour and region move the price of tokens, not of fees.
    fn total(&self, usage: &Usage) -> Option<NanoUsd> {
        let factor = self.hour_factor().checked_mul(self.region_factor)?;
        let mut millionths: i128 = 0;
        for part in self.parts(usage)? {
            millionths = millionths.checked_add(part.femto.checked_mul(factor)?)?;
        }
        for fee in self.fees(usage)? {
            millionths = millionths.checked_add(fee.femto.checked_mul(1_000_000)?)?;
        }
        rates::nanos(millionths)
    }
}

/// The served tier as the row knows it (`None` inside for list price); `None` when it is a special one that
/// the row has no price for.
fn tier<'a>(row: &'a Row, served: Option<&str>) -> Option<Option<&'a str>> {
    let served = served.unwrap_or_default().trim().to_lowercase();
    match served.as_str() {
        // What vendors call service at list price.
        "" | "default" | "standard" | "standard_only" | "auto" | "on_demand" => Some(None),
        name => {
            // OpenAI calls its priority tier `fast` in some places.
            let names = if name == "fast" { ["fast", "priority"] } else { [name, name] };
            let known = |name| row.service_tiers.get_key_value(name).map(|(known, _)| Some(known.as_str()));
            names.into_iter().find_map(known)
        }
    }
}
