//! Both lists, with what is odd in each.

use super::*;
use crate::{
    model::{UnixNanos, usage::Usage},
    pricing::Billing,
};

const GENAI: &str = r#"[{"id":"x-ai","models":[
  {"id":"grok-9","match":{"or":[{"equals":"grok-9"},{"starts_with":"grok-9-latest"},{"regex":"^x"}]},
   "prices":[{"prices":{"input_mtok":{"base":2,"tiers":[{"start":199999,"price":4}]},
                        "output_mtok":{"base":6,"tiers":[{"start":199999,"price":12}]},"web_searches_kcount":5}},
             {"constraint":{"start_date":"2026-05-01"},"prices":{"input_mtok":1.5,"output_mtok":3}},
             {"constraint":{"start_time":"16:30:00Z","end_time":"00:30:00Z"},
              "prices":{"input_mtok":0.75,"output_mtok":1.5}}],
   "price_variants":[{"when":{"processing":"batch"},"constraint":{"start_date":"2026-06-01"},
                      "prices":{"input_mtok":0.6}},
                     {"when":{"route":"moon"},"prices":{"input_mtok":9}}]},
  {"id":"grok-listen","match":{"equals":"grok-listen"},"prices":{"audio_hours":0.36,"input_video_mtok":3}}]}]"#;

const LITELLM: &str = r#"{"sample_spec":{"input_cost_per_token":0},
  "gpt-9":{"litellm_provider":"openai","mode":"chat","input_cost_per_token":2.5e-06,"output_cost_per_token":1e-05,
    "cache_read_input_token_cost":1.25e-07,"input_cost_per_token_batches":1.25e-06,
    "input_cost_per_token_above_272k_tokens":5e-06,"supports_vision":true,
    "search_context_cost_per_query":{"search_context_size_medium":0.025}},
  "azure/eu/gpt-9":{"litellm_provider":"azure","input_cost_per_token":3e-06},
  "groq/fast":{"litellm_provider":"groq","input_cost_per_token":1.0000000000000001e-07,"output_cost_per_token":2e-07},
  "hear":{"litellm_provider":"openai","mode":"audio_transcription","input_cost_per_second":0.0001},
  "free":{"litellm_provider":"openai","input_cost_per_token":0,"output_cost_per_token":0}}"#;

fn options() -> Options {
    Options { version: "test".to_owned(), checked: "2026-11-23".to_owned(), providers: Vec::new() }
}

fn cost(table: &PriceTable, provider: &str, model: &str, tier: &str, at: &str, usage: &Usage) -> Option<i64> {
    let billing = Billing {
        provider,
        response_model: Some(model),
        service_tier: Some(tier),
        at: UnixNanos::parse(at, UnixNanos(0)).unwrap(),
        ..Billing::default()
    };
    table.cost(usage, &billing).map(|cost| cost.total.0)
}

#[test]
fn genai_prices_dates_hours_and_tiers() {
    let imported = import(GENAI, &options()).unwrap();
    insta::assert_snapshot!(imported.toml);
    assert_eq!(imported.skipped.len(), 2, "{:?}", imported.skipped);
    let table = PriceTable::embedded().unwrap().with_overrides(&imported.toml, "x").unwrap();
    let million = Usage { input: Some(1_000_000), output: Some(0), ..Usage::default() };
    let grok = |model, tier, at| cost(&table, "xai", model, tier, at, &million);
    assert_eq!(grok("grok-9", "", "2026-04-01"), Some(4_000_000_000));
    assert_eq!(grok("grok-9-latest", "", "2026-05-02"), Some(1_500_000_000));
    assert_eq!(grok("grok-9", "batch", "2026-05-02"), None);
    assert_eq!(grok("grok-9", "batch", "2026-06-02T12:00:00Z"), Some(600_000_000));
    assert_eq!(grok("grok-9", "", "2026-06-02T00:10:00Z"), Some(750_000_000));
    let mut minute = Usage::default();
    minute.count(crate::model::usage::Meter::Second, 60);
    assert_eq!(cost(&table, "xai", "grok-listen", "", "2026-05-02", &minute), Some(6_000_000));
}

#[test]
fn litellm_suffixes_and_dust() {
    let imported = import(LITELLM, &options()).unwrap();
    insta::assert_snapshot!(imported.toml);
    let table = PriceTable::embedded().unwrap().with_overrides(&imported.toml, "x").unwrap();
    let usage = |input| Usage { input: Some(input), output: Some(0), ..Usage::default() };
    let gpt = |tier, input| cost(&table, "openai", "gpt-9", tier, "2026-11-23", &usage(input));
    assert_eq!(gpt("", 1_000), Some(2_500_000));
    assert_eq!(gpt("batch", 1_000), Some(1_250_000));
    assert_eq!(gpt("", 272_001), Some(1_360_005_000));
    assert_eq!(cost(&table, "groq", "fast", "", "2026-11-23", &usage(10_000_000)), Some(1_000_000_000));
    assert_eq!(cost(&table, "openai", "free", "", "2026-11-23", &usage(1)), None);
}

#[test]
fn what_is_no_list_is_refused() {
    for (text, expected) in [("", "found"), ("3", "neither"), ("{}", "found none"), ("[]", "found none")] {
        let message = import(text, &options()).unwrap_err().message;
        assert!(message.contains(expected), "{text}: {message}");
    }
}
