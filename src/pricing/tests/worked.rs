//! Payloads with right answers worked out by hand: one token at one dollar per million is 1,000
//! nano-USD.

use super::{NOON, price, tokens};
use crate::{model::usage::Usage, pricing::PriceTable};

/// (provider and model, tier, time, usage, nano-USD, price id without the table's version)
type Case = (&'static str, &'static str, &'static str, Usage, i64, &'static str);

fn check(cases: &[Case]) {
    let table = PriceTable::embedded().unwrap();
    for (place, tier, when, usage, nanos, id) in cases {
        let expected = Some((*nanos, format!("2026-11-23/{id}")));
        assert_eq!(price(&table, place, tier, when, usage), expected, "{place} {tier} {when} {usage:?}");
    }
}

#[test]
fn plain_and_cached_calls() {
    check(&[
        // 1000 × 150 + 500 × 600
        ("openai gpt-4o-mini", "", NOON, tokens(1_000, 500), 450_000, "openai/gpt-4o-mini@undated"),
        // 600 × 150 + 400 × 75 + 500 × 600
        (
            "openai gpt-4o-mini-2024-07-18",
            "default",
            NOON,
            Usage { cache_read: Some(400), ..tokens(1_000, 500) },
            420_000,
            "openai/gpt-4o-mini@undated",
        ),
        // 1000 × 2,500 + 500 × 10,000
        ("openai gpt-4o", "auto", NOON, tokens(1_000, 500), 7_500_000, "openai/gpt-4o@undated"),
        // Reasoning is part of the output: 100 × 1,100 + 1000 × 4,400
        (
            "openai o4-mini",
            "",
            NOON,
            Usage { reasoning: Some(800), ..tokens(100, 1_000) },
            4_510_000,
            "openai/o4-mini@undated",
        ),
        // No cached price: they cost what input costs. 1000 × 500 + 10 × 1,500
        (
            "openai gpt-3.5-turbo",
            "",
            NOON,
            Usage { cache_read: Some(900), ..tokens(1_000, 10) },
            515_000,
            "openai/gpt-3.5-turbo@undated",
        ),
        // 7 × 20; an embedding has no output.
        (
            "openai text-embedding-3-small",
            "",
            NOON,
            Usage { input: Some(7), ..Usage::default() },
            140,
            "openai/text-embedding-3-small@undated",
        ),
        // 1000 × 5,000 + 6000 × 500 + 2000 × 6,250 + 1000 × 10,000 (long) + 100 × 25,000
        (
            "anthropic claude-opus-4-5-20251101",
            "standard",
            NOON,
            Usage {
                cache_read: Some(6_000),
                cache_write: Some(3_000),
                cache_write_long: Some(1_000),
                ..tokens(10_000, 100)
            },
            33_000_000,
            "anthropic/claude-opus-4-5@undated",
        ),
        // 100 × 660 + 900 × 22 + 10 × 1,980
        (
            "deepseek deepseek-v4-pro",
            "",
            NOON,
            Usage { cache_read: Some(900), ..tokens(1_000, 10) },
            105_600,
            "deepseek/deepseek-v4-pro@2026-08-17",
        ),
        // 37.5 rounds up, once, at the end.
        (
            "groq openai/gpt-oss-20b",
            "on_demand",
            NOON,
            Usage { cache_read: Some(1), ..tokens(1, 0) },
            38,
            "groq/openai/gpt-oss-20b@undated",
        ),
        // 3 × 37.5 = 112.5, not 3 × 38
        (
            "groq openai/gpt-oss-20b",
            "",
            NOON,
            Usage { cache_read: Some(3), ..tokens(3, 0) },
            113,
            "groq/openai/gpt-oss-20b@undated",
        ),
        ("openai gpt-4o", "", NOON, tokens(0, 0), 0, "openai/gpt-4o@undated"),
    ]);
}

