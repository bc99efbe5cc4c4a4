//! The arithmetic of a cost, line by line: the same steps that `PriceTable::cost` takes, written down.

use serde::{Deserialize, Serialize};

use super::{Billing, PriceTable, REPORTED, decimal, fees::FEMTO_DECIMALS, rates};
use crate::model::{NanoUsd, UnixNanos, usage::Usage};

/// One line of a bill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Line {
    /// A class of tokens or a meter, as the price file calls it.
    pub item: String,
    pub quantity: u64,
    /// Dollars per `unit`, exact.
    pub rate_usd: String,
    pub unit: String,
    /// Exact, before hour and region.
    pub amount_usd: String,
}

/// How a call's cost comes about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Explanation {
    pub price_id: String,
    /// Whose row it is, and which.
    pub provider: Option<String>,
    pub model: Option<String>,
    /// The form of the call's model name by which the row was found.
    pub found_as: Option<String>,
    /// The first day of the price, UTC; null for the oldest one known.
    pub valid_from: Option<String>,
    /// Where the price was read and when.
    pub source: Option<String>,
    pub checked: Option<String>,
    pub service_tier: Option<String>,
    /// The threshold of input tokens that the call is above.
    pub above_input_tokens: Option<u64>,
    pub lines: Vec<Line>,
    /// What the hour and the region make of the tokens' price; absent where it is 1.
    pub hour_factor: Option<String>,
    pub region: Option<String>,
    pub region_factor: Option<String>,
    pub total_nano_usd: i64,
    pub total_usd: String,
    /// Discounts and margins that fit: `rule: amount [in experiments like …]`, the first that holds decides.
    pub charges: Vec<String>,
}

impl PriceTable {
    /// `None` where the cost is unknown, for the reason that `why_unknown` gives.
    pub fn explain(&self, usage: &Usage, billing: &Billing<'_>) -> Option<Explanation> {
        let cost = self.cost(usage, billing)?;
        let mut explanation = Explanation {
            price_id: cost.price_id,
            provider: None,
            model: None,
            found_as: None,
            valid_from: None,
            source: None,
            checked: None,
            service_tier: None,
            above_input_tokens: None,
            lines: Vec::new(),
            hour_factor: None,
            region: None,
            region_factor: None,
            total_nano_usd: cost.total.0,
            total_usd: usd(cost.total),
            charges: cost
                .charges
                .iter()
                .map(|charge| {
                    let place = charge.experiment.as_ref();
                    let place = place.map(|glob| format!(" in experiments like {glob}")).unwrap_or_default();
                    format!("{}: {}{place}", charge.rule, charge.billed)
                })
                .collect(),
        };
        if explanation.price_id == REPORTED {
            return Some(explanation);
        }
        let price = self.price(billing)?;
        let thousandths = |factor: i128| (factor != 1_000).then(|| decimal::shown(factor, 3));
        explanation.provider = Some(price.row.provider.clone());
        explanation.model = Some(price.row.model.clone());
        explanation.found_as = Some(price.named.clone());
        explanation.valid_from = price.row.valid_from.map(UnixNanos::date);
        explanation.source.clone_from(&price.row.source);
        explanation.checked.clone_from(&price.row.checked);
        explanation.service_tier = price.tier.map(str::to_owned);
        explanation.above_input_tokens = price.rates(usage.input.unwrap_or(0)).1;
        explanation.hour_factor = thousandths(price.hour_factor());
        explanation.region_factor = thousandths(price.region_factor);
        explanation.region.clone_from(&price.region);
        for part in price.parts(usage)? {
            explanation.lines.push(Line {
                item: part.class.key().to_owned(),
                quantity: part.tokens,
                rate_usd: decimal::shown(part.rate, rates::PER_MILLION),
                unit: "per million tokens".to_owned(),
                amount_usd: decimal::shown(part.femto, FEMTO_DECIMALS),
            });
        }
        for fee in price.fees(usage)? {
            explanation.lines.push(Line {
                item: fee.meter.as_str().to_owned(),
                quantity: fee.count,
                rate_usd: decimal::shown(fee.rate, FEMTO_DECIMALS),
                unit: fee.unit.to_owned(),
                amount_usd: decimal::shown(fee.femto, FEMTO_DECIMALS),
            });
        }
        Some(explanation)
    }

    /// Why a usage has no known cost, in a sentence.
    pub fn why_unknown(&self, usage: &Usage, billing: &Billing<'_>) -> String {
        let named: Vec<_> = billing.models().map(|model| format!("{:?}", model)).collect();
        let (named, provider) = (named.join(" or "), billing.provider);
        if named.is_empty() {
            return "the call names no model".to_owned();
        }
        if usage.is_empty() {
            return "the call has no usage, reported or estimated".to_owned();
        }
        let found = billing.models().find_map(|model| self.find(model, billing));
        let Some((_, row, _)) = found else {
            return format!(
                "no price is known of {named} at {provider} on {}; add a [[price]] row to your price file, or \
                 give the name its model under [names]",
                billing.at.date()
            );
        };
        let place = format!("{}/{}", row.provider, row.model);
        let Some(price) = self.price(billing) else {
            return match super::tier(row, billing.service_tier) {
                None => format!(
                    "{place} has no price for the service tier {:?}",
                    billing.service_tier.unwrap_or_default()
                ),
                Some(_) => format!("the price of {place} depends on the region, which is not known"),
            };
        };
        let unpriced = if price.parts(usage).is_none() {
            "a class of tokens that was used"
        } else {
            "something that is billed apart and was used (searches, containers, seconds, …)"
        };
        format!("{place} has no price for {unpriced}")
    }
}

fn usd(amount: NanoUsd) -> String {
    amount.to_string().replacen('$', "", 1)
}
