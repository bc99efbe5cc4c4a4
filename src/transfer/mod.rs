//! Experiments, runs, models and artifacts from one tracking server to another (layer 3): into the store from
//! an MLflow server, a folder of its file store or its SQLite file, and from the store to an MLflow server or a folder.
//!
//! Both ways can be interrupted and begun again: what is there already is not written twice, and a run that is
//! whole is not read again.

mod decode;
mod export;
mod export_folder;
mod files;
mod folder;
mod import;
mod server;
mod source;
pub mod tracking;

pub use export::Export;
pub use export_folder::ExportFolder;
pub use import::Import;
pub use source::Source;

use serde::Serialize;

/// The tag of a run or model that says where it was imported from, set when it is whole.
const IMPORTED_TAG: &str = "tapline.importedFrom";
/// The tags of an exported run or model: which it is here, and that it is whole there.
const EXPORTED_TAG: &str = "tapline.exportedAs";
const WHOLE_TAG: &str = "tapline.exportedWhole";

/// What was carried over, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub experiments: u64,
    pub runs: u64,
    /// Whole there already.
    pub skipped_runs: u64,
    pub params: u64,
    pub metric_points: u64,
    pub models: u64,
    pub files: u64,
    pub bytes: u64,
    /// What could not be carried over, or is not the same on both sides.
    pub problems: Vec<String>,
}

/// Told of each step, for who watches.
pub trait Watch: Send + Sync {
    /// How many runs an experiment has.
    fn experiment(&self, name: &str, runs: Option<u64>);
    fn run(&self, name: &str);
}
