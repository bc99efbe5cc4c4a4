//! Usage objects of OpenAI-style servers, whatever they call their fields, as one [`Usage`]. Absent stays
//! absent; a figure that cannot be a count is left out and noted; totals are never trusted, except where
//! they are known to hold what the output count lacks.

use serde_json::value::RawValue;

use crate::{
    model::{
        NanoUsd,
        usage::{Meter, Usage},
    },
    wire::{json, notes::Notes},
};

/// No call has this many tokens; a larger figure is a fault of the server.
const ABSURD: f64 = 1e12;

/// `None` when the object holds no figure that is known here.
pub(in crate::wire) fn read(raw: &RawValue, notes: &mut Notes) -> Option<Usage> {
    if !json::is_object(raw) {
        return None;
    }
    let mut usage = Usage::default();
    let (mut total, mut hit, mut miss) = (None, None, None);
    let (mut reasoning_beside, mut cost) = (None, None);
    let (mut own_key, mut behind) = (false, None);
    json::fields(raw.get(), |key, field| match key {
        "prompt_tokens" | "input_tokens" => set(&mut usage.input, key, field, notes),
        "completion_tokens" | "output_tokens" => set(&mut usage.output, key, field, notes),
        "total_tokens" => set(&mut total, key, field, notes),
        "prompt_cache_hit_tokens" => set(&mut hit, key, field, notes),
        "prompt_cache_miss_tokens" => set(&mut miss, key, field, notes),
        "prompt_tokens_details" | "input_tokens_details" | "input_token_details" => {
            input_details(field, &mut usage, notes);
        }
        "completion_tokens_details" | "output_tokens_details" | "output_token_details" => {
            output_details(field, &mut usage, notes);
        }
        // SGLang, Perplexity and Databricks put these beside the counts.
        "reasoning_tokens" => set(&mut reasoning_beside, key, field, notes),
        "num_cached_tokens" | "cached_tokens" | "cache_read_input_tokens" => {
            set_absent(&mut usage.cache_read, key, field, notes);
        }
        "cache_creation_input_tokens" => set_absent(&mut usage.cache_write, key, field, notes),
        "num_search_queries" => set(&mut usage.web_searches, key, field, notes),
        // xAI's live search, by source.
        "num_sources_used" => meter(&mut usage, Meter::SearchSource, key, field, notes),
        // OpenRouter: a number. Perplexity: an object with a total.
        "cost" => {
            let amount =
                if json::is_object(field) { json::pick(field.get(), ["total_cost"])[0] } else { Some(field) };
            cost = amount.and_then(|amount| dollars(amount, 1.0)).or(cost);
        }
        "is_byok" => own_key = field.get() == "true",
        "cost_details" => {
            let [amount] = json::pick(field.get(), ["upstream_inference_cost"]);
            behind = amount.and_then(|amount| dollars(amount, 1.0));
        }
        "cost_in_usd_ticks" => cost = dollars(field, 1e-10).or(cost),
        _ => {}
    })
    .ok();
    usage.cache_read = usage.cache_read.or(hit);
    if let (None, Some(hit), Some(miss)) = (usage.input, hit, miss) {
        usage.input = Some(hit.saturating_add(miss));
    }
    usage.reasoning = usage.reasoning.or(reasoning_beside);
    // With the caller's own key OpenRouter's amount is its fee; the provider behind it bills the rest.
    usage.reported_cost_nano_usd =
        cost.map(|fee| fee.saturating_add(behind.filter(|_| own_key).unwrap_or_default()));
    // `{"total_tokens":7}` alone is what embedding and rerank servers send.
    if usage.is_empty() {
        usage.input = total;
    }
    settle_total(&mut usage, total);
    if usage.cache_read > usage.input.or(usage.cache_read)
        || usage.reasoning > usage.output.or(usage.reasoning)
    {
        notes.add("usage is at odds with itself: a part of it is larger than the whole");
    }
    (usage != Usage::default()).then_some(usage)
}

/// Some servers (xAI, Gemini) leave reasoning out of the output count but not out of the total. That is
/// so for certain when the three add up; whether a larger remainder is output depends on the model and is
/// decided by [`settle_model`].
fn settle_total(usage: &mut Usage, total: Option<u64>) {
    if let (Some(input), Some(output), Some(reasoning), Some(total)) =
        (usage.input, usage.output, usage.reasoning, total)
        && reasoning > 0
        && input.checked_add(output).and_then(|sum| sum.checked_add(reasoning)) == Some(total)
    {
        usage.output = Some(output + reasoning);
    }
}

