//! Sentences as hashes, by which a text is found again inside another: a summary in the prompt that it
//! replaced a history in, a task in the first message of the agent it was handed to.

use super::hash;

/// A shorter sentence is said by too many.
const SHORTEST: usize = 40;
/// Of one text; the longest are kept.
pub const KEPT: usize = 6;
/// Bytes of a text that are looked at.
const LOOKED_AT: usize = 64 << 10;

/// The sentences of a text that are long enough to tell it from others, and the whole text where it is one
/// sentence or more but has few long ones.
pub fn sentences(text: &str) -> Vec<u64> {
    let text = text.get(..boundary(text, LOOKED_AT)).unwrap_or(text);
    let mut hashes: Vec<u64> = pieces(text).map(hashed).collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

/// The longest sentences of a text, at most `KEPT`.
pub fn longest(text: &str) -> Vec<u64> {
    let text = text.get(..boundary(text, LOOKED_AT)).unwrap_or(text);
    let mut found: Vec<&str> = pieces(text).collect();
    found.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
    found.truncate(KEPT);
    let mut hashes: Vec<u64> = found.into_iter().map(hashed).collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

fn hashed(piece: &str) -> u64 {
    hash::text("sentence", piece)
}

fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .flat_map(|line| line.split_inclusive(". "))
        .map(trimmed)
        .filter(|piece| piece.len() >= SHORTEST)
}

/// Without what lists, quotes and headings put around a sentence.
fn trimmed(piece: &str) -> &str {
    piece.trim_matches(|c: char| c.is_whitespace() || "-*#>\"'`.:•".contains(c))
}

fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_found_in_the_prompt_that_quotes_it() {
        let summary = "The user wants a parser for dates in five formats. Work so far: the lexer is written and tested.\n\
                       - Next: the grammar for relative dates such as tomorrow.";
        let prompt =
            format!("This session continues another. Summary:\n> {}\nGo on.", summary.replace('\n', "\n> "));
        let there = sentences(&prompt);
        let kept = longest(summary);
        assert_eq!(kept.len(), 3);
        assert!(kept.iter().all(|hash| there.contains(hash)));
        assert!(longest("Hello! How can I help you?").is_empty());
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let long = "é".repeat(LOOKED_AT);
        assert_eq!(sentences(&long).len(), 1);
    }
}
