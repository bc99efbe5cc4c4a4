//! What moves a price besides the model: regions, hours, fees, names, upstreams, rules; and its arithmetic
//! written down.

use super::*;
use crate::model::usage::Meter;

const OWN: &str = r#"
    version = "own"
    source = "a letter of the vendor"
    checked = 2026-11-20

    [names]
    prod-chat = "gpt-4o"

    [fees.openai]
    web_search = 9

    [[price]]
    provider = "openai"
    model = "gpt-4o"
    input = 2
    output = 8
    regions = { eu = 1.1 }
    peak = { hours = ["01:00-02:00"], times = 2 }
    off_peak = { hours = ["16:30-24:00", "00:00-00:30"], input = 0.5, output = 4 }

    [[price]]
    provider = "openai"
    model = "speaker"
    character = 15

    [[price]]
    provider = "aws.bedrock"
    model = "anthropic.claude-x"
    input = 1
    output = 1
    regions = { global = 1, "*" = 1.1 }

    [[rule]]
    name = "acme"
    model = "gpt-4o*"
    experiment = "prod-*"
    factor = 0.85

    [[rule]]
    name = "margin"
    provider = "openai"
    factor = 1.2
"#;

fn table() -> PriceTable {
    PriceTable::embedded().unwrap().with_overrides(OWN, "own.toml").unwrap()
}

fn at_noon<'a>(provider: &'a str, model: &'a str) -> Billing<'a> {
    Billing { provider, response_model: Some(model), at: at(NOON), ..Billing::default() }
}

#[test]
fn hours_and_regions_move_tokens() {
    let table = table();
    let million = tokens(1_000_000, 1_000_000);
    let cost =
        |billing: Billing<'_>| table.cost(&million, &billing).map(|cost| (cost.total.0, cost.price_id));
    let gpt = at_noon("openai", "gpt-4o");
    let dollars = |amount: i64| amount * 1_000_000_000;
    assert_eq!(cost(gpt), Some((dollars(10), "own/openai/gpt-4o@undated".to_owned())));
    let eu = Billing { region: Some("eu"), ..gpt };
    assert_eq!(cost(eu), Some((dollars(11), "own/openai/gpt-4o/eu@undated".to_owned())));
    assert_eq!(cost(Billing { region: Some("jp"), ..gpt }).unwrap().0, dollars(10));
    assert_eq!(cost(Billing { at: at("2026-11-23T01:30:00Z"), ..eu }).unwrap().0, dollars(22));
    assert_eq!(cost(Billing { at: at("2026-11-23T16:30:00Z"), ..gpt }).unwrap().0, 4_500_000_000);
    assert_eq!(cost(Billing { at: at("2026-11-23T00:29:59Z"), ..gpt }).unwrap().0, 4_500_000_000);
    // A name that stands for a model, as deployments have them.
    assert_eq!(cost(at_noon("azure", "Prod-Chat")).unwrap().0, dollars(10));
}

#[test]
fn inv6_a_price_that_depends_on_an_unknown_region_is_unknown() {
    let table = table();
    let bedrock = |model, region| {
        let billing = Billing { region, ..at_noon("aws.bedrock", model) };
        table.cost(&tokens(1_000_000, 0), &billing).map(|cost| cost.total.0)
    };
    assert_eq!(bedrock("global.anthropic.claude-x-v1:0", Some("us-east-1")), Some(1_000_000_000));
    assert_eq!(bedrock("us.anthropic.claude-x-v1:0", None), Some(1_100_000_000));
    assert_eq!(bedrock("anthropic.claude-x-v1:0", Some("eu-west-1")), Some(1_100_000_000));
    assert_eq!(bedrock("anthropic.claude-x-v1:0", None), None);
    let billing = at_noon("aws.bedrock", "anthropic.claude-x-v1:0");
    assert!(table.why_unknown(&tokens(1, 0), &billing).contains("depends on the region"));
}

