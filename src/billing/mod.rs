//! Money over time (layer 3): budgets that calls are counted against while they run, prices applied anew to
//! what is stored, and bills compared with what was recorded. Knows no HTTP and no SQL.

pub mod budgets;
pub mod reconcile;
pub mod reprice;

pub use budgets::{Budgets, Exceeded, Facts};
