//! What is priced, what is not, and what holds for every usage; examples worked out by hand, from bytes to
//! money, are in tests/fixtures/cost_truth.toml.

mod variants;

use proptest::prelude::*;

use super::*;

const NOON: &str = "2026-11-23T12:00:00Z";

fn at(text: &str) -> UnixNanos {
    UnixNanos::parse(text, UnixNanos(0)).unwrap()
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage { input: Some(input), output: Some(output), ..Usage::default() }
}

fn price(table: &PriceTable, place: &str, tier: &str, when: &str, usage: &Usage) -> Option<(i64, String)> {
    let (provider, model) = place.split_once(' ').unwrap();
    let cost = table.cost(
        usage,
        &Billing {
            provider,
            response_model: Some(model),
            request_model: None,
            service_tier: (!tier.is_empty()).then_some(tier),
            at: at(when),
            ..Billing::default()
        },
    )?;
    Some((cost.total.0, cost.price_id))
}

#[test]
fn inv6_an_unknown_price_is_unknown_never_zero() {
    let table = PriceTable::embedded().unwrap();
    let thousand = tokens(1_000, 1_000);
    for (place, tier) in [
        ("openai gpt-6.2-sol", ""),
        ("openai gpt-6.2-astra", ""),
        ("gcp.gemini gemini-3.5-pro", ""),
        ("openai gpt-4o-micro", ""),
        ("openai gpt-4o-mini-realtime-preview", ""),
        ("openai gpt-4", "flex"),
        ("openai gpt-5.4-nano", "priority"),
        ("openai gpt-5.4", "scale"),
        ("openai ft:gpt-4.1-2025-04-14:acme::abc", ""),
        ("openai text-embedding-3-small", ""),
        ("openai claude-opus-4-5", ""),
        ("ollama gpt-4o", ""),
        ("vllm openai/gpt-4o", ""),
        ("together_ai moonshotai/kimi-k3", ""),
        ("custom kimi-k3", ""),
        ("openrouter openai/gpt-oss-120b", ""),
        ("openrouter anthropic/claude-opus-4.5:free", ""),
        ("openrouter qwen/gpt-4o", ""),
        // Dearer outside the global profile, and nothing says that it was in it.
        ("aws.bedrock anthropic.claude-opus-4-5-20251101-v1:0", ""),
        ("openai  ", ""),
        ("openai /", ""),
        ("openai ft:", ""),
        ("openai :0", ""),
    ] {
        assert_eq!(price(&table, place, tier, NOON, &thousand), None, "{place} {tier}");
    }
    let searched = Usage { web_searches: Some(1), ..thousand };
    assert_eq!(price(&table, "openai gpt-4.1-nano", "", NOON, &searched), None);
    assert_eq!(price(&table, "openai gpt-4o", "", NOON, &Usage::default()), None);
    let only_details = Usage { cache_read: Some(5), web_searches: Some(1), ..Usage::default() };
    assert_eq!(price(&table, "openai gpt-4o", "", NOON, &only_details), None);
    assert_eq!(price(&table, "openai gpt-4o", "", NOON, &tokens(u64::MAX, u64::MAX)), None);
}

#[test]
fn one_unknown_count_leaves_the_other_priced() {
    let table = PriceTable::embedded().unwrap();
    let asked = Usage { input: Some(1_000), ..Usage::default() };
    assert_eq!(price(&table, "openai gpt-4o", "", NOON, &asked).unwrap().0, 2_500_000);
}

#[test]
fn what_the_provider_reports_wins() {
    let table = PriceTable::embedded().unwrap();
    let reported = |nanos| Usage { reported_cost_nano_usd: Some(nanos), ..tokens(1_000, 0) };
    let found = price(&table, "openrouter nobody/knows", "", NOON, &reported(12_345));
    assert_eq!(found, Some((12_345, "reported".to_owned())));
    assert_eq!(price(&table, "openai gpt-4o", "", NOON, &reported(0)).unwrap().0, 0);
    let only = Usage { reported_cost_nano_usd: Some(7), ..Usage::default() };
    assert_eq!(price(&table, "openai gpt-4o", "", NOON, &only).unwrap().0, 7);
    // No provider owes its client money: such a figure is not believed.
    assert_eq!(price(&table, "openai gpt-4o", "", NOON, &reported(-1)).unwrap().0, 2_500_000);
}

