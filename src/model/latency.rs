//! How long calls took, as a histogram small enough to keep with a run: sixteen buckets to each doubling, so
//! that any percentile is within 3.2 % of the true one, and adding two gives the histogram of both.

use std::collections::BTreeMap;

/// Counts of durations. Durations below 16 µs have a bucket per microsecond.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latency {
    buckets: BTreeMap<u16, u64>,
}

const STEPS: u64 = 16;

fn bucket(ns: i64) -> u16 {
    let micros = u64::try_from(ns.max(0) / 1_000).unwrap_or_default();
    if micros < STEPS {
        return micros as u16;
    }
    let doublings = micros.ilog2() - STEPS.ilog2();
    // The four bits behind the first one tell which of its sixteen.
    (STEPS * u64::from(doublings) + (micros >> doublings)) as u16
}

/// The middle of a bucket, in nanoseconds.
fn middle(bucket: u16) -> i64 {
    let bucket = u64::from(bucket);
    let (low, width) = if bucket < 2 * STEPS {
        (bucket, 1)
    } else {
        let doublings = (bucket / STEPS - 1).min(52);
        ((STEPS + bucket % STEPS) << doublings, 1 << doublings)
    };
    i64::try_from(low * 1_000 + width * 500).unwrap_or(i64::MAX)
}

impl Latency {
    pub fn add(&mut self, ns: i64) {
        *self.buckets.entry(bucket(ns)).or_default() += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            let all = self.buckets.entry(*bucket).or_default();
            *all = all.saturating_add(*count);
        }
    }

    /// Takes back what was added before.
    pub fn subtract(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            if let Some(all) = self.buckets.get_mut(bucket) {
                *all = all.saturating_sub(*count);
            }
        }
        self.buckets.retain(|_, count| *count > 0);
    }

    pub fn count(&self) -> u64 {
        self.buckets.values().sum()
    }

    /// The duration that a share of the calls stays within, in nanoseconds; `None` without calls.
    pub fn quantile(&self, share: f64) -> Option<i64> {
        let rank = (share.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0u64;
        let found = self.buckets.iter().find(|(_, count)| {
            seen += **count;
            seen >= rank
        });
        found.map(|(bucket, _)| middle(*bucket))
    }

    /// Bucket and count of each that is not empty, in order: what is stored.
    pub fn buckets(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        self.buckets.iter().map(|(bucket, count)| (*bucket, *count))
    }
}

impl FromIterator<(u16, u64)> for Latency {
    fn from_iter<I: IntoIterator<Item = (u16, u64)>>(buckets: I) -> Self {
        Self { buckets: buckets.into_iter().filter(|(_, count)| *count > 0).collect() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn percentiles_are_near(mut micros in proptest::collection::vec(1u64..1 << 40, 1..200), share in 0.0f64..=1.0) {
            let mut latency = Latency::default();
            micros.iter().for_each(|micros| latency.add((micros * 1_000) as i64));
            micros.sort_unstable();
            let rank = ((share * micros.len() as f64).ceil() as usize).clamp(1, micros.len());
            let exact = micros[rank - 1] as f64 * 1e3;
            let found = latency.quantile(share).unwrap() as f64;
            prop_assert!((found - exact).abs() <= exact * 0.032 + 500.0, "{found} for {exact}");
            prop_assert_eq!(latency.buckets().collect::<Latency>(), latency);
        }

        #[test]
        fn what_is_merged_can_be_taken_back(one in proptest::collection::vec(any::<i64>(), 0..50),
                                            two in proptest::collection::vec(any::<i64>(), 0..50)) {
            let of = |all: &[i64]| {
                let mut latency = Latency::default();
                all.iter().for_each(|ns| latency.add(*ns));
                latency
            };
            let mut both = of(&one);
            both.merge(&of(&two));
            prop_assert_eq!(both.count(), (one.len() + two.len()) as u64);
            both.subtract(&of(&two));
            prop_assert_eq!(both, of(&one));
        }
    }

    #[test]
    fn no_calls_have_no_percentile() {
        assert_eq!(Latency::default().quantile(0.5), None);
    }
}