/// For models that bill thoughts which their output count does not show: `total - input` is the output
/// where it is larger, and the difference is reasoning if that was not given.
pub(in crate::wire) fn settle_model(usage: &mut Usage, raw: &RawValue, model: &str) {
    let model = model.to_ascii_lowercase();
    if !(model.contains("gemini") || model.contains("grok")) {
        return;
    }
    let [total] = json::pick(raw.get(), ["total_tokens"]);
    let total = total.and_then(|total| count(total).ok()).flatten();
    if let (Some(input), Some(output), Some(total)) = (usage.input, usage.output, total)
        && let Some(billed) = total.checked_sub(input)
        && billed > output
    {
        usage.reasoning.get_or_insert(billed - output);
        usage.output = Some(billed);
    }
}

fn input_details(details: &RawValue, usage: &mut Usage, notes: &mut Notes) {
    if !json::is_object(details) {
        return;
    }
    json::fields(details.get(), |key, field| match key {
        "cached_tokens" => set(&mut usage.cache_read, key, field, notes),
        // Realtime: what the cached part was.
        "cached_tokens_details" => {
            let [audio, image] = json::pick(field.get(), ["audio_tokens", "image_tokens"]);
            for (place, field) in [(Meter::CacheReadAudio, audio), (Meter::CacheReadImage, image)] {
                if let Some(field) = field {
                    meter(usage, place, key, field, notes);
                }
            }
        }
        "cache_write_tokens" | "cache_creation_tokens" => set(&mut usage.cache_write, key, field, notes),
        "cache_write_tokens_details" => {
            let [long] = json::pick(field.get(), ["ttl_12h_tokens"]);
            if let Some(long) = long {
                set(&mut usage.cache_write_long, "ttl_12h_tokens", long, notes);
            }
        }
        "audio_tokens" => set(&mut usage.input_audio, key, field, notes),
        "image_tokens" => set(&mut usage.input_image, key, field, notes),
        _ => {}
    })
    .ok();
}

fn output_details(details: &RawValue, usage: &mut Usage, notes: &mut Notes) {
    if !json::is_object(details) {
        return;
    }
    json::fields(details.get(), |key, field| match key {
        "reasoning_tokens" => set(&mut usage.reasoning, key, field, notes),
        "audio_tokens" => set(&mut usage.output_audio, key, field, notes),
        "image_tokens" => set(&mut usage.output_image, key, field, notes),
        _ => {}
    })
    .ok();
}

/// Sets a count from a field; null says nothing, and what cannot be a count is noted.
pub(in crate::wire) fn set(place: &mut Option<u64>, name: &str, raw: &RawValue, notes: &mut Notes) {
    match count(raw) {
        Ok(Some(count)) => *place = Some(count),
        Ok(None) => {}
        Err(()) => {
            let shown: String = raw.get().chars().take(40).collect();
            notes.add(format!("usage field {name} is no token count: {shown}"));
        }
    }
}

fn meter(usage: &mut Usage, meter: Meter, name: &str, raw: &RawValue, notes: &mut Notes) {
    let mut count = None;
    set(&mut count, name, raw, notes);
    // A stream may say the same count again.
    usage.meters.remove(&meter);
    usage.count(meter, count.unwrap_or(0));
}

fn set_absent(place: &mut Option<u64>, name: &str, raw: &RawValue, notes: &mut Notes) {
    if place.is_none() {
        set(place, name, raw, notes);
    }
}

/// A count written as an integer, a float, or either in a string.
fn count(raw: &RawValue) -> Result<Option<u64>, ()> {
    let text = raw.get().trim_matches('"');
    if text == "null" {
        return Ok(None);
    }
    match text.parse::<u64>() {
        Ok(count) if (count as f64) < ABSURD => Ok(Some(count)),
        Ok(_) => Err(()),
        Err(_) => match text.parse::<f64>() {
            Ok(count) if (0.0..ABSURD).contains(&count) => Ok(Some(count.round() as u64)),
            _ => Err(()),
        },
    }
}

/// LiteLLM's amount in a header; it says 0.0 where it knows none.
pub(in crate::wire) fn stated(text: &str) -> Option<i64> {
    let amount: f64 = text.trim().parse().ok()?;
    NanoUsd::from_usd(amount).map(|nanos| nanos.0).filter(|nanos| *nanos > 0)
}