#[test]
fn what_costs_by_the_request_alone_needs_no_counts() {
    let table = PriceTable::embedded().unwrap();
    let free = |model| price(&table, model, "", NOON, &Usage::default());
    let expected = Some((0, "2026-11-23/openai/omni-moderation@undated".to_owned()));
    assert_eq!(free("openai omni-moderation-2024-09-26"), expected);
    assert_eq!(free("openai text-moderation-latest"), expected);
    assert_eq!(free("openai gpt-4o"), None);
    assert_eq!(free("openai tts-1"), None);
}

#[test]
fn the_answering_model_comes_before_the_asked_one() {
    let table = PriceTable::embedded().unwrap();
    let id = |response_model, request_model| {
        let billing = Billing {
            provider: "azure.ai.openai",
            response_model,
            request_model,
            service_tier: None,
            at: at(NOON),
            ..Billing::default()
        };
        Some(table.cost(&tokens(1, 1), &billing)?.price_id)
    };
    let gpt_4o = Some("2026-11-23/openai/gpt-4o@undated".to_owned());
    assert_eq!(id(Some("gpt-4o-2024-08-06"), Some("gpt-5")), gpt_4o);
    assert_eq!(id(Some("prod-chat"), Some("gpt-4o")), gpt_4o);
    assert_eq!(id(None, Some("gpt-4o")), gpt_4o);
    assert_eq!(id(Some("prod-chat"), None), None);
    assert_eq!(id(None, None), None);
}

#[test]
fn rows_of_the_operator_come_first() {
    let table = PriceTable::embedded().unwrap();
    let own = r#"
        version = "acme-7"
        [[price]]
        provider = "openai"
        model = "gpt-5.6-sol"
        valid_from = 2026-11-01
        input = "3"
        output = 15.0
        [[price]]
        provider = "vllm"
        model = "qwen3-32b"
        input = 0.1
        output = 0.2
        service_tiers = { night = { input = 0.05, output = 0.05 } }
        [[price]]
        provider = "acme-gateway"
        model = "gpt-4o"
        input = 1
        output = 1
    "#;
    let table = table.with_overrides(own, "/etc/tapline/own.prices.toml").unwrap();
    let id = |place, tier, when| price(&table, place, tier, when, &tokens(1_000, 1_000));
    let expected = |nanos, id: &str| Some((nanos, id.to_owned()));
    // Its aliases and dated names too; before its date the older price goes on.
    for name in ["openai gpt-5.6-sol", "openai gpt-5.6", "openai gpt-5.6-sol-2026-07-01"] {
        assert_eq!(id(name, "", NOON), expected(18_000_000, "acme-7/openai/gpt-5.6-sol@2026-11-01"));
        let before = id(name, "", "2026-10-31");
        assert_eq!(before, expected(24_000_000, "2026-11-23/openai/gpt-5.6-sol@2026-08-21"));
    }
    assert_eq!(id("vllm qwen3-32b", "", NOON), expected(300_000, "acme-7/vllm/qwen3-32b@undated"));
    assert_eq!(id("vllm qwen3-32b", "night", NOON), expected(100_000, "acme-7/vllm/qwen3-32b/night@undated"));
    assert_eq!(
        id("acme-gateway gpt-4o", "", NOON),
        expected(2_000_000, "acme-7/acme-gateway/gpt-4o@undated")
    );
    assert_eq!(
        id("acme-gateway gpt-4o-mini", "", NOON),
        expected(750_000, "2026-11-23/openai/gpt-4o-mini@undated")
    );
    assert_eq!(id("openai gpt-4o", "", NOON), expected(12_500_000, "2026-11-23/openai/gpt-4o@undated"));
}

#[test]
fn a_file_without_a_version_is_known_by_its_name() {
    let own = "[[price]]\nprovider = 'openai'\nmodel = 'gpt-4o'\ninput = 1";
    let table = PriceTable::embedded().unwrap().with_overrides(own, "/etc/tapline/acme.toml").unwrap();
    let (_, id) = price(&table, "openai gpt-4o", "", NOON, &tokens(1, 0)).unwrap();
    assert_eq!(id, "acme/openai/gpt-4o@undated");
}

