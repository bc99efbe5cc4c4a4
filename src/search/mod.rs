//! MLflow's search grammar (layer 1): the text of a filter and of an order, read into `model::filter::search`.
//! Pure. Each kind of entity has its file, which says what its fields are and what they may be compared with;
//! what can be written at all is in `grammar`, of the tokens that `lexer` makes.
//!
//! The texts of errors are those that MLflow's clients know, with the place in the filter behind them.

mod evaluation_datasets;
mod experiments;
mod grammar;
mod lexer;
mod logged_models;
mod page_token;
mod runs;
#[cfg(test)]
mod tests;
mod values;

pub use evaluation_datasets::{filter as evaluation_dataset_filter, order as evaluation_dataset_order};
pub use experiments::{filter as experiment_filter, order as experiment_order};
pub use logged_models::{filter as logged_model_filter, order as logged_model_order};
pub use page_token::{LoggedModelSearch, PageToken};
pub use runs::{filter as run_filter, order as run_order};
