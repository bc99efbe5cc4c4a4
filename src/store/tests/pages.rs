//! Lists: filters, pages, and the plans behind them.

use proptest::prelude::*;

use super::*;
use crate::{
    model::filter::{CallFilter, Cursor, PageRequest},
    store::search,
};

/// Follows the pages to their end; fails when they do not end.
async fn all(store: &Store, filter: &CallFilter, limit: usize) -> Vec<CallId> {
    let mut found = Vec::new();
    let mut cursor: Option<Cursor> = None;
    for _ in 0..1_000 {
        let page = store.calls(filter.clone(), PageRequest { limit, cursor }).await.unwrap();
        assert!(page.items.len() <= limit);
        found.extend(page.items.iter().map(|call| call.id));
        // Over the wire and back.
        cursor = page.next.map(|next| Cursor::decode(&next.encode()).unwrap());
        if cursor.is_none() {
            return found;
        }
        assert_eq!(page.items.len(), limit, "only the last page is short");
    }
    panic!("the pages do not end");
}

/// Calls that differ in every field that can be asked for.
fn varied() -> Vec<Settled> {
    (0..60u64)
        .map(|number| {
            let pick = |of: u64, salt: u64| (number * 7 + salt) / 3 % of;
            let mut call = bare(number);
            // Many equal starts.
            call.started_at = UnixNanos(START + (number / 10) as i64 * UnixNanos::SECOND);
            call.ended_at = UnixNanos(call.started_at.0 + number as i64 * 1_000);
            call.trace_id = TraceId([pick(4, 0) as u8 + 1; 16]);
            call.session = (pick(3, 1) > 0).then(|| format!("s{}", pick(3, 1)));
            call.request_model = (pick(4, 2) > 0).then(|| format!("m{}", pick(4, 2)));
            call.response_model = (pick(2, 3) > 0).then(|| "m1".into());
            call.provider = format!("p{}", pick(3, 4));
            call.upstream = format!("u{}", pick(3, 5));
            call.operation = format!("o{}", pick(2, 6));
            call.user = (pick(3, 7) > 0).then(|| format!("user{}", pick(3, 7)));
            call.tags = (0..pick(4, 8)).map(|tag| format!("t{tag}")).collect();
            call.cost = (pick(3, 9) > 0).then_some(NanoUsd(number as i64));
            call.status = [CallStatus::Ok, CallStatus::Ok, CallStatus::Error, CallStatus::Interrupted]
                [pick(4, 10) as usize];
            let placement = Placement {
                experiment: [None, Some("a"), Some("b")][pick(3, 11) as usize].map(Into::into),
                run: [None, Some("r"), Some("q")][pick(3, 13) as usize].map(Into::into),
                peer: None,
            };
            Settled { placement, ..settled(call) }
        })
        .collect()
}

fn filter(set: impl FnOnce(&mut CallFilter)) -> CallFilter {
    let mut filter = CallFilter::default();
    set(&mut filter);
    filter
}

/// Every field of the filter, once.
fn single_filters() -> Vec<(&'static str, CallFilter)> {
    vec![
        ("none", CallFilter::default()),
        ("experiment", filter(|it| it.experiment = Some("a".into()))),
        ("run", filter(|it| it.run = Some("q".into()))),
        ("session", filter(|it| it.session = Some("s1".into()))),
        ("model", filter(|it| it.model = Some("m1".into()))),
        ("provider", filter(|it| it.provider = Some("p1".into()))),
        ("upstream", filter(|it| it.upstream = Some("u1".into()))),
        ("operation", filter(|it| it.operation = Some("o1".into()))),
        ("status ok", filter(|it| it.status = Some(CallStatus::Ok))),
        ("status error", filter(|it| it.status = Some(CallStatus::Error))),
        ("user", filter(|it| it.user = Some("user1".into()))),
        ("tag", filter(|it| it.tag = Some("t1".into()))),
        ("trace", filter(|it| it.trace = Some(TraceId([2; 16])))),
        ("since", filter(|it| it.since = Some(UnixNanos(START + 2 * UnixNanos::SECOND)))),
        ("until", filter(|it| it.until = Some(UnixNanos(START + 2 * UnixNanos::SECOND)))),
        ("min_cost", filter(|it| it.min_cost = Some(NanoUsd(20)))),
        ("min_duration", filter(|it| it.min_duration_ns = Some(20_000))),
    ]
}

/// The filter in words of the model, to hold the SQL against.
fn matches(filter: &CallFilter, call: &Call, names: &[(String, String)]) -> bool {
    let named =
        |id: &str, asked: &str| id == asked || names.iter().any(|(of, name)| of == id && name == asked);
    let is = |asked: &Option<String>, value: Option<&str>| asked.is_none() || asked.as_deref() == value;
    filter.experiment.as_ref().is_none_or(|asked| named(&call.experiment_id, asked))
        && filter.run.as_ref().is_none_or(|asked| call.run_id.as_ref().is_some_and(|id| named(id, asked)))
        && is(&filter.session, call.session.as_deref())
        && is(&filter.model, call.model())
        && is(&filter.provider, Some(&call.provider))
        && is(&filter.upstream, Some(&call.upstream))
        && is(&filter.operation, Some(&call.operation))
        && is(&filter.user, call.user.as_deref())
        && filter.status.is_none_or(|status| call.status == status)
        && filter.tag.as_ref().is_none_or(|tag| call.tags.contains(tag))
        && filter.trace.is_none_or(|trace| call.trace_id == trace)
        && filter.since.is_none_or(|since| call.started_at >= since)
        && filter.until.is_none_or(|until| call.started_at < until)
        && filter.min_cost.is_none_or(|least| call.cost.is_some_and(|cost| cost >= least))
        && filter.min_duration_ns.is_none_or(|least| call.duration_ns() >= least)
}