#[test]
fn wrong_price_files_say_where_and_what() {
    let row = |rest: &str| format!("[[price]]\nprovider = \"openai\"\nmodel = \"m\"\n{rest}");
    let cases = [
        "price = 3".to_owned(),
        "verison = \"x\"".to_owned(),
        "version = ".to_owned(),
        "[[price]]\nmodel = \"m\"\ninput = 1".to_owned(),
        row(""),
        row("inptu = 1"),
        row("input = -1"),
        row("input = 1e-3"),
        row("input = true"),
        row("input = 0x10"),
        row("input = 0.0000000001"),
        row("input = 1\nvalid_from = 2026-08-21T00:00:00"),
        row("input = 1\nvalid_from = \"7d\""),
        row("input = 1\noutput = 2\nabove = [{ input_tokens = 10, input = 2 }]"),
        row("input = 1\nabove = [{ input = 2 }]"),
        row("input = 1\nabove = [{ input_tokens = 10, input = 2, output = 3 }]"),
        row("input = 1\nabove = [{ input_tokens = 10, input = 2 }, { input_tokens = 10, input = 3 }]"),
        row("input = 3\noutput = 1\nservice_tiers = { flex = 1 }"),
        row("output = 1\nservice_tiers = { flex = 1 }"),
        row("input = 1\nservice_tiers = { flex = \"half\" }"),
        row("input = 1\npeak = { hours = [\"04:00-01:00\"], times = 2 }"),
        row("input = 1\npeak = { hours = [\"01:00-04:00\"] }"),
        row("input = 1\naliases = [3]"),
        format!("{}\n{}", row("input = 1"), row("input = 2")),
        format!(
            "{}\n[[price]]\nprovider = \"openai\"\nmodel = \"n\"\naliases = [\"M\"]\ninput = 2",
            row("input = 1")
        ),
    ];
    let messages = cases.map(|text| {
        let refusal = PriceTable::embedded().unwrap().with_overrides(&text, "own.toml").unwrap_err();
        assert_eq!(refusal.code, crate::model::ErrorCode::Invalid);
        refusal.message
    });
    insta::assert_snapshot!(messages.join("\n"));
}

fn everything() -> impl Strategy<Value = Usage> {
    let count = || proptest::option::of(0_u64..1_000_000);
    (proptest::array::uniform10(count()), proptest::option::of(0_u64..20)).prop_map(
        |(counts, web_searches)| {
            let [
                input,
                cache_read,
                cache_write,
                cache_write_long,
                input_audio,
                input_image,
                output,
                reasoning,
                output_audio,
                output_image,
            ] = counts;
            Usage {
                input,
                cache_read,
                cache_write,
                cache_write_long,
                input_audio,
                input_image,
                output,
                reasoning,
                output_audio,
                output_image,
                web_searches,
                ..Usage::default()
            }
        },
    )
}

proptest! {
    #[test]
    fn costs_are_sums_never_negative_and_grow_with_output(
        usage in everything(),
        row in any::<prop::sample::Index>(),
        tier in prop::sample::select(vec!["", "flex", "batch", "priority", "fast"]),
        minute in 0_i64..1_440 * 900,
        more in 1_u64..100_000,
    ) {
        static TABLE: std::sync::LazyLock<PriceTable> = std::sync::LazyLock::new(|| PriceTable::embedded().unwrap());
        let rows: Vec<_> = TABLE.layers[0].models.iter().flat_map(|model| &model.rows).collect();
        let row = rows[row.index(rows.len())];
        let at = UnixNanos(at("2024-07-01").0 + minute * 60 * UnixNanos::SECOND);
        let billing = Billing {
            provider: &row.provider, response_model: Some(&row.model), request_model: None,
            service_tier: Some(tier), at, ..Billing::default()
        };
        let Some(cost) = TABLE.cost(&usage, &billing) else { return Ok(()) };
        prop_assert!(cost.total >= NanoUsd::ZERO);

        let price = TABLE.price(&billing).unwrap();
        let tokens: i128 = price.parts(&usage).unwrap().iter().map(|part| part.femto).sum();
        let fees: i128 = price.fees(&usage).unwrap().iter().map(|fee| fee.femto).sum();
        let sum = tokens * price.hour_factor() * price.region_factor + fees * 1_000_000;
        prop_assert_eq!(Some(cost.total), rates::nanos(sum));

        let longer = Usage { output: Some(usage.output.unwrap_or(0) + more), ..usage };
        if let Some(dearer) = TABLE.cost(&longer, &billing) {
            prop_assert!(dearer.total >= cost.total, "{:?} < {:?}", dearer, cost);
            prop_assert_eq!(dearer.price_id, cost.price_id);
        }
    }

    #[test]
    fn any_name_is_read_without_panic(provider in "\\PC{0,12}", model in "(ft:)?[a-z0-9ü./:@-]{0,30}") {
        let table = PriceTable::embedded().unwrap();
        let billing = Billing {
            provider: &provider, response_model: Some(&model), request_model: None, service_tier: None,
            at: UnixNanos(0), ..Billing::default()
        };
        if let Some(cost) = table.cost(&tokens(1, 1), &billing) {
            prop_assert!(cost.total > NanoUsd::ZERO);
        }
    }
}
