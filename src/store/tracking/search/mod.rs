//! Searches, from model to statement. The text is put together from fixed fragments; every value is bound.

mod entities;
mod order;
mod plan;
mod runs;
mod sql;
#[cfg(test)]
mod tests;

pub(in crate::store) use self::runs::numbers as run_numbers;
pub(super) use self::{
    entities::{evaluation_datasets, experiments, logged_models},
    runs::page as runs,
};