#[test]
fn long_context_is_a_cliff() {
    check(&[
        // 272,000 × 2,500 + 1000 × 15,000
        ("openai gpt-5.4", "", NOON, tokens(272_000, 1_000), 695_000_000, "openai/gpt-5.4@undated"),
        // One more and everything is dearer: 272,001 × 5,000 + 1000 × 22,500
        ("openai gpt-5.4", "", NOON, tokens(272_001, 1_000), 1_382_505_000, "openai/gpt-5.4@undated"),
        // Cached tokens count for the threshold: 72,001 × 5,000 + 200,000 × 500 + 1000 × 22,500
        (
            "openai gpt-5.4",
            "",
            NOON,
            Usage { cache_read: Some(200_000), ..tokens(272_001, 1_000) },
            482_505_000,
            "openai/gpt-5.4@undated",
        ),
        // Half of it as a batch.
        (
            "openai gpt-5.4",
            "batch",
            NOON,
            tokens(272_001, 1_000),
            691_252_500,
            "openai/gpt-5.4/batch@undated",
        ),
        // 100,000 × 100 + 1000 × 500; 100,001 × 500 + 1000 × 2,500
        (
            "anthropic claude-haiku-5-5",
            "",
            NOON,
            tokens(100_000, 1_000),
            10_500_000,
            "anthropic/claude-haiku-5-5@undated",
        ),
        (
            "anthropic claude-haiku-5-5",
            "",
            NOON,
            tokens(100_001, 1_000),
            52_500_500,
            "anthropic/claude-haiku-5-5@undated",
        ),
        (
            "anthropic claude-sonnet-4-5",
            "",
            NOON,
            tokens(200_001, 0),
            1_200_006_000,
            "anthropic/claude-sonnet-4-5@undated",
        ),
        ("x_ai grok-4.6", "", NOON, tokens(199_999, 0), 399_998_000, "x_ai/grok-4.6@undated"),
        ("x_ai grok-4.6", "", NOON, tokens(200_000, 0), 800_000_000, "x_ai/grok-4.6@undated"),
    ]);
}

#[test]
fn served_tiers() {
    check(&[
        // 10,000 × 1,250 + 2000 × 7,500
        ("openai gpt-5.4", "flex", NOON, tokens(10_000, 2_000), 27_500_000, "openai/gpt-5.4/flex@undated"),
        ("openai gpt-5.4", "batch", NOON, tokens(10_000, 2_000), 27_500_000, "openai/gpt-5.4/batch@undated"),
        // 10,000 × 5,000 + 2000 × 30,000
        (
            "openai gpt-5.4",
            "priority",
            NOON,
            tokens(10_000, 2_000),
            110_000_000,
            "openai/gpt-5.4/priority@undated",
        ),
        (
            "openai gpt-5.4",
            "fast",
            NOON,
            tokens(10_000, 2_000),
            110_000_000,
            "openai/gpt-5.4/priority@undated",
        ),
        // 1.8 times: 1000 × 450 + 1000 × 3,600
        (
            "openai gpt-5-mini",
            "priority",
            NOON,
            tokens(1_000, 1_000),
            4_050_000,
            "openai/gpt-5-mini/priority@undated",
        ),
        // 5/3 times: 200 × 250 + 100 × 125 + 300 × 1,000
        (
            "openai gpt-4o-mini",
            "priority",
            NOON,
            Usage { cache_read: Some(100), ..tokens(300, 300) },
            362_500,
            "openai/gpt-4o-mini/priority@undated",
        ),
        // 1000 × 8,000 + 100 × 40,000
        (
            "anthropic claude-opus-5-5",
            "fast",
            NOON,
            tokens(1_000, 100),
            12_000_000,
            "anthropic/claude-opus-5-5/fast@undated",
        ),
        // 0.8 times: 1000 × 1,000 + 1000 × 2,000
        ("x_ai grok-4.3", "Batch", NOON, tokens(1_000, 1_000), 3_000_000, "x_ai/grok-4.3/batch@undated"),
    ]);
}

