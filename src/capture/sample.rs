//! Which calls are counted a second time to learn what our own token counts are worth. Counting costs
//! milliseconds, so few calls of a model are: at first every eighth, later one of many.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{
    model::{
        call::{Held, TokenSample},
        exchange::Exchange,
        usage::{Usage, UsageSource},
    },
    tokens,
};

/// Models that are followed; beyond this, new names are not.
const MODELS: usize = 500;
const FIRST: u64 = 64;
const OFTEN: u64 = 8;
const SELDOM: u64 = 256;

/// Calls seen by model and what their input held.
#[derive(Debug, Default)]
pub(super) struct Sampler(Mutex<HashMap<String, HashMap<Held, u64>>>);

impl Sampler {
    /// Counts the call again if it is one of those that are.
    pub(super) fn take(
        &self,
        exchange: &Exchange,
        usage: &Usage,
        source: Option<UsageSource>,
    ) -> Option<TokenSample> {
        let model = exchange.response.model.as_ref().or(exchange.request.model.as_ref())?;
        // Batches and the like answer for models that their request does not show.
        if source != Some(UsageSource::Reported) || !exchange.dialect.is_text() {
            return None;
        }
        let held = tokens::held(exchange);
        if !self.is_due(model, held) {
            return None;
        }
        let estimate = tokens::estimate(exchange)?.usage;
        Some(TokenSample {
            model: model.clone(),
            held,
            input_reported: estimate.input.and(usage.input).unwrap_or(0),
            input_estimated: estimate.input.unwrap_or(0),
            // Reasoning is mostly hidden, and where it is shown often a summary: only the rest is compared.
            output_reported: estimate
                .output
                .and(usage.output)
                .unwrap_or(0)
                .saturating_sub(usage.reasoning.unwrap_or(0)),
            output_estimated: tokens::said(exchange).unwrap_or(0),
        })
    }

    fn is_due(&self, model: &str, held: Held) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains_key(model) {
            if seen.len() >= MODELS {
                return false;
            }
            seen.insert(model.to_owned(), HashMap::new());
        }
        let Some(counts) = seen.get_mut(model) else { return false };
        let count = counts.entry(held).or_insert(0u64);
        *count += 1;
        // Media and tools are rarer than text, and harder to count: already the first is.
        (*count == 1 && held != Held::Text)
            || count.is_multiple_of(if *count <= FIRST { OFTEN } else { SELDOM })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_calls_of_a_model_are_counted_again() {
        let sampler = Sampler::default();
        let due = |held| (1..=600).filter(|_| sampler.is_due("m", held)).count();
        assert_eq!(due(Held::Text), 8 + 2);
        assert_eq!(due(Held::Images), 1 + 8 + 2);
        assert!((1..8).all(|_| !sampler.is_due("another", Held::Text)));
    }
}
