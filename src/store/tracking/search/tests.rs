//! The search of runs against a search that looks at every run: whatever the plan, the answer is the same.

mod pages;

use std::{cmp::Ordering, collections::BTreeMap};

use proptest::prelude::*;

use super::runs::planned;
use crate::{
    model::{
        UnixNanos,
        dataset::{CONTEXT_TAG, Dataset, DatasetInput},
        filter::search::{
            Clause, Comparison, DatasetField, Field, Found, Order, RunAttribute, RunSearch, Slice, Start,
            Test, Value,
        },
        metric::{LoggedMetric, Metric},
        run::{Batch, NewRun, Param, RunStatus, RunUpdate, RunWhole, Tag, ViewType},
    },
    store::{Config, FILE, Store, open},
};

const KEYS: [&str; 3] = ["a", "b", "c"];
const VALUES: [f64; 6] = [f64::NAN, -1.0, 0.0, 0.5, 1.0, 2.0];
const WORDS: [&str; 5] = ["", "x", "X", "xy", "a*b"];
const RUNS: usize = 48;

/// Runs that differ in every way a search can tell, without a pattern that a plan could live on.
async fn filled() -> (tempfile::TempDir, Store, Vec<RunWhole>) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&Config::default(), directory.path()).unwrap();
    let mut experiments = vec!["0".to_owned()];
    for name in ["one", "two"] {
        experiments.push(store.create_experiment(name.to_owned(), None, vec![], UnixNanos(0)).await.unwrap());
    }
    let mut state = 7u64;
    let mut dice = move |sides: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % sides
    };
    let mut ids = Vec::new();
    for number in 0..RUNS {
        let at = |millis: usize| UnixNanos(i64::try_from(millis).unwrap() * 1_000_000);
        let run = NewRun {
            experiment_id: experiments[dice(experiments.len())].clone(),
            name: WORDS[1 + dice(4)].to_owned(),
            user: WORDS[dice(WORDS.len())].to_owned(),
            started_at: at(dice(6)),
            tags: vec![],
        };
        let id = store.create_run(run, None, at(number)).await.unwrap().run.id;
        let mut batch = Batch::default();
        for key in KEYS {
            let key = key.to_owned();
            if dice(3) > 0 {
                let metric =
                    Metric { key: key.clone(), value: VALUES[dice(VALUES.len())], timestamp: 1, step: 0 };
                batch.metrics.push(LoggedMetric {
                    metric,
                    model_id: None,
                    dataset_name: None,
                    dataset_digest: None,
                });
            }
            if dice(3) > 0 {
                batch.params.push(Param { key: key.clone(), value: WORDS[dice(WORDS.len())].to_owned() });
            }
            if dice(3) > 0 {
                batch.tags.push(Tag { key, value: WORDS[dice(WORDS.len())].to_owned() });
            }
        }
        store.log_batch(id.clone(), batch).await.unwrap();
        let dataset = Dataset {
            name: WORDS[dice(5)].to_owned(),
            digest: WORDS[dice(5)].to_owned(),
            ..Dataset::default()
        };
        let tags = vec![Tag { key: CONTEXT_TAG.to_owned(), value: WORDS[dice(5)].to_owned() }];
        if dice(2) == 0 {
            store.log_inputs(id.clone(), vec![DatasetInput { dataset, tags }], vec![]).await.unwrap();
        }
        if dice(2) == 0 {
            let update =
                RunUpdate { status: Some(RunStatus::Finished), ended_at: Some(at(dice(9))), name: None };
            store.update_run(id.clone(), update, None, at(9)).await.unwrap();
        }
        if dice(4) == 0 {
            store.delete_run(id.clone(), at(9)).await.unwrap();
        }
        ids.push(id);
    }
    let mut runs = Vec::new();
    for id in ids {
        runs.push(store.run_whole(id).await.unwrap());
    }
    (directory, store, runs)
}

