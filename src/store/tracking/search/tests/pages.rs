//! Pages while the store goes on: whoever walks them meets every row once that was there all along, in order.

use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

use super::{KEYS, VALUES, WORDS, expected, filled, order};
use crate::{
    model::{
        UnixNanos,
        filter::search::{
            EvaluationDatasetAttribute, EvaluationDatasetSearch, ExperimentAttribute, ExperimentSearch,
            Field, Found, LoggedModelAttribute, LoggedModelOrder, LoggedModelSearch, MetricDataset, Order,
            RunSearch, Slice, Start,
        },
        logged_model::NewLoggedModel,
        metric::{LoggedMetric, Metric},
        run::{Batch, NewRun},
    },
    store::Store,
};

/// Something of the kind that is asked for, as a proptest would make it.
struct Dice(TestRunner);

impl Dice {
    fn new() -> Self {
        Self(TestRunner::deterministic())
    }

    fn draw<T: std::fmt::Debug>(&mut self, of: impl Strategy<Value = T>) -> T {
        of.new_tree(&mut self.0).unwrap().current()
    }
}

fn at(millis: i64) -> UnixNanos {
    UnixNanos(millis * 1_000_000)
}

fn metric(key: &str, value: f64) -> LoggedMetric {
    LoggedMetric {
        metric: Metric { key: key.to_owned(), value, timestamp: 2, step: 0 },
        model_id: None,
        dataset_name: None,
        dataset_digest: None,
    }
}

#[tokio::test]
async fn of_runs_stay_put_while_runs_come_go_and_change() {
    let (_directory, store, runs) = filled().await;
    let mut dice = Dice::new();
    for _ in 0..60 {
        let mut search = RunSearch {
            order: dice.draw(prop::collection::vec(order(), 0..3)),
            page: Slice::first(dice.draw(1usize..9)),
            ..RunSearch::default()
        };
        search.order.dedup_by(|one, other| one.field == other.field);
        let before =
            store.search_runs(RunSearch { page: Slice::first(10_000), ..search.clone() }).await.unwrap();
        let mut all: Vec<_> = before.items.iter().map(|run| run.run.id.clone()).collect();
        let mut found: Vec<String> = Vec::new();
        loop {
            let page = store.search_runs(search.clone()).await.unwrap();
            found.extend(page.items.into_iter().map(|run| run.run.id));
            let Some(next) = page.next else { break };
            search.page.start = Start::Behind(next);
            if found.len() > 5 * search.page.limit {
                continue;
            }
            // One comes, anywhere in the order; the last that was seen goes, or is another than it was.
            let run = NewRun {
                experiment_id: "0".to_owned(),
                name: dice.draw(prop::sample::select(&WORDS[1..])).to_owned(),
                user: String::new(),
                started_at: at(dice.draw(0i64..6)),
                tags: vec![],
            };
            let new = store.create_run(run, None, at(0)).await.unwrap().run.id;
            let last = found.last().unwrap().clone();
            for id in [new, last.clone()] {
                let value = dice.draw(prop::sample::select(&VALUES[..]));
                let key = dice.draw(prop::sample::select(&KEYS[..]));
                let batch = Batch { metrics: vec![metric(key, value)], ..Batch::default() };
                store.log_batch(id, batch).await.unwrap();
            }
            if dice.draw(any::<bool>()) {
                store.delete_run(last, at(9)).await.unwrap();
            }
        }
        // One that was seen and changed may be met again where it is now.
        let mut seen = std::collections::HashSet::new();
        found.retain(|id| seen.insert(id.clone()) && all.contains(id));
        assert_eq!(found, std::mem::take(&mut all), "{:?}", search.order);
    }
    assert!(expected(&runs, &RunSearch::default()).len() > 9);
}

/// Walks the pages of a search, with `meanwhile` between them, and compares with one big page.
async fn walk<S, T: PartialEq + std::fmt::Debug>(
    search: S,
    limit: usize,
    page: impl AsyncFn(S, Slice) -> Found<T>,
    id: impl Fn(&T) -> String,
    meanwhile: impl AsyncFn(),
) where
    S: Clone + std::fmt::Debug,
{
    let all: Vec<_> = page(search.clone(), Slice::first(10_000)).await.items.iter().map(&id).collect();
    let mut found = Vec::new();
    let mut slice = Slice::first(limit);
    loop {
        let part = page(search.clone(), slice.clone()).await;
        assert!(part.items.len() == limit || part.next.is_none());
        found.extend(part.items.iter().map(&id));
        let Some(next) = part.next else { break };
        slice.start = Start::Behind(next);
        // In some orders whatever is new is last: without an end to it there would be no last page.
        if found.len() < 5 * limit {
            meanwhile().await;
        }
    }
    found.retain(|id| all.contains(id));
    assert_eq!(found, all, "{search:?}");
}

