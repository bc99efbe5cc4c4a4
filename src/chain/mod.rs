//! The conversation chain (layer 1, sans-IO): which calls belong together, from what they say alone. A call
//! becomes an [`Outline`](crate::model::lineage::Outline) of hashes; the linker asks an index of earlier
//! outlines and answers with a parent, a kind and how certain that is; the ledger says what a prompt cache
//! could have read. Keeps nothing, knows no SQL and no clock.

pub mod anchors;
pub mod cache;
pub mod hash;
pub mod link;
pub mod outline;
pub mod volatile;

pub use link::{
    Candidate, Identity, Known, Quoted, Subject, answer_key, answered_prefixes, link, may_adopt, prefixes,
    why,
};
pub use outline::{is_system, outline};
