//! The models that are there, and what they are called.

use serde_json::{Value, json};

use super::{EMBED, LARGE, SMALL, refusal::Refusal, simulator::SEEDED_TIME};

fn model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": SEEDED_TIME, "owned_by": "simulated"})
}

pub(super) fn all() -> Value {
    json!({"object": "list", "data": [model(SMALL), model(LARGE), model(EMBED)]})
}

/// The simulator's own models, and those of OpenAI, Anthropic and Cohere by their names' beginnings, so that programs run unchanged.
pub(super) fn one(id: &str) -> Result<Value, Refusal> {
    let families = [
        "gpt-",
        "chatgpt-",
        "o1",
        "o3",
        "o4",
        "text-embedding-",
        "davinci-",
        "babbage-",
        "omni-moderation-",
        "text-moderation-",
        "dall-e-",
        "tts-",
        "whisper-",
        "claude-",
        "rerank-",
        "sora-",
    ];
    let known = [SMALL, LARGE, EMBED].contains(&id) || families.iter().any(|family| id.starts_with(family));
    if known { Ok(model(id)) } else { Err(Refusal::unknown_model(id)) }
}
