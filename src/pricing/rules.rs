//! Discounts and margins: what of a list price is really billed, by provider, upstream, model and
//! experiment. The first rule that fits decides; without one the list price is billed.

use crate::model::{Glob, NanoUsd, call::Charge};

/// Decimals of a factor.
pub(super) const FACTOR_DECIMALS: u32 = 6;
const ONE: i128 = 1_000_000;

/// One rule of a price file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) provider: Option<Glob>,
    pub(super) upstream: Option<Glob>,
    pub(super) model: Option<Glob>,
    pub(super) experiment: Option<Glob>,
    /// Millionths.
    pub(super) factor: i128,
}

impl Rule {
    pub(super) fn fits(&self, provider: &str, upstream: &str, model: &str) -> bool {
        let fits = |glob: &Option<Glob>, name: &str| glob.as_ref().is_none_or(|glob| glob.matches(name));
        fits(&self.provider, provider) && fits(&self.upstream, upstream) && fits(&self.model, model)
    }

    pub(super) fn charge(&self, cost: NanoUsd) -> Option<Charge> {
        let scaled = i128::from(cost.0).checked_mul(self.factor)?.checked_add(ONE / 2)?.div_euclid(ONE);
        let billed = NanoUsd(i64::try_from(scaled).ok()?);
        Some(Charge { experiment: self.experiment.clone(), billed, rule: self.name.clone() })
    }
}

/// The charges in question for a cost, up to the first that holds in every experiment.
pub(super) fn charges<'r>(
    rules: impl Iterator<Item = &'r Rule>,
    cost: NanoUsd,
    (provider, upstream, model): (&str, &str, &str),
) -> Vec<Charge> {
    let mut charges = Vec::new();
    for rule in rules.filter(|rule| rule.fits(provider, upstream, model)) {
        let Some(charge) = rule.charge(cost) else { continue };
        let last = charge.experiment.is_none();
        charges.push(charge);
        if last {
            break;
        }
    }
    charges
}
