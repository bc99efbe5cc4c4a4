//! What is let through, what is stopped, and when.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::model::{
    Glob, SpanId, TraceId,
    budget::{Each, Spender, Window},
    call::{CallStatus, Dialect, Rules},
    record::Outcome,
    usage::{Usage, UsageSource},
};

const NOON: &str = "2026-11-23T12:00:00Z";

fn at(text: &str) -> UnixNanos {
    UnixNanos::parse(text, UnixNanos(0)).unwrap()
}

fn daily(limit: i64, action: Action) -> Budget {
    Budget {
        name: "daily".to_owned(),
        spender: Spender::default(),
        each: None,
        limit: NanoUsd(limit),
        window: Window::Day,
        action,
        warn_at: 80,
    }
}

fn id(number: u8) -> CallId {
    CallId([number; 16])
}

/// A call as it is settled.
fn call(number: u8, run: Option<&str>, billed: Option<i64>, started_at: &str) -> Call {
    let started_at = at(started_at);
    Call {
        id: id(number),
        trace_id: TraceId([number; 16]),
        span_id: SpanId([number; 8]),
        parent_span_id: None,
        name: "chat gpt-4o".to_owned(),
        started_at,
        ended_at: started_at,
        experiment_id: "0".to_owned(),
        run_id: run.map(str::to_owned),
        session: None,
        rules: Rules::default(),
        user: None,
        tags: Vec::new(),
        metadata: serde_json::Map::new(),
        upstream: "default".to_owned(),
        provider: "openai".to_owned(),
        server_address: "api.openai.com".to_owned(),
        server_port: 443,
        dialect: Dialect::ChatCompletions,
        operation: "chat".to_owned(),
        request_model: Some("gpt-4o".to_owned()),
        response_model: None,
        streamed: false,
        method: "POST".to_owned(),
        target: "/chat/completions".to_owned(),
        peer: None,
        key_fingerprint: None,
        status: CallStatus::Ok,
        outcome: Outcome::Completed,
        http_status: Some(200),
        error_type: None,
        error_source: None,
        error_message: None,
        finish_reasons: Vec::new(),
        response_id: None,
        request_id: None,
        retry_count: None,
        service_tier: None,
        region: None,
        tool_calls: 0,
        usage: Usage { input: Some(1), ..Usage::default() },
        usage_source: Some(UsageSource::Reported),
        cost: billed.map(NanoUsd),
        billed: billed.map(NanoUsd),
        price_id: None,
        first_byte_ns: None,
        first_token_ns: None,
        last_token_ns: None,
        chunks: 1,
        sent_bytes: 0,
        received_bytes: 0,
        request_whole: true,
        response_whole: true,
        request_headers: Default::default(),
        response_headers: Default::default(),
        notes: Vec::new(),
    }
}

fn facts() -> Facts {
    Facts { upstream: "default".to_owned(), ..Facts::default() }
}

fn budgets(all: Vec<Budget>) -> (Budgets, Arc<AtomicUsize>) {
    let waits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&waits);
    let settle: Settle = Arc::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    });
    (Budgets::new(all, settle), waits)
}

