//! Text as tokens: counts and pieces in the o200k encoding. Every count the simulator reports is made here.

use tiktoken_rs::o200k_base_singleton;

/// What one stream event carries: whole characters, and how many tokens they are (a character may take
/// several tokens; an event never splits one).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) tokens: usize,
}

pub(super) fn count(text: &str) -> usize {
    o200k_base_singleton().count_ordinary(text)
}

/// Cuts a text into pieces of one token where that is whole characters, else of as few as are.
pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let encoding = o200k_base_singleton();
    let mut pieces = Vec::new();
    let mut bytes = Vec::new();
    let mut tokens = 0;
    for token in encoding.encode_ordinary(text) {
        bytes.extend(encoding.decode_bytes(&[token]).unwrap_or_default());
        tokens += 1;
        if let Ok(whole) = std::str::from_utf8(&bytes) {
            pieces.push(Piece { text: whole.to_owned(), tokens });
            bytes.clear();
            tokens = 0;
        }
    }
    pieces
}

pub(super) fn join(pieces: &[Piece]) -> String {
    pieces.iter().map(|piece| piece.text.as_str()).collect()
}

pub(super) fn tokens(pieces: &[Piece]) -> usize {
    pieces.iter().map(|piece| piece.tokens).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_give_the_text_and_its_count_back(text in "\\PC{0,80}") {
            let pieces = pieces(&text);
            prop_assert_eq!(join(&pieces), text.as_str());
            prop_assert_eq!(tokens(&pieces), count(&text));
        }
    }
}
