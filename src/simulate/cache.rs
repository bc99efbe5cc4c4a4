//! The provider-side prompt cache, as a bounded set of message prefixes that were seen before.
//! Caches are apart per API key, model and `prompt_cache_key`, as they are at real providers, and an entry that
//! nobody uses for a while is gone.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How long an entry lives that is not used.
const LIFE: Duration = Duration::from_secs(300);
/// Prefixes that are remembered; beyond it the half that was used longest ago goes.
const CAPACITY: usize = 8192;

/// What a provider promises of its cache, in tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// The shortest prefix that is cached.
    minimum: usize,
    /// Cached tokens are reported in whole blocks.
    block: usize,
}

impl Terms {
    /// OpenAI's own for models that are called like theirs; smaller ones otherwise, so that a small demo shows them.
    pub(super) fn of(model: &str) -> Self {
        match model.starts_with("gpt-") {
            true => Self { minimum: 1_024, block: 128 },
            false => Self { minimum: 0, block: 32 },
        }
    }

    fn floor(self, tokens: usize) -> usize {
        if tokens < self.minimum { 0 } else { tokens / self.block * self.block }
    }
}

#[derive(Debug, Default)]
pub(super) struct PromptCache {
    seen: HashMap<[u8; 32], (u64, Instant)>,
    clock: u64,
}

impl PromptCache {
    /// How many tokens of this prompt were there before; remembers the prompt. `turns` are the messages'
    /// bytes with their token counts, in order.
    pub(super) fn visit<'a>(
        &mut self,
        scope: &[&str],
        turns: impl Iterator<Item = (&'a [u8], usize)>,
        terms: Terms,
        now: Instant,
    ) -> usize {
        let mut hasher = blake3::Hasher::new();
        for part in scope {
            hasher.update(part.as_bytes());
            hasher.update(&[0xff]);
        }
        let (mut tokens, mut cached) = (0, 0);
        for (bytes, count) in turns {
            self.clock += 1;
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
            tokens += count;
            let before = self.seen.insert(*hasher.finalize().as_bytes(), (self.clock, now));
            if before.is_some_and(|(_, used)| now.saturating_duration_since(used) <= LIFE) {
                cached = tokens;
            }
        }
        if self.seen.len() > CAPACITY {
            let mut uses: Vec<u64> = self.seen.values().map(|(used, _)| *used).collect();
            uses.sort_unstable();
            let median = uses[uses.len() / 2];
            self.seen.retain(|_, (used, _)| *used >= median);
        }
        terms.floor(cached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_prefix_is_cached_and_scopes_are_apart() {
        let mut cache = PromptCache::default();
        let turns: [(&[u8], usize); 3] = [(b"system", 40), (b"one", 30), (b"two", 30)];
        let (terms, now) = (Terms::of("sim-small"), Instant::now());
        let mut visit =
            |key, turns: &[(&'static [u8], usize)]| cache.visit(&[key], turns.iter().copied(), terms, now);
        assert_eq!(visit("key", &turns[..2]), 0);
        assert_eq!(visit("key", &turns), 64);
        assert_eq!(visit("key", &turns), 96);
        assert_eq!(visit("other", &turns), 0);
        assert_eq!(visit("key", &turns[1..]), 0);
    }

    #[test]
    fn there_is_a_minimum_and_a_time_out() {
        let mut cache = PromptCache::default();
        let turns: [(&[u8], usize); 2] = [(b"system", 1_000), (b"one", 200)];
        let (terms, now) = (Terms::of("gpt-5"), Instant::now());
        let mut visit =
            |turns: &[(&'static [u8], usize)], now| cache.visit(&[], turns.iter().copied(), terms, now);
        assert_eq!(visit(&turns, now), 0);
        assert_eq!(visit(&turns[..1], now), 0, "too short");
        assert_eq!(visit(&turns, now + LIFE), 1_152, "in steps of 128");
        assert_eq!(visit(&turns, now + 2 * LIFE), 1_152, "each use is a new beginning");
        assert_eq!(visit(&turns, now + 3 * LIFE + Duration::from_secs(1)), 0);
    }

    #[test]
    fn memory_is_bounded_and_the_newest_stays() {
        let mut cache = PromptCache::default();
        let (terms, now) = (Terms::of("sim-small"), Instant::now());
        for round in 0..3 * CAPACITY {
            cache.visit(&[], std::iter::once((round.to_le_bytes().as_slice(), 32)), terms, now);
        }
        assert!(cache.seen.len() <= CAPACITY);
        let last = (3 * CAPACITY - 1).to_le_bytes();
        assert_eq!(cache.visit(&[], std::iter::once((last.as_slice(), 32)), terms, now), 32);
    }
}
