//! A recorded body as parts, so that what repeats is stored once.
//!
//! The concatenation of the parts **is** the body, byte for byte (invariant 8): nothing is normalised,
//! so rebuilding cannot fail on escapes, white space, key order, duplicate keys or invalid UTF-8.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// One stretch of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Bytes stored under their hash.
    Literal(Bytes),
    /// Consecutive array elements with the same bytes between each two: a conversation. The store keeps
    /// each element once and the sequence as a chain of turns, so resending a history costs one turn.
    Chain { items: Vec<Bytes>, separator: Bytes },
}

/// A body as it crossed the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body {
    pub parts: Vec<Part>,
    /// Its dialect is known, but it was not understood well enough to be cut: it is kept as it came.
    pub uncut: bool,
}

impl Body {
    /// The body as one literal.
    pub fn raw(bytes: Bytes) -> Self {
        Self { parts: if bytes.is_empty() { Vec::new() } else { vec![Part::Literal(bytes)] }, uncut: false }
    }

    /// The exact bytes.
    pub fn bytes(&self) -> Bytes {
        if let [Part::Literal(bytes)] = self.parts.as_slice() {
            return bytes.clone();
        }
        let mut all = BytesMut::with_capacity(self.len());
        for part in &self.parts {
            match part {
                Part::Literal(bytes) => all.extend_from_slice(bytes),
                Part::Chain { items, separator } => {
                    for (index, item) in items.iter().enumerate() {
                        if index > 0 {
                            all.extend_from_slice(separator);
                        }
                        all.extend_from_slice(item);
                    }
                }
            }
        }
        all.freeze()
    }

    pub fn len(&self) -> usize {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Literal(bytes) => bytes.len(),
                Part::Chain { items, separator } => {
                    items.iter().map(Bytes::len).sum::<usize>()
                        + separator.len() * items.len().saturating_sub(1)
                }
            })
            .sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One frame's arrival: microseconds after the call opened, and its length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    pub offset_us: u64,
    pub length: u64,
}

/// A body read back from the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredBody {
    pub bytes: Bytes,
    /// When each frame of a response came; empty for requests.
    pub arrivals: Vec<Arrival>,
}