#[tokio::test]
async fn a_loop_is_cut_within_one_call() {
    let (budgets, _) = budgets(vec![daily(1_000, Action::Stop)]);
    let mut passed = 0;
    for number in 0..10 {
        if budgets.admit(id(number), &facts(), at(NOON)).await.is_err() {
            break;
        }
        passed += 1;
        budgets.settled(&call(number, None, Some(400), NOON), "Default", at(NOON));
    }
    // 400, 800, 1,200: the third crosses the line, the fourth is refused.
    assert_eq!(passed, 3);
    let refused = budgets.admit(id(99), &facts(), at(NOON)).await.unwrap_err();
    insta::assert_snapshot!(refused.message(), @r#"the budget "daily" is used up: $0.0000012 of $0.000001 spent today (UTC); it begins anew at 2026-11-24T00:00:00Z"#);
    // The next day begins anew.
    budgets.admit(id(50), &facts(), at("2026-11-24T00:00:00Z")).await.unwrap();
}

#[tokio::test]
async fn calls_that_run_count_as_what_they_are_expected_to_cost() {
    let (budgets, waits) = budgets(vec![daily(1_000, Action::Stop)]);
    budgets.admit(id(0), &facts(), at(NOON)).await.unwrap();
    budgets.settled(&call(0, None, Some(300), NOON), "Default", at(NOON));
    // 300 are spent; three more of 300 are expected to use up the rest.
    for number in 1..=3 {
        budgets.admit(id(number), &facts(), at(NOON)).await.unwrap();
    }
    assert!(budgets.admit(id(4), &facts(), at(NOON)).await.unwrap_err().message().contains("still run"));
    assert!(waits.load(Ordering::Relaxed) > 0);
    // They were cheaper than expected: there is room again.
    for number in 1..=3 {
        budgets.settled(&call(number, None, Some(10), NOON), "Default", at(NOON));
    }
    budgets.admit(id(5), &facts(), at(NOON)).await.unwrap();
    let state = &budgets.states(at(NOON))[0];
    assert_eq!((state.spent.0, state.open_calls, state.refused_calls), (330, 1, 1));
}

#[tokio::test]
async fn a_warning_is_said_once_and_stops_nothing() {
    let (budgets, _) = budgets(vec![daily(1_000, Action::Warn)]);
    let mut said = Vec::new();
    for number in 0..5 {
        budgets.admit(id(number), &facts(), at(NOON)).await.unwrap();
        said.extend(budgets.settled(&call(number, None, Some(450), NOON), "Default", at(NOON)));
    }
    let kinds: Vec<_> = said.iter().map(|one| matches!(one, Crossing::UsedUp(_))).collect();
    assert_eq!(kinds, [false, true]);
}

#[tokio::test]
async fn inv6_unknown_costs_are_counted_apart() {
    let (budgets, _) = budgets(vec![daily(1_000, Action::Stop)]);
    let mut unknown = call(1, None, None, NOON);
    unknown.usage.input = Some(5);
    budgets.settled(&unknown, "Default", at(NOON));
    let state = &budgets.states(at(NOON))[0];
    assert_eq!((state.spent.0, state.calls, state.unknown_calls), (0, 1, 1));
}

#[tokio::test]
async fn each_user_has_an_account_and_patterns_choose() {
    let each = Budget {
        spender: Spender { experiment: Some(Glob::new("prod-*")), ..Spender::default() },
        each: Some(Each::User),
        ..daily(100, Action::Stop)
    };
    let (budgets, _) = budgets(vec![each]);
    let of = |user: &str, experiment: &str| Facts {
        user: Some(user.to_owned()),
        experiment: Some(experiment.to_owned()),
        ..facts()
    };
    let mut spent = call(1, None, Some(500), NOON);
    spent.user = Some("ann".to_owned());
    budgets.settled(&spent, "prod-eu", at(NOON));
    assert!(budgets.admit(id(2), &of("ann", "prod-eu"), at(NOON)).await.is_err());
    budgets.admit(id(3), &of("bob", "prod-eu"), at(NOON)).await.unwrap();
    budgets.admit(id(4), &of("ann", "test"), at(NOON)).await.unwrap();
}

#[tokio::test]
async fn a_run_brings_its_own_budget_under_its_name() {
    let (budgets, _) = budgets(Vec::new());
    let own = Facts { run: Some("nightly".to_owned()), own_limit: Some(NanoUsd(100)), ..facts() };
    budgets.admit(id(1), &own, at(NOON)).await.unwrap();
    let said = budgets.settled(&call(1, Some("0123"), Some(150), NOON), "Default", at(NOON));
    assert!(matches!(&said[0], Crossing::RunBudget { run, limit } if run == "0123" && limit.0 == 100));
    // By its name and by its id it is the same run; others run on.
    let plain = Facts { own_limit: None, ..own.clone() };
    assert!(budgets.admit(id(2), &plain, at(NOON)).await.is_err());
    let by_id = Facts { run: Some("0123".to_owned()), ..facts() };
    assert!(budgets.admit(id(3), &by_id, at(NOON)).await.is_err());
    budgets.admit(id(4), &facts(), at(NOON)).await.unwrap();
    assert!(budgets.clear_run(&"0123".to_owned()));
    budgets.admit(id(5), &by_id, at(NOON)).await.unwrap();
}

#[tokio::test]
async fn what_was_spent_before_the_start_counts() {
    let (budgets, _) = budgets(vec![daily(1_000, Action::Stop)]);
    let needs = budgets.needs(at(NOON));
    assert_eq!(needs, [(at("2026-11-23"), false)]);
    let spent = Spending {
        billed: NanoUsd(1_000),
        calls: 4,
        priced_calls: 4,
        upstream: "default".to_owned(),
        ..Spending::default()
    };
    budgets.load(needs[0].0, &[spent], at(NOON));
    assert!(budgets.admit(id(1), &facts(), at(NOON)).await.is_err());
}

#[tokio::test]
async fn the_body_is_wanted_only_when_a_budget_by_model_is_nearly_used_up() {
    let by_model = Budget {
        spender: Spender { model: Some(Glob::new("gpt-5*")), ..Spender::default() },
        ..daily(1_000_000_000, Action::Stop)
    };
    let (budgets, _) = budgets(vec![by_model]);
    assert!(!budgets.wants_body(&facts(), at(NOON)));
    let mut spent = call(1, None, Some(1_000_000_000), NOON);
    spent.response_model = Some("gpt-5.4".to_owned());
    budgets.settled(&spent, "Default", at(NOON));
    assert!(budgets.wants_body(&facts(), at(NOON)));
    let of = |model: &str| Facts { model: Some(model.to_owned()), ..facts() };
    assert!(budgets.admit(id(2), &of("gpt-5.4"), at(NOON)).await.is_err());
    budgets.admit(id(3), &of("gpt-4o"), at(NOON)).await.unwrap();
}

/// A loop that runs many calls at once must not pass a budget by model before the first of them has its cost.
#[tokio::test]
async fn calls_that_nobody_looked_into_count_as_what_they_may_cost() {
    let by_model = Budget { each: Some(Each::Model), ..daily(1_000_000_000, Action::Stop) };
    let (budgets, _) = budgets(vec![by_model]);
    let mut unseen = 0;
    while !budgets.wants_body(&facts(), at(NOON)) {
        budgets.admit(id(unseen), &facts(), at(NOON)).await.unwrap();
        unseen += 1;
    }
    // Of calls that are expected to cost 25 thousandths of it, half of the limit is twenty.
    assert_eq!(unseen, 19);
    // Once they are settled, and were cheap, there is no need.
    for number in 0..unseen {
        budgets.settled(&call(number, None, Some(10), NOON), "Default", at(NOON));
    }
    assert!(!budgets.wants_body(&facts(), at(NOON)));
    // A window that is over says nothing of the next.
    let mut dear = call(50, None, Some(900_000_000), NOON);
    dear.response_model = Some("gpt-5.4".to_owned());
    budgets.settled(&dear, "Default", at(NOON));
    assert!(budgets.wants_body(&facts(), at(NOON)));
    assert!(!budgets.wants_body(&facts(), at("2026-11-24T00:00:00Z")));
}

/// Each refusal is a call without a cost. Counted into the mean they made the next calls look cheap.
#[tokio::test]
async fn refused_calls_do_not_make_a_call_look_cheap() {
    let each = Budget { each: Some(Each::User), ..daily(1_000, Action::Stop) };
    let (budgets, _) =
        budgets(vec![each, Budget { name: "all".to_owned(), ..daily(1_000_000, Action::Warn) }]);
    let user = |name: &str| Facts { user: Some(name.to_owned()), ..facts() };
    let mut spent = call(1, None, Some(1_000), NOON);
    spent.user = Some("bob".to_owned());
    budgets.admit(id(1), &user("bob"), at(NOON)).await.unwrap();
    budgets.settled(&spent, "Default", at(NOON));
    for number in 2..100 {
        assert!(budgets.admit(id(number), &user("bob"), at(NOON)).await.is_err());
        let mut refused = call(number, None, None, NOON);
        refused.user = Some("bob".to_owned());
        (refused.usage, refused.usage_source) = (Usage::default(), None);
        budgets.settled(&refused, "Default", at(NOON));
    }
    // One call is expected to cost all that there is; none of the others has ended.
    let mut admitted = 0;
    for number in 100..164 {
        admitted += u8::from(budgets.admit(id(number), &user("eve"), at(NOON)).await.is_ok());
    }
    assert_eq!(admitted, 1);
}