fn expected(runs: &[RunWhole], search: &RunSearch) -> Vec<String> {
    let mut found: Vec<&RunWhole> = runs
        .iter()
        .filter(|run| search.experiments.as_ref().is_none_or(|ids| ids.contains(&run.run.experiment_id)))
        .filter(|run| match search.view {
            ViewType::ActiveOnly => run.run.deleted_at.is_none(),
            ViewType::DeletedOnly => run.run.deleted_at.is_some(),
            ViewType::All => true,
        })
        .filter(|run| search.clauses.iter().all(|clause| passes(run, clause)))
        .collect();
    found.sort_by(|one, other| {
        let mut orders = search.order.iter().map(|order| by(one, other, order));
        orders.find(|order| order.is_ne()).unwrap_or_else(|| {
            let starts = Field::Attribute(RunAttribute::StartTime);
            let newest = match search.order.iter().any(|order| order.field == starts) {
                true => Ordering::Equal,
                false => other.run.started_at.cmp(&one.run.started_at),
            };
            newest.then_with(|| one.run.id.cmp(&other.run.id))
        })
    });
    found.into_iter().map(|run| run.run.id.clone()).collect()
}

fn texts(run: &RunWhole, field: &Field<RunAttribute>) -> Vec<String> {
    let of_datasets =
        |read: fn(&DatasetInput) -> Option<String>| run.datasets.iter().filter_map(read).collect();
    match field {
        Field::Param(key) => {
            run.params.iter().filter(|param| param.key == *key).map(|param| param.value.clone()).collect()
        }
        Field::Tag(key) => run.run.tags.get(key).cloned().into_iter().collect(),
        Field::Dataset(DatasetField::Name) => of_datasets(|input| Some(input.dataset.name.clone())),
        Field::Dataset(DatasetField::Digest) => of_datasets(|input| Some(input.dataset.digest.clone())),
        Field::Dataset(DatasetField::Context) => of_datasets(|input| Some(input.tags.first()?.value.clone())),
        Field::Attribute(RunAttribute::Id) => vec![run.run.id.clone()],
        Field::Attribute(RunAttribute::Name) => vec![run.run.name.clone()],
        Field::Attribute(RunAttribute::Status) => vec![run.run.status.as_str().to_owned()],
        Field::Attribute(RunAttribute::User) => vec![run.run.user.clone()],
        Field::Attribute(RunAttribute::ArtifactUri) => vec![run.run.artifact_uri.clone()],
        _ => vec![],
    }
}

fn number(run: &RunWhole, field: &Field<RunAttribute>) -> Option<f64> {
    match field {
        Field::Metric(key) => run.metrics.iter().find(|metric| metric.key == *key).map(|metric| metric.value),
        Field::Attribute(RunAttribute::StartTime) => Some(run.run.started_at.0 as f64 / 1e6),
        Field::Attribute(RunAttribute::EndTime) => run.run.ended_at.map(|at| at.0 as f64 / 1e6),
        _ => None,
    }
}

fn passes(run: &RunWhole, clause: &Clause<RunAttribute>) -> bool {
    let holds = |ordering: Option<Ordering>, comparison: Comparison| match comparison {
        Comparison::Equal => ordering == Some(Ordering::Equal),
        Comparison::NotEqual => ordering != Some(Ordering::Equal),
        Comparison::Less => ordering == Some(Ordering::Less),
        Comparison::LessOrEqual => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
        Comparison::Greater => ordering == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
    };
    match &clause.test {
        Test::Compare(comparison, Value::Text(value)) => {
            texts(run, &clause.field).iter().any(|text| holds(Some(text.cmp(value)), *comparison))
        }
        Test::Compare(comparison, Value::Number(value)) => {
            number(run, &clause.field).is_some_and(|number| holds(number.partial_cmp(value), *comparison))
        }
        Test::Compare(comparison, Value::Integer(value)) => number(run, &clause.field)
            .is_some_and(|number| holds(number.partial_cmp(&(*value as f64)), *comparison)),
        Test::Like { pattern, any_case } => texts(run, &clause.field).iter().any(|text| match any_case {
            true => like(&pattern.to_ascii_lowercase(), &text.to_ascii_lowercase()),
            false => like(pattern, text),
        }),
        Test::OneOf { values, not } => {
            texts(run, &clause.field).iter().any(|text| values.contains(text) != *not)
        }
        Test::Exists(there) => texts(run, &clause.field).is_empty() != *there,
    }
}

fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    matches(&pattern, &text)
}

fn matches(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|at| matches(rest, &text[at..])),
        [first, rest @ ..] => {
            text.first().is_some_and(|found| *first == '_' || first == found) && matches(rest, &text[1..])
        }
    }
}

