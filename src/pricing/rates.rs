//! Unit prices, and how the tokens of a usage fall under them. All amounts are femto-USD (10⁻¹⁵
//! dollars): one dollar per million tokens is 10⁹ femto-USD per token, so nine decimals of a list price
//! stay exact. Rounding happens once per call, when the total becomes nano-USD.

use crate::model::{
    NanoUsd,
    usage::{Meter, Usage},
};

/// Decimals of a dollar per million tokens that make one femto-USD per token.
pub(super) const PER_MILLION: u32 = 9;
/// Femto-USD in one nano-USD.
const FEMTO_PER_NANO: i128 = 1_000_000;

/// A kind of token that can have a price of its own. Every token of a call is of exactly one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Input,
    CacheRead,
    CacheReadAudio,
    CacheReadImage,
    CacheWrite,
    CacheWriteLong,
    InputAudio,
    InputImage,
    Output,
    Reasoning,
    OutputAudio,
    OutputImage,
}

impl Class {
    pub(super) const ALL: [Self; 12] = [
        Self::Input,
        Self::CacheRead,
        Self::CacheReadAudio,
        Self::CacheReadImage,
        Self::CacheWrite,
        Self::CacheWriteLong,
        Self::InputAudio,
        Self::InputImage,
        Self::Output,
        Self::Reasoning,
        Self::OutputAudio,
        Self::OutputImage,
    ];

    /// The key in the price file.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CacheRead => "cache_read",
            Self::CacheReadAudio => "cache_read_audio",
            Self::CacheReadImage => "cache_read_image",
            Self::CacheWrite => "cache_write",
            Self::CacheWriteLong => "cache_write_long",
            Self::InputAudio => "input_audio",
            Self::InputImage => "input_image",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::OutputAudio => "output_audio",
            Self::OutputImage => "output_image",
        }
    }

    pub(super) fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.key() == key)
    }

    /// Whose price is charged where the class has none.
    fn falls_to(self) -> Option<Self> {
        match self {
            Self::Input | Self::Output => None,
            Self::CacheWriteLong => Some(Self::CacheWrite),
            Self::CacheReadAudio | Self::CacheReadImage => Some(Self::CacheRead),
            Self::CacheRead | Self::CacheWrite | Self::InputAudio | Self::InputImage => Some(Self::Input),
            Self::Reasoning | Self::OutputAudio | Self::OutputImage => Some(Self::Output),
        }
    }
}

/// Femto-USD per token, by class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rates([Option<i128>; Class::ALL.len()]);

impl Rates {
    pub(super) fn set(&mut self, class: Class, femto: i128) {
        self.0[class as usize] = Some(femto);
    }

    pub(super) fn own(&self, class: Class) -> Option<i128> {
        self.0[class as usize]
    }

    fn charged(&self, class: Class) -> Option<i128> {
        self.own(class).or_else(|| self.charged(class.falls_to()?))
    }

    /// What each class of token costs; `None` when tokens were used that have no price.
    pub(super) fn parts(&self, usage: &Usage) -> Option<Vec<Part>> {
        let mut parts = Vec::new();
        for (class, tokens) in split(usage) {
            if tokens > 0 {
                let rate = self.charged(class)?;
                parts.push(Part { class, tokens, rate, femto: rate.checked_mul(tokens.into())? });
            }
        }
        Some(parts)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Classes with a price of their own.
    pub(super) fn classes(&self) -> Vec<Class> {
        Class::ALL.into_iter().filter(|class| self.own(*class).is_some()).collect()
    }

    /// Every rate × `numerator` / `denominator`; `None` where that is not a whole number.
    fn scaled(&self, numerator: i128, denominator: i128) -> Option<Self> {
        let mut scaled = Self::default();
        for class in self.classes() {
            let product = self.own(class)?.checked_mul(numerator)?;
            if product.checked_rem(denominator)? != 0 {
                return None;
            }
            scaled.set(class, product / denominator);
        }
        Some(scaled)
    }
}

/// Rates by length of the input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) base: Rates,
    /// `(threshold, rates)` in rising order. A cliff, not a staircase: one token more than the threshold
    /// and all tokens of the call are charged at these rates.
    pub(super) above: Vec<(u64, Rates)>,
}

impl Schedule {
    /// The rates for an input of this length, and the threshold that it is above.
    pub(super) fn rates(&self, input: u64) -> (&Rates, Option<u64>) {
        self.above
            .iter()
            .rev()
            .find(|(threshold, _)| input > *threshold)
            .map_or((&self.base, None), |(threshold, rates)| (rates, Some(*threshold)))
    }

    pub(super) fn scaled(&self, numerator: i128, denominator: i128) -> Option<Self> {
        let mut above = Vec::with_capacity(self.above.len());
        for (threshold, rates) in &self.above {
            above.push((*threshold, rates.scaled(numerator, denominator)?));
        }
        Some(Self { base: self.base.scaled(numerator, denominator)?, above })
    }
}

/// The tokens of one class and their price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) class: Class,
    pub(super) tokens: u64,
    /// Femto-USD per token.
    pub(super) rate: i128,
    pub(super) femto: i128,
}

