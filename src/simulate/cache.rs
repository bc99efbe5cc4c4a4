//! The provider-side prompt cache, as a bounded set of message prefixes that were seen before.
//! Caches are apart per API key, model and `prompt_cache_key`, as they are at real providers.

use std::collections::HashMap;

/// Cached tokens are reported in whole blocks, as providers do (theirs are 128, after 1024 tokens; these are
/// small so that a small demo shows them).
const BLOCK: usize = 32;
/// Prefixes that are remembered; beyond it the half that was used longest ago goes.
const CAPACITY: usize = 8192;

#[derive(Debug, Default)]
pub(super) struct PromptCache {
    seen: HashMap<[u8; 32], u64>,
    clock: u64,
}

impl PromptCache {
    /// How many tokens of this prompt were there before; remembers the prompt. `turns` are the messages'
    /// bytes with their token counts, in order.
    pub(super) fn visit<'a>(
        &mut self,
        scope: &[&str],
        turns: impl Iterator<Item = (&'a [u8], usize)>,
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
            if self.seen.insert(*hasher.finalize().as_bytes(), self.clock).is_some() {
                cached = tokens;
            }
        }
        if self.seen.len() > CAPACITY {
            let mut uses: Vec<u64> = self.seen.values().copied().collect();
            uses.sort_unstable();
            let median = uses[uses.len() / 2];
            self.seen.retain(|_, used| *used >= median);
        }
        cached / BLOCK * BLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_prefix_is_cached_and_scopes_are_apart() {
        let mut cache = PromptCache::default();
        let turns: [(&[u8], usize); 3] = [(b"system", 40), (b"one", 30), (b"two", 30)];
        assert_eq!(cache.visit(&["key"], turns[..2].iter().copied()), 0);
        assert_eq!(cache.visit(&["key"], turns.iter().copied()), 64);
        assert_eq!(cache.visit(&["key"], turns.iter().copied()), 96);
        assert_eq!(cache.visit(&["other"], turns.iter().copied()), 0);
        assert_eq!(cache.visit(&["key"], turns[1..].iter().copied()), 0);
    }

    #[test]
    fn memory_is_bounded_and_the_newest_stays() {
        let mut cache = PromptCache::default();
        for round in 0..3 * CAPACITY {
            cache.visit(&[], std::iter::once((round.to_le_bytes().as_slice(), 32)));
        }
        assert!(cache.seen.len() <= CAPACITY);
        let last = (3 * CAPACITY - 1).to_le_bytes();
        assert_eq!(cache.visit(&[], std::iter::once((last.as_slice(), 32))), 32);
    }
}
