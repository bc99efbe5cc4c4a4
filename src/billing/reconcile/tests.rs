//! Each provider's shapes, and what becomes of a difference.

use super::*;

fn row(day: &str, model: &str, calls: u64, tokens: [u64; 4], billed: i64) -> CostRow {
    let [input, cache_read, cache_write, output] = tokens;
    CostRow {
        key: vec![Some(day.to_owned()), Some(model.to_owned())],
        calls,
        input_tokens: input,
        cache_read_tokens: cache_read,
        cache_write_tokens: cache_write,
        output_tokens: output,
        billed: NanoUsd(billed),
        priced_calls: calls,
        ..CostRow::default()
    }
}

/// A class, and its figure in the bill and in the store.
type Shown = (Class, Option<i64>, Option<i64>);

fn differences(bill: &str, rows: &[CostRow]) -> (String, u64, u64, Vec<Shown>) {
    let result = compare(read(bill).unwrap(), rows, 0);
    assert!(result.differences.iter().all(|one| !one.reason.is_empty()));
    let shown = result.differences.iter().map(|one| (one.class, one.bill, one.recorded)).collect();
    (result.bill, result.compared, result.matching, shown)
}

#[test]
fn openai_s_usage() {
    let json = r#"{"object":"page","data":[{"object":"bucket","start_time":1795392000,"end_time":1795478400,
        "results":[{"object":"organization.usage.completions.result","input_tokens":1000,"output_tokens":500,
        "input_cached_tokens":800,"num_model_requests":5,"model":"gpt-4o-2024-08-06"}]}],"has_more":false}"#;
    let csv = "start_time,end_time,start_time_iso,end_time_iso,num_model_requests,model,input_tokens,output_tokens,input_cached_tokens\n\
        1795392000,1795478400,2026-11-23T00:00:00+00:00,2026-11-24T00:00:00+00:00,5,gpt-4o-2024-08-06,1000,500,800\n";
    let same = [row("2026-11-23", "gpt-4o", 5, [1_000, 800, 0, 500], 0)];
    let less = [row("2026-11-23", "gpt-4o-2024-08-06", 6, [1_000, 700, 0, 500], 0)];
    for (bill, kind) in [(json, "OpenAI usage (JSON)"), (csv, "OpenAI usage (CSV)")] {
        assert_eq!(differences(bill, &same), (kind.to_owned(), 4, 4, Vec::new()));
        let found = differences(bill, &less).3;
        assert_eq!(
            found,
            [
                (Class::Calls, Some(5), Some(6)),
                (Class::Input, Some(200), Some(300)),
                (Class::CacheRead, Some(800), Some(700))
            ]
        );
    }
}

#[test]
fn openai_s_costs() {
    let json = r#"{"object":"page","data":[{"start_time":1795392000,"results":[
        {"object":"organization.costs.result","amount":{"value":1.25,"currency":"usd"},"line_item":"gpt-4o-2024-08-06, input"},
        {"object":"organization.costs.result","amount":{"value":0.75,"currency":"usd"},"line_item":"gpt-4o-2024-08-06, output"},
        {"object":"organization.costs.result","amount":{"value":3,"currency":"usd"},"line_item":"File storage"}]}]}"#;
    // A cent a line is rounding.
    let rows = [row("2026-11-23", "gpt-4o-2024-08-06", 5, [0, 0, 0, 0], 2_009_000_000)];
    assert_eq!(differences(json, &rows), ("OpenAI costs (JSON)".to_owned(), 1, 1, Vec::new()));
    assert_eq!(read(json).unwrap().ignored, ["2026-11-23: File storage"]);
    let dearer = [row("2026-11-23", "gpt-4o", 5, [0, 0, 0, 0], 4_000_000_000)];
    assert_eq!(differences(json, &dearer).3, [(Class::Cost, Some(2_000_000_000), Some(4_000_000_000))]);
}

#[test]
fn anthropic_s_usage_and_costs() {
    let usage = r#"{"data":[{"starting_at":"2026-11-23T00:00:00Z","ending_at":"2026-11-24T00:00:00Z","results":[
        {"uncached_input_tokens":1500,"cache_creation":{"ephemeral_1h_input_tokens":1000,"ephemeral_5m_input_tokens":500},
         "cache_read_input_tokens":200,"output_tokens":500,"model":"claude-opus-4-5-20251101"}]}],"has_more":false}"#;
    let csv = "usage_date_utc,model_version,api_key,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens\n\
        2026-11-23,claude-opus-4-5-20251101,\"team, a\",1500,500,1000,200,500\n";
    let rows = [row("2026-11-23", "claude-opus-4-5-20251101", 9, [3_200, 200, 1_500, 500], 1_237_891_200)];
    for bill in [usage, csv] {
        let (_, compared, matching, found) = differences(bill, &rows);
        assert_eq!((compared, matching, found), (4, 4, Vec::new()));
    }
    let costs = r#"{"data":[{"starting_at":"2026-11-23T00:00:00Z","results":[
        {"currency":"USD","amount":"123.78912","description":"Claude Opus 4.5 Usage - Input Tokens","model":"claude-opus-4-5-20251101"},
        {"currency":"USD","amount":"5","description":"Web Search Usage","model":null}]}]}"#;
    assert_eq!(differences(costs, &rows), ("Anthropic costs (JSON)".to_owned(), 1, 1, Vec::new()));
}

#[test]
fn what_one_side_does_not_have_is_told() {
    let bill = "usage_date_utc,model,cost_usd\n2026-11-23,claude-x,2.50\n";
    let rows = [
        row("2026-11-23", "claude-y", 1, [0, 0, 0, 0], 5_000_000_000),
        row("2026-11-22", "claude-x", 1, [0, 0, 0, 0], 5_000_000_000),
    ];
    let found = differences(bill, &rows).3;
    assert_eq!(found, [(Class::Cost, Some(2_500_000_000), None), (Class::Cost, None, Some(5_000_000_000))]);
}

#[test]
fn what_is_no_bill_is_refused() {
    for text in ["", "a,b\n1,2", "{}", "{\"data\":3}", "{"] {
        assert!(read(text).is_err(), "{text}");
    }
    assert!(
        read("usage_date_utc,usage_output_tokens\n2026-11-23,many").unwrap_err().message.contains("line 2")
    );
}

#[test]
fn models_are_the_same_but_for_their_date() {
    assert!(same_model("gpt-4o-2024-08-06", "gpt-4o"));
    assert!(same_model("claude-opus-4-5-20251101", "Claude Opus 4.5"));
    assert!(!same_model("gpt-4o-mini", "gpt-4o"));
    assert!(!same_model("claude-opus-4-5", "claude-opus-4-1"));
}
