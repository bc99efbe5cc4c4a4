//! Upkeep of what was recorded (layer 3), behind the traffic: the index of texts. Nothing here decides what a call
//! means.

mod indexer;

pub use indexer::Indexer;
