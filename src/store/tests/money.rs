//! Rollups against sums over the calls themselves.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::{
    Glob,
    call::{Charge, Held, TokenSample},
    filter::{CostQuery, CostRow, Dimension},
};

const HOUR: i64 = 3_600 * UnixNanos::SECOND;

fn add(row: &mut CostRow, call: &Call) {
    row.calls += 1;
    row.errors += u64::from(call.status != CallStatus::Ok);
    row.input_tokens += call.usage.input.unwrap_or(0);
    row.cache_read_tokens += call.usage.cache_read.unwrap_or(0);
    row.cache_write_tokens += call.usage.cache_write.unwrap_or(0);
    row.output_tokens += call.usage.output.unwrap_or(0);
    row.reasoning_tokens += call.usage.reasoning.unwrap_or(0);
    row.duration_ns += call.duration_ns();
    let estimated = call.usage_source == Some(UsageSource::Estimated);
    if call.usage.is_empty() {
        row.usageless_calls += 1;
    } else if estimated {
        row.estimated_calls += 1;
    }
    match call.cost {
        Some(cost) => {
            row.priced_calls += 1;
            row.cost = row.cost + cost;
            // No rule holds: what is billed is the cost.
            row.billed = row.billed + cost;
            if estimated {
                row.cost_estimated = row.cost_estimated + cost;
            }
        }
        None => row.unpriced_calls += u64::from(!call.usage.is_empty()),
    }
}

fn value(call: &Call, names: &BTreeMap<String, String>, dimension: Dimension) -> Option<String> {
    match dimension {
        Dimension::Day => Some(call.started_at.date()),
        Dimension::Hour => {
            let text = call.started_at.rfc3339();
            Some(format!("{}:00Z", text.split(':').next().unwrap()))
        }
        Dimension::Experiment => Some(names[&call.experiment_id].clone()),
        Dimension::Run => call.run_id.as_ref().map(|id| names[id].clone()),
        Dimension::Model => call.model().map(Into::into),
        Dimension::Provider => Some(call.provider.clone()),
        Dimension::Upstream => Some(call.upstream.clone()),
        Dimension::Operation => Some(call.operation.clone()),
        Dimension::Key => call.key_fingerprint.clone(),
    }
}

prop_compose! {
    fn any_call()(
        seconds in 0..3 * 86_400i64,
        duration in 0..1_000_000_000_000i64,
        status in prop_oneof![Just(CallStatus::Ok), Just(CallStatus::Error), Just(CallStatus::Cancelled)],
        tokens in proptest::array::uniform5(proptest::option::of(0..1_000_000u64)),
        source in prop_oneof![Just(None), Just(Some(UsageSource::Reported)), Just(Some(UsageSource::Estimated))],
        cost in proptest::option::of(0..10_000_000_000i64),
        models in (proptest::option::of("m[12]"), proptest::option::of("r[12]")),
        places in ("p[12]", "u[12]", "o[12]", proptest::option::of("k[12]")),
        // Names of their own, so that names tell as much as ids.
        placement in prop_oneof![
            Just((None, None)),
            Just((Some("a"), None)),
            Just((Some("a"), Some("run 1"))),
            Just((Some("b"), Some("run 2"))),
            Just((None, Some("run 3"))),
        ],
    ) -> Settled {
        let [input, cache_read, cache_write, output, reasoning] = tokens;
        let started_at = UnixNanos(START + seconds * UnixNanos::SECOND);
        let call = Call {
            started_at,
            ended_at: UnixNanos(started_at.0 + duration),
            status,
            usage: Usage { input, cache_read, cache_write, output, reasoning, ..Usage::default() },
            usage_source: source,
            cost: cost.map(NanoUsd),
            response_model: models.0,
            request_model: models.1,
            provider: places.0,
            upstream: places.1,
            operation: places.2,
            key_fingerprint: places.3,
            ..bare(0)
        };
        Settled {
            placement: Placement { experiment: placement.0.map(Into::into), run: placement.1.map(Into::into), peer: None },
            ..settled(call)
        }
    }
}