/// What must come, in order, found by looking at every call.
fn expected(filter: &CallFilter, stored: &[Call], names: &[(String, String)]) -> Vec<CallId> {
    let mut found: Vec<_> = stored.iter().filter(|call| matches(filter, call, names)).collect();
    found.sort_by_key(|call| std::cmp::Reverse((call.started_at, call.id)));
    found.into_iter().map(|call| call.id).collect()
}

async fn varied_store() -> (TempDir, Store, Vec<Call>, Vec<(String, String)>) {
    let (directory, store) = open();
    let stored = store.settle(varied()).await.unwrap();
    let mut names = Vec::new();
    names.extend(
        store.experiments().await.unwrap().into_iter().map(|it| (it.experiment.id, it.experiment.name)),
    );
    names.extend(store.runs(None, newest(100)).await.unwrap().into_iter().map(|it| (it.run.id, it.run.name)));
    (directory, store, stored, names)
}

#[tokio::test]
async fn each_filter_gives_its_calls_once_on_pages_of_any_length() {
    let (_directory, store, stored, names) = varied_store().await;
    for (field, filter) in single_filters() {
        let expected = expected(&filter, &stored, &names);
        assert!(!expected.is_empty(), "{field} must match some, to show anything");
        assert!(field == "none" || expected.len() < stored.len(), "{field} must leave some out");
        for limit in [1, 3, 10, 1_000] {
            assert_eq!(all(&store, &filter, limit).await, expected, "{field}, pages of {limit}");
        }
    }
    for nowhere in [filter(|it| it.experiment = Some("z".into())), filter(|it| it.run = Some("z".into()))] {
        assert_eq!(all(&store, &nowhere, 10).await, []);
    }
    let by_id = filter(|it| it.run = stored.iter().find_map(|call| call.run_id.clone()));
    assert_eq!(all(&store, &by_id, 10).await, expected(&by_id, &stored, &names));
}

#[test]
fn filters_together_give_what_all_of_them_match() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (_directory, store, stored, names) = runtime.block_on(varied_store());
    let singles = single_filters();
    let several = proptest::sample::subsequence(singles, 2..5);
    proptest!(ProptestConfig::with_cases(128), |(several in several, limit in 1usize..20)| {
        let mut filter = CallFilter::default();
        for (_, one) in several {
            filter.experiment = filter.experiment.or(one.experiment);
            filter.run = filter.run.or(one.run);
            filter.session = filter.session.or(one.session);
            filter.model = filter.model.or(one.model);
            filter.provider = filter.provider.or(one.provider);
            filter.upstream = filter.upstream.or(one.upstream);
            filter.operation = filter.operation.or(one.operation);
            filter.status = filter.status.or(one.status);
            filter.user = filter.user.or(one.user);
            filter.tag = filter.tag.or(one.tag);
            filter.trace = filter.trace.or(one.trace);
            filter.since = filter.since.or(one.since);
            filter.until = filter.until.or(one.until);
            filter.min_cost = filter.min_cost.or(one.min_cost);
            filter.min_duration_ns = filter.min_duration_ns.or(one.min_duration_ns);
        }
        let found = runtime.block_on(all(&store, &filter, limit));
        prop_assert_eq!(found, expected(&filter, &stored, &names));
    });
}

#[tokio::test]
async fn calls_that_come_while_one_turns_pages_shift_nothing() {
    let (_directory, store, stored, names) = varied_store().await;
    let filter = CallFilter::default();
    let first = store.calls(filter.clone(), PageRequest { limit: 20, cursor: None }).await.unwrap();
    store.settle((500..520).map(|number| settled(bare(number))).collect()).await.unwrap();
    let rest = store.calls(filter.clone(), PageRequest { limit: 100, cursor: first.next }).await.unwrap();
    let found: Vec<_> = first.items.iter().chain(&rest.items).map(|call| call.id).collect();
    assert_eq!(found, expected(&filter, &stored, &names));
}

#[tokio::test]
async fn a_page_without_a_length_has_one_of_its_own() {
    let (_directory, store) = open();
    store.settle((0..130).map(|number| settled(bare(number))).collect()).await.unwrap();
    let page = store.calls(CallFilter::default(), PageRequest::default()).await.unwrap();
    assert_eq!(page.items.len(), 100);
    assert!(page.next.is_some());
}

/// The plans of first and later pages, as SQLite explains them. What may not be in them: a scan of `spans`
/// that is not along an index, and a sort of more than equal starts where one value is asked for.
#[tokio::test]
async fn no_filter_reads_the_whole_table() {
    let (directory, _store, _, _) = varied_store().await;
    let connection = outside(&directory);
    let mut plans = Vec::new();
    for (field, filter) in single_filters() {
        for cursor in [None, Some(Cursor { started_at: UnixNanos(START), id: id(3) })] {
            let plan = search::plan(&connection, &filter, cursor).unwrap();
            assert!(!plan.is_empty());
            for step in &plan {
                let whole = step.starts_with("SCAN s") && !step.contains("INDEX");
                assert!(!whole, "{field}: {plan:?}");
                // `q` is the name of two runs, whose calls are merged.
                assert!(field == "run" || step != "USE TEMP B-TREE FOR ORDER BY", "{field}: {plan:?}");
            }
            plans.push(format!(
                "{field}{}: {}",
                if cursor.is_some() { ", next" } else { "" },
                plan.join(" | ")
            ));
        }
    }
    insta::assert_snapshot!(plans.join("\n"));
}
