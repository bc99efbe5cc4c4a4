//! Reranking in Cohere's shape: documents that share words with the query come first.

use serde_json::{Value, json};

use super::{call::Call, prose, refusal::Refusal};

/// Documents that one search unit pays for.
const PER_UNIT: usize = 100;

pub(super) fn whole(id: &str, call: &Call) -> Result<Value, Refusal> {
    let query = call.text("query").ok_or_else(|| Refusal::missing("query"))?;
    let documents =
        call.body.get("documents").and_then(Value::as_array).ok_or_else(|| Refusal::missing("documents"))?;
    let wanted = prose::content_words(query);
    let mut results: Vec<(usize, f64)> = documents
        .iter()
        .map(|document| document.as_str().or_else(|| document.get("text")?.as_str()).unwrap_or_default())
        .map(prose::content_words)
        .map(|words| wanted.iter().filter(|word| words.contains(word)).count())
        .map(|met| (met as f64 + 0.01) / (wanted.len() as f64 + 0.02))
        .enumerate()
        .collect();
    // Equals stay in their order.
    results.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let most = call.body.get("top_n").and_then(Value::as_u64).map_or(results.len(), |most| most as usize);
    let results: Vec<Value> = results
        .iter()
        .take(most)
        .map(|(index, score)| json!({"index": index, "relevance_score": (score * 1e6).round() / 1e6}))
        .collect();
    Ok(json!({"id": id, "results": results, "meta": {
        "api_version": {"version": "2"}, "billed_units": {"search_units": documents.len().div_ceil(PER_UNIT)},
    }}))
}