#[tokio::test]
async fn of_experiments_stay_put() {
    use ExperimentAttribute::{CreationTime, Id, LastUpdateTime, Name};
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&crate::store::Config::default(), directory.path()).unwrap();
    let names = std::cell::Cell::new(0i64);
    let make = async || {
        let number = names.replace(names.get() + 1);
        let name = format!("{}-{number}", WORDS[number as usize % 5]);
        store.create_experiment(name, None, vec![], at(number % 4)).await.unwrap();
    };
    for _ in 0..15 {
        make().await;
    }
    let mut dice = Dice::new();
    for _ in 0..40 {
        let order = |dice: &mut Dice| Order {
            field: Field::Attribute(
                dice.draw(prop::sample::select(&[Id, Name, CreationTime, LastUpdateTime][..])),
            ),
            descending: dice.draw(any::<bool>()),
        };
        let mut search = ExperimentSearch { order: vec![], ..ExperimentSearch::default() };
        search.order.extend((0..dice.draw(0usize..3)).map(|_| order(&mut dice)));
        search.order.dedup_by(|one, other| one.field == other.field);
        let page = async |search: ExperimentSearch, page| {
            store.search_experiments(ExperimentSearch { page, ..search }).await.unwrap()
        };
        walk(search, dice.draw(1usize..7), page, |one| one.id.clone(), &make).await;
    }
}

#[tokio::test]
async fn of_logged_models_stay_put() {
    use LoggedModelAttribute::{CreationTime, Id, LastUpdatedTime, ModelType, Name, Status};
    let (_directory, store, runs) = filled().await;
    let run = &runs.iter().find(|run| run.run.deleted_at.is_none()).unwrap().run;
    let state = std::cell::RefCell::new(Dice::new());
    let make = async || {
        let (name, time, metrics) = {
            let mut dice = state.borrow_mut();
            let metric = (
                prop::sample::select(&KEYS[..]),
                prop::sample::select(&VALUES[..]),
                prop::option::of(prop::sample::select(&WORDS[1..3])),
            );
            let metrics = dice.draw(prop::collection::vec(metric, 0..3));
            (dice.draw(prop::sample::select(&WORDS[1..])), dice.draw(0i64..4), metrics)
        };
        let model = NewLoggedModel {
            experiment_id: run.experiment_id.clone(),
            name: name.to_owned(),
            model_type: WORDS[time as usize].to_owned(),
            source_run_id: String::new(),
            params: vec![],
            tags: vec![],
        };
        let id = store.create_logged_model(model, at(time)).await.unwrap().id;
        for (key, value, dataset) in metrics {
            let mut metric = metric(key, value);
            metric.model_id = Some(id.clone());
            metric.dataset_name = dataset.map(str::to_owned);
            metric.dataset_digest = dataset.map(str::to_owned);
            store.log_metric(run.id.clone(), metric).await.unwrap();
        }
    };
    for _ in 0..25 {
        make().await;
    }
    for _ in 0..40 {
        let (order, limit) = {
            let mut dice = state.borrow_mut();
            let field = prop_oneof![
                prop::sample::select(&[Id, Name, ModelType, Status, CreationTime, LastUpdatedTime][..])
                    .prop_map(Field::Attribute),
                prop::sample::select(&KEYS[..]).prop_map(|key| Field::Metric(key.to_owned())),
            ];
            let dataset = prop::option::of(prop::sample::select(&WORDS[1..3])).prop_map(|name| {
                name.map(|name| MetricDataset { name: name.to_owned(), digest: Some(name.to_owned()) })
            });
            let order = (field, any::<bool>(), dataset).prop_map(|(field, descending, dataset)| {
                LoggedModelOrder { order: Order { field, descending }, dataset }
            });
            (dice.draw(prop::collection::vec(order, 0..3)), dice.draw(1usize..9))
        };
        let search = LoggedModelSearch {
            experiments: vec![run.experiment_id.clone()],
            order,
            ..LoggedModelSearch::default()
        };
        let page = async |search: LoggedModelSearch, page| {
            store.search_logged_models(LoggedModelSearch { page, ..search }).await.unwrap()
        };
        walk(search, limit, page, |one| one.id.clone(), &make).await;
    }
}

#[tokio::test]
async fn of_evaluation_datasets_stay_put() {
    use EvaluationDatasetAttribute::{CreatedBy, CreatedTime, LastUpdateTime, Name};
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&crate::store::Config::default(), directory.path()).unwrap();
    let count = std::cell::Cell::new(0i64);
    let make = async || {
        let number = count.replace(count.get() + 1);
        let user =
            (number % 3 > 0).then(|| ("mlflow.user".to_owned(), WORDS[number as usize % 3].to_owned()));
        let name = WORDS[1 + number as usize % 4].to_owned();
        let tags = user.into_iter().collect();
        store.create_evaluation_dataset(name, tags, vec![], at(number % 4)).await.unwrap();
    };
    for _ in 0..15 {
        make().await;
    }
    let mut dice = Dice::new();
    for _ in 0..40 {
        let field = prop::sample::select(&[Name, CreatedTime, LastUpdateTime, CreatedBy][..]);
        let order = (field, any::<bool>())
            .prop_map(|(field, descending)| Order { field: Field::Attribute(field), descending });
        let search = EvaluationDatasetSearch {
            order: dice.draw(prop::collection::vec(order, 0..3)),
            ..EvaluationDatasetSearch::default()
        };
        let page = async |search: EvaluationDatasetSearch, page| {
            store.search_evaluation_datasets(EvaluationDatasetSearch { page, ..search }).await.unwrap()
        };
        walk(search, dice.draw(1usize..7), page, |one| one.id.clone(), &make).await;
    }
}
