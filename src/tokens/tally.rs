//! A running count that stays affordable: exact up to a budget, by sample or by ratio beyond.

use std::fmt;

use super::TokenCounter;

/// Bytes that are counted exactly per side of an exchange (a debug build does some 2 MB/s, a release
/// build 20).
const EXACT: usize = 2 << 20;
/// A text is counted in slices of this size: an encoder's time on one unbroken run grows faster than the
/// run does. A cut costs at most one token.
const SLICE: usize = 16 << 10;
/// Slices taken of a text that is beyond the budget.
const SAMPLES: usize = 16;

pub(super) struct Tally {
    counter: &'static dyn TokenCounter,
    exact_left: usize,
    sampled_left: usize,
    /// What was really counted.
    counted_bytes: u64,
    counted_tokens: u64,
    tokens: u64,
    given: u64,
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally")
            .field("tokens", &self.tokens)
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

impl Tally {
    pub(super) fn new(counter: &'static dyn TokenCounter) -> Self {
        let (exact_left, sampled_left) = (EXACT, EXACT);
        Self { counter, exact_left, sampled_left, counted_bytes: 0, counted_tokens: 0, tokens: 0, given: 0 }
    }

    pub(super) fn add(&mut self, text: &str) {
        if text.len() <= self.exact_left {
            self.exact_left -= text.len();
            let tokens = self.count(text);
            self.tokens = self.tokens.saturating_add(tokens);
            return;
        }
        let step = text.len() / SAMPLES;
        if step > SLICE && self.sampled_left >= SAMPLES * SLICE {
            self.sampled_left -= SAMPLES * SLICE;
            let (mut bytes, mut tokens) = (0u64, 0u64);
            for sample in 0..SAMPLES {
                let from = boundary(text, sample * step);
                let slice = text.get(from..boundary(text, from + SLICE)).unwrap_or_default();
                bytes += slice.len() as u64;
                tokens += self.count(slice);
            }
            self.tokens = self.tokens.saturating_add(ratio(text.len(), tokens, bytes));
            return;
        }
        // Like what was counted before; there was much of it, or the budget would not be spent.
        let (tokens, bytes) = match self.counted_bytes {
            0 => (1, 4),
            bytes => (self.counted_tokens, bytes),
        };
        self.tokens = self.tokens.saturating_add(ratio(text.len(), tokens, bytes));
    }

    /// Tokens that need no counting, and no scaling either.
    pub(super) fn give(&mut self, tokens: u64) {
        self.given = self.given.saturating_add(tokens);
    }

    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    pub(super) fn given(&self) -> u64 {
        self.given
    }

    fn count(&mut self, text: &str) -> u64 {
        let (mut rest, mut tokens) = (text, 0);
        while !rest.is_empty() {
            let mut end = boundary(rest, SLICE);
            if end < rest.len() {
                // Before white space, where encoders cut too.
                end = rest
                    .get(..end)
                    .and_then(|head| head.rfind(' '))
                    .filter(|space| *space > 0)
                    .unwrap_or(end);
            }
            let (head, tail) = rest.split_at(end);
            tokens += self.counter.count(head);
            rest = tail;
        }
        self.counted_bytes += text.len() as u64;
        self.counted_tokens += tokens;
        tokens
    }
}

/// The last character boundary that is not behind `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn ratio(length: usize, tokens: u64, bytes: u64) -> u64 {
    (length as u64).saturating_mul(tokens).div_ceil(bytes.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One token per four bytes, and proof of how much was really counted.
    struct Quarters;

    impl TokenCounter for Quarters {
        fn count(&self, text: &str) -> u64 {
            assert!(text.len() <= SLICE);
            (text.len() as u64).div_ceil(4)
        }
    }

    #[test]
    fn large_texts_are_sampled() {
        let mut tally = Tally::new(&Quarters);
        tally.add(&"word ".repeat(4 << 20));
        assert_eq!(tally.tokens(), 5 << 20);
        assert_eq!(tally.counted_bytes, (SAMPLES * SLICE) as u64);
    }

    #[test]
    fn many_texts_beyond_the_budget_follow_the_ratio() {
        let mut tally = Tally::new(&Quarters);
        let text = "é".repeat(SLICE / 2);
        for _ in 0..1_000 {
            tally.add(&text);
        }
        assert_eq!(tally.tokens(), 1_000 * SLICE as u64 / 4);
        assert!(tally.counted_bytes <= (2 * EXACT) as u64);
    }
}