/// An amount in units of `unit` dollars; negative and absurd ones are no amounts.
fn dollars(raw: &RawValue, unit: f64) -> Option<i64> {
    let amount: f64 = raw.get().trim_matches('"').parse().ok()?;
    if amount < 0.0 {
        return None;
    }
    NanoUsd::from_usd(amount * unit).map(|nanos| nanos.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(json: &str) -> Option<Usage> {
        read(serde_json::from_str(json).unwrap(), &mut Notes::new())
    }

    #[test]
    fn fields_of_every_server_are_known() {
        let full = usage(
            r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
                "prompt_tokens_details":{"cached_tokens":64,"cache_write_tokens":8,"audio_tokens":3,"image_tokens":2},
                "completion_tokens_details":{"reasoning_tokens":20,"audio_tokens":1,"accepted_prediction_tokens":4}}"#,
        );
        let expected = Usage {
            input: Some(100),
            cache_read: Some(64),
            cache_write: Some(8),
            input_audio: Some(3),
            input_image: Some(2),
            output: Some(50),
            reasoning: Some(20),
            output_audio: Some(1),
            ..Usage::default()
        };
        assert_eq!(full, Some(expected));
        let responses = usage(
            r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":5,
                "cache_write_tokens_details":{"ttl_30m_tokens":1,"ttl_12h_tokens":4}},"output_tokens":2}"#,
        )
        .unwrap();
        assert_eq!((responses.cache_read, responses.cache_write_long), (Some(0), Some(4)));
        let deepseek =
            usage(r#"{"completion_tokens":1,"prompt_cache_hit_tokens":6,"prompt_cache_miss_tokens":4}"#)
                .unwrap();
        assert_eq!((deepseek.input, deepseek.cache_read), (Some(10), Some(6)));
        assert_eq!(usage(r#"{"total_tokens":7}"#).unwrap().input, Some(7));
    }

    #[test]
    fn reported_costs_are_exact() {
        assert_eq!(usage(r#"{"cost":0.00042}"#).unwrap().reported_cost_nano_usd, Some(420_000));
        assert_eq!(
            usage(r#"{"cost":{"total_cost":0.006}}"#).unwrap().reported_cost_nano_usd,
            Some(6_000_000)
        );
        assert_eq!(
            usage(r#"{"cost_in_usd_ticks":12345670}"#).unwrap().reported_cost_nano_usd,
            Some(1_234_567)
        );
        assert_eq!(usage(r#"{"cost":-1}"#), None);
        let own_key = r#"{"cost":0.001,"is_byok":BYOK,"cost_details":{"upstream_inference_cost":0.02}}"#;
        for (byok, cost) in [("true", 21_000_000), ("false", 1_000_000)] {
            let read = usage(&own_key.replace("BYOK", byok)).unwrap();
            assert_eq!(read.reported_cost_nano_usd, Some(cost), "is_byok {byok}");
        }
    }

    #[test]
    fn odd_figures_are_tolerated_and_wrong_ones_noted() {
        let mut notes = Notes::new();
        let raw = r#"{"prompt_tokens":12.0,"completion_tokens":-3,"total_tokens":null,
            "prompt_tokens_details":null,"completion_tokens_details":{"reasoning_tokens":1e99}}"#;
        let usage = read(serde_json::from_str(raw).unwrap(), &mut notes).unwrap();
        assert_eq!((usage.input, usage.output, usage.reasoning), (Some(12), None, None));
        assert_eq!(notes.into_vec().len(), 2);
    }

    #[test]
    fn reasoning_outside_the_output_is_brought_in() {
        let xai = usage(
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":45,
                "completion_tokens_details":{"reasoning_tokens":30}}"#,
        )
        .unwrap();
        assert_eq!((xai.output, xai.reasoning), (Some(35), Some(30)));
        let raw =
            serde_json::from_str(r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":45}"#).unwrap();
        let mut gemini = read(raw, &mut Notes::new()).unwrap();
        settle_model(&mut gemini, raw, "models/gemini-3-pro");
        assert_eq!((gemini.output, gemini.reasoning), (Some(35), Some(30)));
        let mut other = read(raw, &mut Notes::new()).unwrap();
        settle_model(&mut other, raw, "gpt-5");
        assert_eq!(other.output, Some(5));
    }
}
