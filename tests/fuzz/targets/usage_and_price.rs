//! Any usage in any answer: it is read without a panic, priced without a panic, and no price makes money.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tapline::{
    model::UnixNanos,
    pricing::{Billing, PriceTable},
    tokens,
    wire::{CallReader, Limits},
};

static PRICES: LazyLock<PriceTable> = LazyLock::new(|| PriceTable::embedded().expect("the table is compiled in"));
const MODELS: [&str; 4] = ["gpt-4o-mini", "o3", "text-embedding-3-small", "claude-sonnet-4-5"];

fuzz_target!(|input: (u8, u8, i64, String, String)| {
    let (target, model, at, usage, tier) = input;
    let targets = ["/chat/completions", "/responses", "/messages", "/embeddings", "/completions"];
    let model = MODELS[usize::from(model) % MODELS.len()];
    let mut reader =
        CallReader::new("POST", targets[usize::from(target) % targets.len()], &[], Limits::default());
    reader.request(format!("{{\"model\":\"{model}\"}}").as_bytes());
    reader.answered(200, &[("content-type".to_owned(), "application/json".to_owned())]);
    reader.response(format!("{{\"model\":\"{model}\",\"usage\":{usage}}}").as_bytes(), UnixNanos(1));
    let exchange = reader.finish(true);
    let estimated = tokens::estimate(&exchange);
    for usage in exchange.response.usage.iter().chain(estimated.as_ref().map(|estimate| &estimate.usage)) {
        let billing = Billing {
            upstream: "fuzz",
            provider: ["openai", "anthropic", "custom"][usize::from(target) % 3],
            response_model: exchange.response.model.as_deref(),
            request_model: exchange.request.model.as_deref(),
            service_tier: Some(&tier),
            region: exchange.response.region.as_deref(),
            at: UnixNanos(at),
        };
        if let Some(cost) = PRICES.cost(usage, &billing) {
            assert!(cost.total.0 >= 0, "{cost:?}");
            assert!(!cost.price_id.is_empty());
        }
    }
});
