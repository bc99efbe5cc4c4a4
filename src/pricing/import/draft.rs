//! A row on its way into a price file.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::pricing::{decimal, fees::FEMTO_DECIMALS, naming::key, rates::PER_MILLION};

/// Amounts by the key of the price file, in the smallest unit that is kept.
pub(super) type Amounts = BTreeMap<&'static str, i128>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) aliases: Vec<String>,
    pub(super) valid_from: Option<String>,
    /// Femto-USD per token.
    pub(super) rates: Amounts,
    pub(super) above: BTreeMap<u64, Amounts>,
    pub(super) tiers: BTreeMap<String, Amounts>,
    pub(super) hours: Vec<(String, Amounts)>,
    /// Femto-USD per unit.
    pub(super) fees: Amounts,
}

impl Draft {
    pub(super) fn is_priced(&self) -> bool {
        !self.rates.is_empty() || !self.fees.is_empty()
    }

    pub(super) fn toml(&self) -> String {
        let mut text = format!("\n[[price]]\nprovider = {:?}\nmodel = {:?}\n", self.provider, self.model);
        if !self.aliases.is_empty() {
            text.push_str(&format!("aliases = {:?}\n", self.aliases));
        }
        if let Some(from) = &self.valid_from {
            text.push_str(&format!("valid_from = {from}\n"));
        }
        for (class, femto) in &self.rates {
            text.push_str(&format!("{class} = {}\n", decimal::shown(*femto, PER_MILLION)));
        }
        for (fee, femto) in &self.fees {
            text.push_str(&format!("{fee} = {:?}\n", decimal::shown(*femto, FEMTO_DECIMALS)));
        }
        if !self.above.is_empty() {
            let steps = self.above.iter().map(|(threshold, rates)| {
                format!("{{ input_tokens = {threshold}, {} }}", self.inline(rates))
            });
            text.push_str(&format!("above = [{}]\n", steps.collect::<Vec<_>>().join(", ")));
        }
        if !self.tiers.is_empty() {
            let tiers =
                self.tiers.iter().map(|(tier, rates)| format!("{tier} = {{ {} }}", self.inline(rates)));
            text.push_str(&format!("service_tiers = {{ {} }}\n", tiers.collect::<Vec<_>>().join(", ")));
        }
        for (key, (hours, rates)) in ["peak", "off_peak"].into_iter().zip(&self.hours) {
            text.push_str(&format!("{key} = {{ hours = [{hours}], {} }}\n", self.inline(rates)));
        }
        text
    }

    /// Every class that the row prices, at these rates where they have it, else at the row's.
    fn inline(&self, rates: &Amounts) -> String {
        let all = self.rates.iter().map(|(class, base)| {
            let femto = rates.get(class).unwrap_or(base);
            format!("{class} = {}", decimal::shown(*femto, PER_MILLION))
        });
        all.collect::<Vec<_>>().join(", ")
    }
}

/// What a whole file needs: one row per model and date, and no name for two models.
pub(super) fn settle(drafts: &mut Vec<Draft>) {
    drafts.retain(Draft::is_priced);
    let mut dated = HashSet::new();
    drafts
        .retain(|draft| dated.insert((draft.provider.clone(), key(&draft.model), draft.valid_from.clone())));
    let models: HashSet<_> = drafts.iter().map(|draft| (draft.provider.clone(), key(&draft.model))).collect();
    let mut taken: HashMap<(String, String), String> = HashMap::new();
    for draft in drafts {
        let Draft { provider, model, aliases, .. } = draft;
        aliases.retain(|alias| {
            let name = (provider.clone(), key(alias));
            !models.contains(&name) && taken.entry(name).or_insert_with(|| model.clone()) == model
        });
        aliases.sort();
        aliases.dedup();
    }
}

/// A JSON number's text (`2.5e-06`, `0.25`, `3`) × 10^`scale` × `times`, exact; `None` when it is no amount
/// or has more digits than that.
pub(super) fn amount(number: &serde_json::Number, scale: u32, times: i128) -> Option<i128> {
    let text = number.to_string().to_ascii_lowercase();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits: i128 = format!("{whole}{fraction}").parse().ok().filter(|digits| *digits >= 0)?;
    let shift = i32::try_from(scale).ok()? + exponent - i32::try_from(fraction.len()).ok()?;
    let product = digits.checked_mul(times)?;
    match u32::try_from(shift) {
        Ok(up) => product.checked_mul(10_i128.checked_pow(up)?),
        Err(_) => {
            let down = 10_i128.checked_pow(shift.unsigned_abs())?;
            // Floats of per-token prices carry dust (1.0000000000000001e-07): rounded where it is one.
            let rounded = product.checked_add(down / 2)?.div_euclid(down);
            let off = (rounded.checked_mul(down)? - product).abs();
            (off.checked_mul(1_000_000)? <= product || off == 0).then_some(rounded)
        }
    }
}
