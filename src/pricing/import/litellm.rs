//! LiteLLM: a flat map of models with prices per token, tiers and long contexts as suffixes of the keys.

use serde_json::{Map, Value};

use super::draft::{Amounts, Draft, amount};
use crate::pricing::{fees::FEMTO_DECIMALS, naming};

/// Per-token dollars to femto-USD.
const PER_TOKEN: u32 = 15;

const RATES: [(&str, &str); 12] = [
    ("input_cost_per_token", "input"),
    ("output_cost_per_token", "output"),
    ("cache_read_input_token_cost", "cache_read"),
    ("cache_read_input_audio_token_cost", "cache_read_audio"),
    ("cache_creation_input_token_cost", "cache_write"),
    ("cache_creation_input_token_cost_above_1hr", "cache_write_long"),
    ("input_cost_per_audio_token", "input_audio"),
    ("output_cost_per_audio_token", "output_audio"),
    ("output_cost_per_reasoning_token", "reasoning"),
    ("input_cost_per_image_token", "input_image"),
    ("output_cost_per_image_token", "output_image"),
    ("cache_read_input_image_token_cost", "cache_read_image"),
];
/// Its keys of fees, ours, and what its amount is multiplied with.
const FEES: [(&str, &str, i128); 6] = [
    ("input_cost_per_character", "character", 1_000_000),
    ("input_cost_per_query", "search_unit", 1_000),
    ("ocr_cost_per_page", "page", 1_000),
    ("output_cost_per_image", "image", 1),
    ("output_cost_per_video_per_second", "second", 1),
    ("code_interpreter_cost_per_session", "code_session", 1),
];
const TIERS: [(&str, &str); 3] = [("_batches", "batch"), ("_flex", "flex"), ("_priority", "priority")];

pub(super) fn read(models: &Map<String, Value>, skipped: &mut Vec<String>) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for (name, model) in models {
        // An entry that explains the keys.
        if name == "sample_spec" {
            continue;
        }
        let Some(entry) = model.as_object() else { continue };
        match draft(name, entry) {
            Ok(draft) => drafts.push(draft),
            Err(why) => skipped.push(format!("{name}: {why}")),
        }
    }
    drafts
}

fn draft(name: &str, entry: &Map<String, Value>) -> Result<Draft, &'static str> {
    let provider = entry.get("litellm_provider").and_then(Value::as_str).ok_or("it names no provider")?;
    let ours = match provider {
        _ if provider.starts_with("vertex_ai") => "gcp.gemini".to_owned(),
        _ if provider.starts_with("bedrock") => "aws.bedrock".to_owned(),
        "fireworks_ai-embedding-models" => "fireworks_ai".to_owned(),
        "text-completion-openai" => "openai".to_owned(),
        "cohere_chat" => "cohere".to_owned(),
        other => naming::provider(other),
    };
    let bare =
        name.split_once('/').filter(|(head, _)| provider.starts_with(head)).map_or(name, |(_, rest)| rest);
    if bare.contains('/') && matches!(ours.as_str(), "azure.ai.openai" | "aws.bedrock" | "openai") {
        return Err("its name holds a region or a size");
    }
    let mut draft = Draft { provider: ours, model: bare.to_lowercase(), ..Draft::default() };
    for (key, value) in entry {
        let Value::Number(number) = value else { continue };
        if let Some((_, fee, times)) = FEES.iter().find(|(theirs, ..)| theirs == key) {
            if let Some(femto) = amount(number, FEMTO_DECIMALS, *times) {
                draft.fees.insert(fee, femto);
            }
            continue;
        }
        let Some(femto) = amount(number, PER_TOKEN, 1) else { continue };
        rate(&mut draft, key, femto);
    }
    let mode = entry.get("mode").and_then(Value::as_str).unwrap_or_default();
    if mode == "audio_transcription"
        && let Some(Value::Number(number)) = entry.get("input_cost_per_second")
        && let Some(femto) = amount(number, FEMTO_DECIMALS, 1)
    {
        draft.fees.insert("second", femto);
    }
    if let Some(Value::Number(number)) =
        entry.get("search_context_cost_per_query").and_then(|sizes| sizes.get("search_context_size_medium"))
        && let Some(femto) = amount(number, FEMTO_DECIMALS, 1_000)
    {
        draft.fees.insert("web_search", femto);
    }
    // A zero is how the map says that it does not know, or that the model is not billed by tokens.
    if draft.rates.values().all(|femto| *femto == 0) {
        draft.rates.clear();
        draft.above.clear();
        draft.tiers.clear();
    }
    let known = &draft.rates;
    draft.above.retain(|_, rates| keep_known(rates, known));
    draft.tiers.retain(|_, rates| keep_known(rates, known));
    if draft.is_priced() { Ok(draft) } else { Err("it has no price") }
}

fn keep_known(rates: &mut Amounts, known: &Amounts) -> bool {
    rates.retain(|class, _| known.contains_key(class));
    !rates.is_empty()
}

/// `input_cost_per_token`, `…_batches`, `…_above_272k_tokens`.
fn rate(draft: &mut Draft, key: &str, femto: i128) {
    let class = |key: &str| RATES.iter().find(|(theirs, _)| *theirs == key).map(|(_, ours)| *ours);
    if let Some(class) = class(key) {
        draft.rates.insert(class, femto);
        return;
    }
    for (suffix, tier) in TIERS {
        if let Some(class) = key.strip_suffix(suffix).and_then(class) {
            draft.tiers.entry(tier.to_owned()).or_default().insert(class, femto);
            return;
        }
    }
    if let Some((stem, rest)) = key.split_once("_above_")
        && let Some(class) = class(stem)
        && let Some(thousands) = rest.strip_suffix("k_tokens").and_then(|digits| digits.parse::<u64>().ok())
    {
        draft.above.entry(thousands * 1_000).or_default().insert(class, femto);
    }
}