/// What is missing is last and NaN before it, in either direction.
fn by(one: &RunWhole, other: &RunWhole, order: &Order<RunAttribute>) -> Ordering {
    let directed = |ordering: Ordering| if order.descending { ordering.reverse() } else { ordering };
    let class = |number: Option<f64>| number.map_or(2, |number| u8::from(number.is_nan()));
    let (left, right) = (number(one, &order.field), number(other, &order.field));
    let numbers = class(left).cmp(&class(right)).then_with(|| match (left, right) {
        (Some(left), Some(right)) => directed(left.partial_cmp(&right).unwrap_or(Ordering::Equal)),
        _ => Ordering::Equal,
    });
    let (left, right) = (texts(one, &order.field), texts(other, &order.field));
    numbers.then_with(|| left.is_empty().cmp(&right.is_empty())).then_with(|| directed(left.cmp(&right)))
}

fn clause() -> impl Strategy<Value = Clause<RunAttribute>> {
    let key = || prop::sample::select(KEYS.map(str::to_owned).to_vec());
    let word = || prop::sample::select(WORDS.map(str::to_owned).to_vec());
    let every = prop::sample::select(vec![
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ]);
    let equal = prop::sample::select(vec![Comparison::Equal, Comparison::NotEqual]);
    let texts = prop_oneof![
        (equal, word()).prop_map(|(is, word)| Test::Compare(is, Value::Text(word))),
        (prop::sample::select(vec!["%", "x%", "_", "%y", "a*%", ""]), any::<bool>())
            .prop_map(|(pattern, any_case)| Test::Like { pattern: pattern.to_owned(), any_case }),
        (prop::collection::vec(word(), 1..3), any::<bool>())
            .prop_map(|(values, not)| Test::OneOf { values, not }),
    ]
    .boxed();
    let nulls = prop_oneof![3 => texts.clone(), 1 => any::<bool>().prop_map(Test::Exists)].boxed();
    let number = (every.clone(), prop::sample::select(VALUES[1..].to_vec()))
        .prop_map(|(is, value)| Test::Compare(is, Value::Number(value)));
    let time = (every, 0i64..9).prop_map(|(is, at)| Test::Compare(is, Value::Integer(at)));
    let dataset = prop::sample::select(vec![DatasetField::Name, DatasetField::Digest, DatasetField::Context]);
    let attribute = prop::sample::select(vec![RunAttribute::Name, RunAttribute::User, RunAttribute::Status]);
    let at = prop::sample::select(vec![RunAttribute::StartTime, RunAttribute::EndTime]);
    let clause = |(field, test)| Clause { field, test };
    prop_oneof![
        3 => (key().prop_map(Field::Metric), number).prop_map(clause),
        1 => (prop_oneof![key(), Just("unknown".to_owned())].prop_map(Field::Param), nulls.clone()).prop_map(clause),
        1 => (key().prop_map(Field::Tag), nulls).prop_map(clause),
        1 => (dataset.prop_map(Field::Dataset), texts.clone()).prop_map(clause),
        1 => (attribute.prop_map(Field::Attribute), texts).prop_map(clause),
        1 => (at.prop_map(Field::Attribute), time).prop_map(clause),
    ]
}

fn order() -> impl Strategy<Value = Order<RunAttribute>> {
    let key = || prop::sample::select(KEYS.map(str::to_owned).to_vec());
    let attribute = prop::sample::select(vec![
        RunAttribute::Name,
        RunAttribute::User,
        RunAttribute::Status,
        RunAttribute::StartTime,
        RunAttribute::EndTime,
    ]);
    let field = prop_oneof![
        3 => key().prop_map(Field::Metric),
        1 => key().prop_map(Field::Param),
        1 => key().prop_map(Field::Tag),
        1 => Just(Field::Metric("unknown".to_owned())),
        2 => attribute.prop_map(Field::Attribute),
    ];
    (field, any::<bool>()).prop_map(|(field, descending)| Order { field, descending })
}