#[test]
fn prices_have_dates() {
    let thousand = || tokens(1_000, 1_000);
    check(&[
        (
            "openai gpt-5.6-sol",
            "",
            "2026-08-20T23:59:59Z",
            thousand(),
            35_000_000,
            "openai/gpt-5.6-sol@undated",
        ),
        ("openai gpt-5.6", "", "2026-08-21", thousand(), 24_000_000, "openai/gpt-5.6-sol@2026-08-21"),
        ("openai o3", "", "2025-06-09T23:59:59Z", thousand(), 50_000_000, "openai/o3@undated"),
        ("openai o3-2025-04-16", "", "2025-06-10", thousand(), 10_000_000, "openai/o3@2025-06-10"),
        (
            "mistral_ai mistral-large-4",
            "",
            "2026-10-19",
            thousand(),
            2_770_000,
            "mistral_ai/mistral-large-4@undated",
        ),
        (
            "mistral_ai mistral-large-4",
            "",
            "2026-10-20",
            thousand(),
            5_540_000,
            "mistral_ai/mistral-large-4@2026-10-20",
        ),
        (
            "mistral_ai mistral-large-4",
            "",
            "2026-10-29",
            thousand(),
            2_800_000,
            "mistral_ai/mistral-large-4@2026-10-29",
        ),
        // The tier above 200,000 went on 2026-03-13.
        (
            "anthropic claude-opus-4-6",
            "",
            "2026-03-12",
            tokens(200_001, 0),
            2_000_010_000,
            "anthropic/claude-opus-4-6@undated",
        ),
        (
            "anthropic claude-opus-4-6",
            "",
            "2026-03-13",
            tokens(200_001, 0),
            1_000_005_000,
            "anthropic/claude-opus-4-6@2026-03-13",
        ),
        // The model's own first snapshot costs what it always did.
        ("openai gpt-4o-2024-05-13", "", NOON, thousand(), 20_000_000, "openai/gpt-4o-2024-05-13@undated"),
    ]);
}

#[test]
fn deepseek_doubles_by_the_hour() {
    let id = "deepseek/deepseek-v4-pro@2026-08-17";
    let thousand = || tokens(1_000, 1_000);
    let deepseek = "deepseek deepseek-v4-pro";
    check(&[
        (deepseek, "", "2026-08-16T02:00:00Z", thousand(), 1_305_000, "deepseek/deepseek-v4-pro@undated"),
        (deepseek, "", "2026-08-17T00:59:59Z", thousand(), 2_640_000, id),
        (deepseek, "", "2026-08-17T01:00:00Z", thousand(), 5_280_000, id),
        (deepseek, "", "2026-11-23T03:59:59Z", thousand(), 5_280_000, id),
        (deepseek, "", "2026-11-23T04:00:00Z", thousand(), 2_640_000, id),
        (deepseek, "", "2026-11-23T06:00:00Z", thousand(), 5_280_000, id),
        (deepseek, "", "2026-11-23T09:59:59Z", thousand(), 5_280_000, id),
        (deepseek, "", "2026-11-23T10:00:00Z", thousand(), 2_640_000, id),
        // Peak hours are UTC, whatever the offset it is written in: 03:30 at +02:00 is 01:30.
        (deepseek, "", "2026-11-23T03:30:00+02:00", thousand(), 5_280_000, id),
    ]);
}