/// Every token under exactly one class. Classes may overlap as reported (cached audio counts as both
/// cached and audio) and providers miscount, so each class takes from what is left: the parts always
/// sum to the totals, and no remainder goes below zero. Cached tokens come first: what may be cached
/// text or fresh audio was in fact reported as cached.
pub(super) fn split(usage: &Usage) -> [(Class, u64); Class::ALL.len()] {
    let long = usage.cache_write_long.unwrap_or(0);
    let write = usage.cache_write.unwrap_or(0).max(long);
    let mut left = usage.input.unwrap_or(0);
    let mut cache_read = take(&mut left, usage.cache_read.unwrap_or(0));
    // Where the cached part says what it was, it is not counted as fresh audio or images again.
    let cache_read_audio = take(&mut cache_read, usage.meter(Meter::CacheReadAudio));
    let cache_read_image = take(&mut cache_read, usage.meter(Meter::CacheReadImage));
    let cache_write_long = take(&mut left, long);
    let cache_write = take(&mut left, write - long);
    let input_audio = take(&mut left, usage.input_audio.unwrap_or(0).saturating_sub(cache_read_audio));
    let input_image = take(&mut left, usage.input_image.unwrap_or(0).saturating_sub(cache_read_image));
    let input = left;

    let mut left = usage.output.unwrap_or(0);
    let output_audio = take(&mut left, usage.output_audio.unwrap_or(0));
    let output_image = take(&mut left, usage.output_image.unwrap_or(0));
    let reasoning = take(&mut left, usage.reasoning.unwrap_or(0));
    let output = left;
    [
        (Class::Input, input),
        (Class::CacheRead, cache_read),
        (Class::CacheReadAudio, cache_read_audio),
        (Class::CacheReadImage, cache_read_image),
        (Class::CacheWrite, cache_write),
        (Class::CacheWriteLong, cache_write_long),
        (Class::InputAudio, input_audio),
        (Class::InputImage, input_image),
        (Class::Output, output),
        (Class::Reasoning, reasoning),
        (Class::OutputAudio, output_audio),
        (Class::OutputImage, output_image),
    ]
}

fn take(left: &mut u64, wanted: u64) -> u64 {
    let taken = wanted.min(*left);
    *left -= taken;
    taken
}

/// Millionths of femto-USD to the nearest nano-USD, halves up; `None` beyond nine billion dollars, which
/// no call costs.
pub(super) fn nanos(millionths: i128) -> Option<NanoUsd> {
    let divisor = 1_000_000 * FEMTO_PER_NANO;
    let rounded = millionths.checked_add(divisor / 2)?.div_euclid(divisor);
    i64::try_from(rounded).ok().map(NanoUsd)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_round_up() {
        assert_eq!(nanos(499_999_999_999), Some(NanoUsd(0)));
        assert_eq!(nanos(500_000_000_000), Some(NanoUsd(1)));
        assert_eq!(nanos(1_499_999_999_999), Some(NanoUsd(1)));
        assert_eq!(nanos(i128::MAX), None);
    }

    #[test]
    fn overlapping_counts_are_charged_once() {
        let usage =
            Usage { input: Some(1_000), cache_read: Some(800), input_audio: Some(600), ..Usage::default() };
        let split = split(&usage);
        assert_eq!(split[Class::CacheRead as usize], (Class::CacheRead, 800));
        assert_eq!(split[Class::InputAudio as usize], (Class::InputAudio, 200));
        assert_eq!(split[Class::Input as usize], (Class::Input, 0));
    }

    #[test]
    fn cached_audio_is_no_fresh_audio() {
        let mut usage =
            Usage { input: Some(1_000), cache_read: Some(500), input_audio: Some(600), ..Usage::default() };
        usage.count(Meter::CacheReadAudio, 400);
        let split = split(&usage);
        assert_eq!(split[Class::CacheRead as usize], (Class::CacheRead, 100));
        assert_eq!(split[Class::CacheReadAudio as usize], (Class::CacheReadAudio, 400));
        assert_eq!(split[Class::InputAudio as usize], (Class::InputAudio, 200));
        assert_eq!(split[Class::Input as usize], (Class::Input, 300));
    }

    fn count() -> impl Strategy<Value = Option<u64>> {
        proptest::option::of(prop_oneof![0_u64..2_000, any::<u64>()])
    }

    proptest! {
        #[test]
        fn every_token_has_one_class(
            input in count(), output in count(), counts in proptest::array::uniform8(count()),
        ) {
            let [cache_read, cache_write, cache_write_long, input_audio, input_image, reasoning, output_audio,
                output_image] = counts;
            let usage = Usage {
                input, cache_read, cache_write, cache_write_long, input_audio, input_image, output, reasoning,
                output_audio, output_image, ..Usage::default()
            };
            let split = split(&usage);
            for (index, (class, _)) in split.iter().enumerate() {
                prop_assert_eq!(*class as usize, index);
            }
            let sum = |classes: &[(Class, u64)]| classes.iter().map(|(_, tokens)| u128::from(*tokens)).sum::<u128>();
            prop_assert_eq!(sum(&split[..8]), u128::from(input.unwrap_or(0)));
            prop_assert_eq!(sum(&split[8..]), u128::from(output.unwrap_or(0)));
        }
    }
}
