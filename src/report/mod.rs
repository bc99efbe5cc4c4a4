//! From calls to rows that a person or a program reads (layer 3): one flat shape per noun, and its
//! renderings as text, CSV, JSON lines and Markdown. Knows no HTTP, no SQL and no clock; it decides no figure,
//! it only says each one together with where it comes from.

pub mod budget;
pub mod cache;
pub mod call;
pub mod cost;
pub mod csv;
pub mod diff;
pub mod figures;
pub mod price;
pub mod run;
pub mod session;
pub mod table;
pub mod text;

pub use budget::BudgetRow;
pub use cache::{CacheLine, CacheReport};
pub use call::CallRow;
pub use cost::{CostLine, CostReport, Totals};
pub use diff::CallDiff;
pub use run::{ExperimentRow, RunRow};
pub use session::{CacheView, LinkRow, SessionRow, StepRow};
pub use table::{Cell, Column, Table, Tone};