#[test]
fn audio_images_and_searches() {
    check(&[
        // 300 × 4,000 + 200 × 400 + 500 × 32,000 + 100 × 16,000 + 200 × 64,000
        (
            "openai gpt-realtime-2025-08-28",
            "",
            NOON,
            Usage {
                cache_read: Some(200),
                input_audio: Some(500),
                output_audio: Some(200),
                ..tokens(1_000, 300)
            },
            31_680_000,
            "openai/gpt-realtime@undated",
        ),
        // 40 × 5,000 + 60 × 10,000 + 1000 × 40,000
        (
            "openai gpt-image-1",
            "",
            NOON,
            Usage { input_image: Some(60), output_image: Some(1_000), ..tokens(100, 1_000) },
            40_800_000,
            "openai/gpt-image-1@undated",
        ),
        // Audio without a price of its own is input: 100 × 2,500
        (
            "openai gpt-4o",
            "",
            NOON,
            Usage { input_audio: Some(40), ..tokens(100, 0) },
            250_000,
            "openai/gpt-4o@undated",
        ),
        // 100 × 2,500 + 100 × 15,000 + 3 × 10,000,000
        (
            "openai gpt-5.4",
            "",
            NOON,
            Usage { web_searches: Some(3), ..tokens(100, 100) },
            31_750_000,
            "openai/gpt-5.4@undated",
        ),
        // Tiers move tokens, not searches: 100 × 1,250 + 100 × 7,500 + 10,000,000
        (
            "openai gpt-5.4",
            "flex",
            NOON,
            Usage { web_searches: Some(1), ..tokens(100, 100) },
            10_875_000,
            "openai/gpt-5.4/flex@undated",
        ),
    ]);
}

#[test]
fn names_are_understood() {
    let thousand = || tokens(1_000, 1_000);
    let opus = "anthropic/claude-opus-4-5@undated";
    check(&[
        ("azure.ai.openai gpt-4o-2024-11-20", "", NOON, thousand(), 12_500_000, "openai/gpt-4o@undated"),
        (
            "azure.ai.inference deepseek-v4-pro",
            "",
            NOON,
            thousand(),
            2_640_000,
            "deepseek/deepseek-v4-pro@2026-08-17",
        ),
        ("gcp.vertex_ai claude-opus-4-5@20251101", "", NOON, thousand(), 30_000_000, opus),
        (
            "gcp.gemini models/gemini-2.5-pro",
            "",
            NOON,
            thousand(),
            11_250_000,
            "gcp.gemini/gemini-2.5-pro@undated",
        ),
        (
            "aws.bedrock global.anthropic.claude-opus-4-5-20251101-v1:0",
            "",
            NOON,
            thousand(),
            30_000_000,
            opus,
        ),
        ("openrouter anthropic/claude-opus-4.5", "", NOON, thousand(), 30_000_000, opus),
        ("openrouter anthropic/claude-opus-4.5:nitro", "", NOON, thousand(), 30_000_000, opus),
        ("openrouter moonshotai/kimi-k3", "", NOON, thousand(), 18_000_000, "moonshot_ai/kimi-k3@undated"),
        (
            "litellm groq/openai/gpt-oss-120b",
            "",
            NOON,
            thousand(),
            750_000,
            "groq/openai/gpt-oss-120b@undated",
        ),
        ("custom GPT-4o", "", NOON, thousand(), 12_500_000, "openai/gpt-4o@undated"),
        ("custom openai/gpt-4o", "", NOON, thousand(), 12_500_000, "openai/gpt-4o@undated"),
        ("my-gateway claude-opus-4-5", "", NOON, thousand(), 30_000_000, opus),
        (
            "openai ft:gpt-4o-mini-2024-07-18:acme::abc",
            "",
            NOON,
            thousand(),
            1_500_000,
            "openai/ft:gpt-4o-mini@undated",
        ),
        ("xai grok-4-6", "", NOON, thousand(), 8_000_000, "x_ai/grok-4.6@undated"),
        ("openai gpt-6-sol-2026-10-01", "", NOON, thousand(), 12_000_000, "openai/gpt-6-sol@undated"),
        // The simulated models are priced wherever they answer.
        ("simulated sim-small", "", NOON, thousand(), 750_000, "simulated/sim-small@undated"),
        ("openai sim-large", "", NOON, thousand(), 12_500_000, "simulated/sim-large@undated"),
        ("vllm sim-embed", "", NOON, tokens(1_000, 0), 20_000, "simulated/sim-embed@undated"),
    ]);
}
