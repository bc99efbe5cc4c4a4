//! A search as data: conditions that must all hold, an order, and which lives count. No text (that is
//! `search`, which reads MLflow's grammar) and no SQL (that is the store).

use crate::model::{id::ExperimentId, run::ViewType};

/// A condition on one kind of entity, whose own attributes are `A`.
#[derive(Debug, Clone, PartialEq)]
pub struct Clause<A> {
    pub field: Field<A>,
    pub test: Test,
}

/// What a clause tests and what an order sorts by. Not every kind has every one of these.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Field<A> {
    Attribute(A),
    /// The latest value of the metric of this name.
    Metric(String),
    Param(String),
    Tag(String),
    /// Of any dataset that a run read.
    Dataset(DatasetField),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatasetField {
    Name,
    Digest,
    /// The input's tag `mlflow.data.context`.
    Context,
}

/// An entity without the field passes no test but `Exists(false)`.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    Compare(Comparison, Value),
    /// `%` stands for any text, `_` for any one character.
    Like {
        pattern: String,
        any_case: bool,
    },
    OneOf {
        values: Vec<String>,
        not: bool,
    },
    Exists(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Times are milliseconds since the Unix epoch, as people write them in a filter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Number(f64),
}

/// What is missing comes last in either direction, and NaN just before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order<A> {
    pub field: Field<A>,
    pub descending: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunAttribute {
    Id,
    Name,
    Status,
    User,
    ArtifactUri,
    StartTime,
    EndTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExperimentAttribute {
    Id,
    Name,
    CreationTime,
    LastUpdateTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoggedModelAttribute {
    Id,
    Name,
    ModelType,
    Status,
    SourceRunId,
    CreationTime,
    LastUpdatedTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EvaluationDatasetAttribute {
    Name,
    CreatedBy,
    LastUpdatedBy,
    CreatedTime,
    LastUpdateTime,
}

/// The dataset that a logged model's metric was measured on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricDataset {
    pub name: String,
    /// Any version of the dataset where none is named.
    pub digest: Option<String>,
}

/// An order by a metric may look at one dataset's values only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedModelOrder {
    pub order: Order<LoggedModelAttribute>,
    pub dataset: Option<MetricDataset>,
}

/// Which runs, in which order; newest first where no order says otherwise, and then by id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunSearch {
    /// `None` for those of any experiment.
    pub experiments: Option<Vec<ExperimentId>>,
    pub clauses: Vec<Clause<RunAttribute>>,
    pub order: Vec<Order<RunAttribute>>,
    pub view: ViewType,
    pub page: Slice,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExperimentSearch {
    pub clauses: Vec<Clause<ExperimentAttribute>>,
    pub order: Vec<Order<ExperimentAttribute>>,
    pub view: ViewType,
    pub page: Slice,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoggedModelSearch {
    pub experiments: Vec<ExperimentId>,
    pub clauses: Vec<Clause<LoggedModelAttribute>>,
    /// Metrics count on these datasets only; where no clause is of a metric, models count that have any there.
    pub datasets: Vec<MetricDataset>,
    pub order: Vec<LoggedModelOrder>,
    pub page: Slice,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct EvaluationDatasetSearch {
    /// Of any where there are none.
    pub experiments: Vec<ExperimentId>,
    pub clauses: Vec<Clause<EvaluationDatasetAttribute>>,
    pub order: Vec<Order<EvaluationDatasetAttribute>>,
    pub page: Slice,
}

/// A stretch of a result.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Slice {
    pub start: Start,
    pub limit: usize,
}

impl Slice {
    /// The first so many.
    pub fn first(limit: usize) -> Self {
        Self { start: Start::Top, limit }
    }
}

/// Where a stretch begins.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Start {
    #[default]
    Top,
    /// Behind so many rows.
    Skip(usize),
    /// Behind a position in the order, whatever came or went since somebody stood there.
    Behind(Position),
}

/// Where a row stands in an order: what it is sorted by, and last what tells it from every other row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Position(pub Vec<Rank>);

/// What a row is sorted by in one respect, in ascending order of kinds.
#[derive(Debug, Clone, PartialEq)]
pub enum Rank {
    Value(Value),
    Nan,
    Missing,
}

/// A stretch that was found, and where the next one begins if there is more behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct Found<T> {
    pub items: Vec<T>,
    pub next: Option<Position>,
}