fn search() -> impl Strategy<Value = RunSearch> {
    let ids = prop::collection::vec(prop::sample::select(vec!["0", "1", "2", "7"]), 0..3);
    let experiments = prop::option::of(ids.prop_map(|ids| ids.into_iter().map(str::to_owned).collect()));
    let view = prop::sample::select(vec![ViewType::ActiveOnly, ViewType::DeletedOnly, ViewType::All]);
    let clauses = prop::collection::vec(clause(), 0..4);
    let limit = 1usize..12;
    (experiments, clauses, prop::collection::vec(order(), 0..4), view, limit).prop_map(
        |(experiments, clauses, mut order, view, limit)| {
            let mut seen = Vec::new();
            order.retain(|order| {
                let new = !seen.contains(&order.field);
                seen.push(order.field.clone());
                new
            });
            RunSearch { experiments, clauses, order, view, page: Slice::first(limit) }
        },
    )
}

#[test]
fn every_plan_gives_what_looking_at_every_run_gives() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (directory, store, runs) = runtime.block_on(filled());
    let connection = open::reading(&Config::default(), &directory.path().join(FILE)).unwrap();
    let mut statement = connection.prepare("SELECT number, id FROM runs").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let ids: BTreeMap<i64, String> = rows.collect::<Result<_, _>>().unwrap();
    proptest!(ProptestConfig::with_cases(1_500), |(mut search in search(), skipped in 0usize..6)| {
        let all = expected(&runs, &search);
        let limit = search.page.limit;
        for few in [usize::MAX - 1, 8, 0] {
            let mut walked = Vec::new();
            search.page.start = Start::Top;
            loop {
                let Found { items, next } = planned(&connection, &search, few).unwrap();
                prop_assert_eq!(items.len(), limit.min(all.len() - walked.len()), "few: {}", few);
                walked.extend(items.iter().map(|number| ids[number].clone()));
                prop_assert_eq!(next.is_some(), walked.len() < all.len());
                let Some(next) = next else { break };
                search.page.start = Start::Behind(next);
            }
            prop_assert_eq!(&walked, &all, "few: {}", few);
            // As MLflow's own page tokens say it.
            search.page.start = Start::Skip(skipped);
            let Found { items, next } = planned(&connection, &search, few).unwrap();
            let found: Vec<_> = items.iter().map(|number| ids[number].clone()).collect();
            let page: Vec<_> = all.iter().skip(skipped).take(limit).cloned().collect();
            prop_assert_eq!(&found, &page, "few: {}", few);
            prop_assert_eq!(next.is_some(), all.len() > skipped + limit);
        }
    });
    drop(store);
}

/// Where a value is common, an index on it must not be entered once for every run.
#[tokio::test]
async fn a_page_looks_at_few_rows_however_many_runs_there_are() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&Config::default(), directory.path()).unwrap();
    for number in 0..600 {
        let run = NewRun {
            experiment_id: "0".to_owned(),
            name: "run".to_owned(),
            user: String::new(),
            started_at: UnixNanos(number),
            tags: vec![Tag { key: "a".to_owned(), value: "x".to_owned() }],
        };
        let id = store.create_run(run, None, UnixNanos(0)).await.unwrap().run.id;
        let metrics = ["a", "b"].map(|key| {
            let metric = Metric { key: key.to_owned(), value: number as f64, timestamp: 1, step: 0 };
            LoggedMetric { metric, model_id: None, dataset_name: None, dataset_digest: None }
        });
        let params = vec![Param { key: "a".to_owned(), value: "x".to_owned() }];
        store.log_batch(id, Batch { metrics: metrics.to_vec(), params, tags: vec![] }).await.unwrap();
    }
    let mut connection = open::reading(&Config::default(), &directory.path().join(FILE)).unwrap();
    let clause = |field, test| Clause { field, test };
    let is_x = || Test::Compare(Comparison::Equal, Value::Text("x".to_owned()));
    let search = RunSearch {
        clauses: vec![
            clause(Field::Metric("a".to_owned()), Test::Compare(Comparison::Greater, Value::Number(-1.0))),
            clause(Field::Param("a".to_owned()), is_x()),
            clause(Field::Tag("a".to_owned()), is_x()),
        ],
        order: vec![Order { field: Field::Metric("b".to_owned()), descending: true }],
        page: Slice::first(10),
        ..RunSearch::default()
    };
    let steps = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&steps);
    let count = move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        false
    };
    connection.progress_handler(10, Some(count)).unwrap();
    let found = planned(&connection, &search, 0).unwrap();
    assert_eq!(found.items.len(), 10);
    let steps = 10 * steps.load(std::sync::atomic::Ordering::Relaxed);
    assert!(steps < 4_000, "expected a few hundred steps for each of some ten runs, found {steps}");
}