async fn check(calls: Vec<Settled>, by: Vec<Dimension>, since: Option<i64>, until: Option<i64>) {
    let (_directory, store) = open();
    let numbered = calls
        .into_iter()
        .enumerate()
        .map(|(number, one)| Settled { call: Call { id: id(number as u64), ..one.call }, ..one })
        .collect();
    let stored = store.settle(numbered).await.unwrap();
    let mut names = BTreeMap::new();
    for one in store.experiments().await.unwrap() {
        names.insert(one.experiment.id, one.experiment.name);
    }
    for one in store.runs(None, newest(100)).await.unwrap() {
        let mut total = CostRow::default();
        stored
            .iter()
            .filter(|call| call.run_id.as_ref() == Some(&one.run.id))
            .for_each(|call| add(&mut total, call));
        assert_eq!(one.totals, total);
        let totals = store.run_totals(&one.run.id).await.unwrap();
        assert_eq!(totals.sums, total);
        let of_run = || stored.iter().filter(|call| call.run_id.as_ref() == Some(&one.run.id));
        assert_eq!(totals.first_call_at, of_run().map(|call| call.started_at).min());
        assert_eq!(totals.last_call_at, of_run().map(|call| call.ended_at).max());
        let mut durations: Vec<_> = of_run().map(Call::duration_ns).collect();
        durations.sort_unstable();
        let median = durations[(durations.len() - 1) / 2] as f64;
        assert!((totals.latency_p50_ns.unwrap() as f64 - median).abs() <= median * 0.05 + 1_000.0);
        assert_eq!(totals.latency.count(), total.calls);
        names.insert(one.run.id, one.run.name);
    }

    let (since, until) = (since.map(|at| START + at), until.map(|at| START + at));
    let first = since.map_or(i64::MIN, |at| at.div_euclid(HOUR) * HOUR);
    let last = until.map_or(i64::MAX, |at| (at + HOUR - 1).div_euclid(HOUR) * HOUR);
    let mut expected: BTreeMap<Vec<Option<String>>, CostRow> = BTreeMap::new();
    if by.is_empty() {
        expected.insert(Vec::new(), CostRow::default());
    }
    for call in stored.iter().filter(|call| (first..last).contains(&call.started_at.0)) {
        let key: Vec<_> = by.iter().map(|dimension| value(call, &names, *dimension)).collect();
        let row = expected.entry(key.clone()).or_insert_with(|| CostRow { key, ..CostRow::default() });
        add(row, call);
    }
    let query = CostQuery {
        by: by.clone(),
        since: since.map(UnixNanos),
        until: until.map(UnixNanos),
        ..CostQuery::default()
    };
    let found = store.costs(query).await.unwrap();
    match by.first() {
        Some(Dimension::Day | Dimension::Hour) => assert!(found.is_sorted_by_key(|row| row.key[0].clone())),
        _ => assert!(found.is_sorted_by_key(|row| std::cmp::Reverse(row.cost))),
    }
    let rows = found.len();
    let found: BTreeMap<_, _> = found.into_iter().map(|row| (row.key.clone(), row)).collect();
    assert_eq!(found.len(), rows, "no key twice");
    assert_eq!(found, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn reports_are_the_sums_over_the_calls(
        calls in proptest::collection::vec(any_call(), 0..40),
        by in proptest::sample::subsequence(Dimension::ALL.to_vec(), 0..4).prop_shuffle(),
        since in proptest::option::of(0..2 * UnixNanos::DAY),
        until in proptest::option::of(UnixNanos::DAY..3 * UnixNanos::DAY),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(check(calls, by, since, until));
    }
}

fn spending(number: u64, input: Option<u64>, cost: Option<i64>) -> Settled {
    let mut one = placed(number, Some("e"), Some("r"));
    one.call.usage.input = input;
    one.call.cost = cost.map(NanoUsd);
    one
}

#[tokio::test]
async fn inv6_an_unknown_cost_is_never_zero() {
    let (_directory, store) = open();
    let calls = vec![
        spending(1, Some(10), Some(500)),
        spending(2, Some(20), None),
        spending(3, None, None),
        // Known to be free is not unknown.
        spending(4, Some(40), Some(0)),
    ];
    store.settle(calls).await.unwrap();
    assert_eq!(store.call(&id(2).to_string()).await.unwrap().cost, None);
    assert_eq!(store.call(&id(4).to_string()).await.unwrap().cost, Some(NanoUsd::ZERO));
    let total = store.costs(CostQuery::default()).await.unwrap().remove(0);
    assert_eq!((total.calls, total.cost), (4, NanoUsd(500)));
    assert_eq!((total.priced_calls, total.unpriced_calls, total.usageless_calls), (2, 1, 1));
    assert_eq!(total.input_tokens, 70);

    // A call of unknown cost does not cost at least nothing.
    let filter = CallFilter { min_cost: Some(NanoUsd::ZERO), ..Default::default() };
    let found = store.calls(filter, Default::default()).await.unwrap().items;
    assert_eq!(found.iter().map(|call| call.id).collect::<Vec<_>>(), [id(4), id(1)]);
}

#[tokio::test]
async fn reports_are_narrowed_to_a_place() {
    let (_directory, store) = open();
    let mut calls: Vec<_> = (0..4).map(|number| spending(number, Some(1), Some(1))).collect();
    calls[1].placement.experiment = Some("other".into());
    calls[2].placement.run = Some("second".into());
    calls[3].placement = Placement::default();
    let stored = store.settle(calls).await.unwrap();
    let spent = async |experiment: Option<&str>, run: Option<&str>| {
        let query = CostQuery {
            experiment: experiment.map(Into::into),
            run: run.map(Into::into),
            ..CostQuery::default()
        };
        store.costs(query).await.unwrap()[0].cost.0
    };
    assert_eq!(spent(None, None).await, 4);
    assert_eq!(spent(Some("e"), None).await, 2);
    assert_eq!(spent(Some("0"), None).await, 1);
    assert_eq!(spent(None, Some("r")).await, 2, "any run of that name");
    assert_eq!(spent(Some("other"), Some("r")).await, 1);
    assert_eq!(spent(None, stored[0].run_id.as_deref()).await, 1);
    assert_eq!(spent(Some("none"), None).await, 0);
    assert_eq!(spent(None, Some("none")).await, 0);

    // Two runs of one name are two lines.
    let by_run = CostQuery { by: vec![Dimension::Run], ..CostQuery::default() };
    let lines: Vec<_> = store.costs(by_run).await.unwrap().into_iter().map(|row| row.key).collect();
    assert_eq!(lines.iter().filter(|key| **key == [Some("r".to_owned())]).count(), 2);
    assert_eq!(lines.len(), 4);
}

#[tokio::test]
async fn a_report_does_not_read_calls() {
    let (directory, store) = open();
    store.settle((0..9).map(|number| spending(number, Some(1), Some(1))).collect()).await.unwrap();
    let reports = async || {
        let query = CostQuery { by: Dimension::ALL.to_vec(), ..CostQuery::default() };
        (store.costs(query).await.unwrap(), store.run("r").await.unwrap(), store.experiments().await.unwrap())
    };
    let before = reports().await;
    outside(&directory).execute("DELETE FROM spans", []).unwrap();
    assert_eq!(store.stored_after(0, 1).await.unwrap(), []);
    assert_eq!(reports().await, before);
    assert_eq!(before.0[0].calls, 9);
}

#[tokio::test]
async fn hours_and_days_are_named_in_utc_before_1970_too() {
    let (_directory, store) = open();
    let times = [-1, 0, UnixNanos::DAY - 1, START + HOUR / 2];
    let calls = times.iter().enumerate().map(|(number, at)| {
        settled(Call { started_at: UnixNanos(*at), ended_at: UnixNanos(*at), ..bare(number as u64) })
    });
    store.settle(calls.collect()).await.unwrap();
    let keys = async |dimension| {
        let query = CostQuery { by: vec![dimension], ..CostQuery::default() };
        let rows = store.costs(query).await.unwrap();
        rows.into_iter().map(|row| row.key[0].clone().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(keys(Dimension::Day).await, ["1969-12-31", "1970-01-01", "2026-11-23"]);
    assert_eq!(
        keys(Dimension::Hour).await,
        ["1969-12-31T23:00Z", "1970-01-01T00:00Z", "1970-01-01T23:00Z", "2026-11-23T08:00Z"]
    );
}

#[tokio::test]
async fn what_is_added_can_be_taken_out() {
    let (directory, store) = open();
    let calls: Vec<_> = (0..4).map(|number| spending(number, Some(1), Some(1))).collect();
    let stored = store.settle(calls).await.unwrap();
    let sums =
        async || (store.costs(CostQuery::default()).await.unwrap(), store.run("r").await.unwrap().totals);
    let before = sums().await;
    store.settle(vec![spending(9, Some(7), Some(7))]).await.unwrap();
    let ninth = store.call(&id(9).to_string()).await.unwrap();
    let taken_out = async |calls: Vec<Call>| {
        let mut tally = crate::store::rollups::Tally::default();
        calls.iter().for_each(|call| tally.remove(call));
        tally.apply(&outside(&directory)).unwrap();
    };
    taken_out(vec![ninth]).await;
    assert_eq!(sums().await, before);
    assert_eq!(store.run_totals(&store.run("r").await.unwrap().run.id).await.unwrap().latency.count(), 4);
    taken_out(stored).await;
    assert_eq!((count(&directory, "rollups"), count(&directory, "run_totals")), (0, 0));
}

#[tokio::test]
async fn sums_of_an_older_store_are_taken_over() {
    let directory = TempDir::new().unwrap();
    {
        let connection = Connection::open(directory.path().join(FILE)).unwrap();
        connection.execute_batch(crate::store::migrate::MIGRATIONS[0].sql).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL)
                    STRICT;
                INSERT INTO migrations VALUES (1, '0001_init', 0);
                INSERT INTO runs VALUES ('r', '0', 'r', 'RUNNING', 0, NULL, NULL, 1);
                INSERT INTO rollups VALUES
                    (-1, '0', '', 'u', 'p', 'm', 'o', '', 1, 1, 1, 0, 0, 0, 0, 0, 0, 5, 0, 1, 0, 9),
                    (23, '0', 'r', 'u', 'p', 'm', 'o', 'k', 2, 0, 1, 0, 0, 0, 0, 0, 0, 7, 0, 1, 0, 9),
                    (24, '0', 'r', 'u', 'p', 'n', 'o', 'k', 4, 0, 1, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 9);",
            )
            .unwrap();
    }
    let store = Store::open(&Config::default(), directory.path()).unwrap();
    let rows = async |by: &[Dimension], until: i64| {
        let until = (until > 0).then_some(UnixNanos(until * HOUR));
        let query = CostQuery { by: by.to_vec(), until, ..CostQuery::default() };
        let rows = store.costs(query).await.unwrap();
        rows.iter().map(|row| (row.calls, row.cost.0)).collect::<Vec<_>>()
    };
    assert_eq!(rows(&[], 0).await, [(7, 21)]);
    assert_eq!(rows(&[], 24).await, [(3, 12)]);
    assert_eq!(rows(&[Dimension::Hour], 0).await, [(1, 5), (2, 7), (4, 9)]);
    assert_eq!(rows(&[Dimension::Day], 0).await, [(1, 5), (2, 7), (4, 9)]);
    assert_eq!(rows(&[Dimension::Day, Dimension::Key], 0).await, [(1, 5), (2, 7), (4, 9)]);
    assert_eq!(rows(&[Dimension::Model], 0).await, [(3, 12), (4, 9)]);
    assert_eq!(rows(&[Dimension::Run], 0).await, [(6, 16), (1, 5)]);
    assert_eq!(rows(&[Dimension::Run, Dimension::Model], 0).await, [(4, 9), (2, 7), (1, 5)]);
    assert_eq!(store.run_totals("r").await.unwrap().latency_p50_ns, None, "not known of older calls");
}

#[tokio::test]
async fn what_is_billed_depends_on_the_experiment() {
    let (_directory, store) = open();
    let charge = |experiment: Option<&str>, billed, rule: &str| Charge {
        experiment: experiment.map(Glob::new),
        billed: NanoUsd(billed),
        rule: rule.to_owned(),
    };
    let charges = vec![charge(Some("prod-*"), 80, "prod"), charge(None, 110, "others")];
    let call = |number, price: &str| Call {
        cost: Some(NanoUsd(100)),
        price_id: Some(price.to_owned()),
        ..spending(number, Some(1), Some(100)).call
    };
    let calls = vec![
        Settled { call: call(1, "x@undated"), charges: charges.clone(), ..placed(1, Some("prod-eu"), None) },
        Settled { call: call(2, "reported"), charges: charges.clone(), ..placed(2, Some("test"), None) },
        Settled { call: call(3, "x@undated"), ..placed(3, Some("prod-eu"), None) },
    ];
    let written = store.settle(calls).await.unwrap();
    let billed: Vec<_> =
        written.iter().map(|call| (call.billed.unwrap().0, call.price_id.as_deref().unwrap())).collect();
    assert_eq!(billed, [(80, "x@undated*prod"), (110, "reported*others"), (100, "x@undated")]);
    let rows =
        store.costs(CostQuery { by: vec![Dimension::Experiment], ..CostQuery::default() }).await.unwrap();
    let sums: Vec<_> =
        rows.iter().map(|row| (row.cost.0, row.billed.0, row.cost_reported.0, row.reported_calls)).collect();
    assert_eq!(sums, [(200, 180, 0, 0), (100, 110, 100, 1)]);
}

#[tokio::test]
async fn token_errors_add_up_by_model() {
    let (_directory, store) = open();
    let sampled = |number, reported, estimated| Settled {
        token_sample: Some(TokenSample {
            model: "m".to_owned(),
            held: if number > 2 { Held::Images } else { Held::Text },
            input_reported: reported,
            input_estimated: estimated,
            output_reported: 0,
            output_estimated: 7,
        }),
        ..settled(bare(number))
    };
    store.settle(vec![sampled(1, 100, 90), sampled(2, 100, 120)]).await.unwrap();
    // Stored already: counted once.
    store.settle(vec![sampled(2, 100, 120), sampled(3, 800, 765)]).await.unwrap();
    let errors = store.token_errors().await.unwrap();
    let sides: Vec<_> = errors.iter().map(|row| row.side.as_str()).collect();
    assert_eq!(sides, ["input", "input with images"]);
    let one = &errors[0];
    assert_eq!(
        (one.calls, one.reported, one.estimated, one.abs_error, one.worst_thousandths),
        (2, 200, 210, 30, 200)
    );
}