#[test]
fn meters_have_fees_and_inv6_those_without_make_the_cost_unknown() {
    let table = table();
    let mut speech = Usage::default();
    speech.count(Meter::Character, 2_000);
    let speaker = at_noon("openai", "speaker");
    assert_eq!(table.cost(&speech, &speaker).unwrap().total.0, 30_000_000);
    let mut searched = tokens(0, 0);
    searched.count(Meter::WebSearch, 2);
    assert_eq!(table.cost(&searched, &at_noon("openai", "gpt-4o")).unwrap().total.0, 18_000_000);
    searched.count(Meter::Page, 1);
    assert_eq!(table.cost(&searched, &at_noon("openai", "gpt-4o")), None);
    assert!(table.why_unknown(&searched, &at_noon("openai", "gpt-4o")).contains("billed apart"));
}

#[test]
fn the_first_rule_that_fits_decides_by_experiment() {
    let table = table();
    let charges = |model| {
        let cost = table.cost(&tokens(1_000, 0), &at_noon("openai", model)).unwrap();
        let shown = |charge: &Charge| {
            let place = charge.experiment.as_ref().map(ToString::to_string);
            (charge.rule.clone(), place, charge.billed.0)
        };
        cost.charges.iter().map(shown).collect::<Vec<_>>()
    };
    let margin = |nanos| ("margin".to_owned(), None, nanos);
    let acme = ("acme".to_owned(), Some("prod-*".to_owned()), 1_700_000);
    assert_eq!(charges("gpt-4o"), [acme, margin(2_400_000)]);
    assert_eq!(charges("gpt-5"), [margin(1_500_000)]);
    let reported = Usage { reported_cost_nano_usd: Some(100), ..tokens(1, 0) };
    let cost = table.cost(&reported, &at_noon("openrouter", "openai/gpt-4o")).unwrap();
    assert_eq!((cost.total.0, cost.charges.len()), (100, 0));
}

#[test]
fn an_upstream_has_prices_of_its_own() {
    let own = "[[price]]\nmodel = 'gpt-4o'\ninput = 1\noutput = 1\n[[rule]]\nname = 'house'\nfactor = 0.5";
    let table = table().with_upstream("cheap", "openai", own, "cheap.toml").unwrap();
    let cost = |upstream| {
        let billing = Billing { upstream, ..at_noon("openai", "gpt-4o-2024-08-06") };
        let cost = table.cost(&tokens(1_000, 0), &billing).unwrap();
        (cost.total.0, cost.charges[0].rule.clone())
    };
    assert_eq!(cost("cheap"), (1_000_000, "house".to_owned()));
    assert_eq!(cost("default"), (2_000_000, "acme".to_owned()));
}

#[test]
fn the_arithmetic_adds_up() {
    let table = table();
    let mut usage = Usage { cache_read: Some(400), reasoning: Some(3), ..tokens(1_000, 10) };
    usage.count(Meter::WebSearch, 1);
    let billing = Billing { region: Some("eu"), ..at_noon("openai", "gpt-4o-2024-08-06") };
    insta::assert_json_snapshot!(table.explain(&usage, &billing).unwrap());
    let unknown = at_noon("openai", "gpt-4o-micro");
    assert_eq!(table.explain(&usage, &unknown), None);
    insta::assert_snapshot!(
        table.why_unknown(&usage, &unknown),
        @r#"no price is known of "gpt-4o-micro" at openai on 2026-11-23; add a [[price]] row to your price file, or give the name its model under [names]"#
    );
}

#[test]
fn the_table_of_a_day_and_what_changed_since() {
    let table = PriceTable::embedded().unwrap();
    let listed = |day: &str| {
        let rows = table.list(Some(at(day)));
        rows.into_iter().find(|row| row.provider == "openai" && row.model == "o3").unwrap()
    };
    assert_eq!(listed("2025-06-09").rate("input"), Some("10"));
    assert_eq!(listed("2025-06-10").rate("input"), Some("2"));
    assert_eq!(listed("2025-06-10").checked.as_deref(), Some("2026-11-23"));
    let changes = table.diff(at("2025-06-09"), at("2025-06-10"));
    let o3: Vec<_> = changes
        .iter()
        .filter(|change| change.model == "o3" && change.provider == "openai")
        .map(|change| (change.item.as_str(), change.before.as_deref(), change.after.as_deref()))
        .filter(|(item, ..)| *item != "variants")
        .collect();
    assert_eq!(o3, [("input", Some("10"), Some("2")), ("output", Some("40"), Some("8"))]);
    assert!(table.diff(at("2025-06-09"), at("2025-06-09")).is_empty());
}
