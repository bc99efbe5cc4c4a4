//! Which provider a host belongs to, in OpenTelemetry's spelling of `gen_ai.provider.name`, and how that
//! provider wants its key. Host names only: never the model, never a body.

use http::{HeaderName, HeaderValue, header};

/// A host that no rule knows: a local server, a gateway.
pub const CUSTOM: &str = "custom";

pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
pub const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// Host (with a leading dot or dash: any host that ends so) and provider; the first that fits.
const HOSTS: [(&str, &str); 35] = [
    ("api.openai.com", "openai"),
    (".api.openai.com", "openai"),
    (".openai.azure.com", "azure.ai.openai"),
    (".azure-api.net", "azure.ai.openai"),
    (".cognitiveservices.azure.com", "azure.ai.openai"),
    (".services.ai.azure.com", "azure.ai.inference"),
    ("api.anthropic.com", "anthropic"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("-aiplatform.googleapis.com", "gcp.vertex_ai"),
    (".googleapis.com", "gcp.gen_ai"),
    ("api.deepseek.com", "deepseek"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.x.ai", "x_ai"),
    ("api.groq.com", "groq"),
    ("openrouter.ai", "openrouter"),
    (".openrouter.ai", "openrouter"),
    ("api.together.xyz", "together_ai"),
    ("api.fireworks.ai", "fireworks_ai"),
    ("api.perplexity.ai", "perplexity"),
    ("api.cohere.ai", "cohere"),
    ("api.cohere.com", "cohere"),
    ("api.z.ai", "zai"),
    ("open.bigmodel.cn", "zai"),
    ("api.minimax.io", "minimax"),
    ("api.minimaxi.com", "minimax"),
    ("api.cerebras.ai", "cerebras"),
    ("inference.baseten.co", "baseten"),
    ("api.novita.ai", "novita"),
    ("router.huggingface.co", "huggingface"),
    ("api.githubcopilot.com", "github_copilot"),
    ("api.cloudflare.com", "cloudflare"),
    ("api.meta.ai", "meta"),
    ("api.voyageai.com", "voyage_ai"),
    (".ml.cloud.ibm.com", "ibm.watsonx.ai"),
];

/// The provider behind a host name.
pub fn of_host(host: &str) -> &'static str {
    let host = host.to_ascii_lowercase();
    if host.starts_with("bedrock-runtime.") && host.ends_with(".amazonaws.com") {
        return "aws.bedrock";
    }
    if host.starts_with("api.moonshot.") {
        return "moonshot_ai";
    }
    if host.contains(".databricks.") || host.contains(".azuredatabricks.") {
        return "databricks";
    }
    HOSTS
        .iter()
        .find(|(known, _)| if known.starts_with(['.', '-']) { host.ends_with(known) } else { host == *known })
        .map_or(CUSTOM, |(_, provider)| provider)
}

/// Where a regional endpoint processes, by its name: `eu` of `eu.api.openai.com`, `us-east-1` of Bedrock's,
/// `us-east5` of Vertex AI's.
pub fn region<'h>(host: &'h str, provider: &str) -> Option<&'h str> {
    match provider {
        "openai" => host.strip_suffix(".api.openai.com"),
        "aws.bedrock" => host.strip_prefix("bedrock-runtime.")?.strip_suffix(".amazonaws.com"),
        "gcp.vertex_ai" => host.strip_suffix("-aiplatform.googleapis.com"),
        _ => None,
    }
    .filter(|region| !region.is_empty() && !region.contains('.'))
}

/// True for hosts whose whole API lies under `/v1`: their bare origin as a base means that.
pub fn is_versioned(host: &str) -> bool {
    matches!(of_host(host), "openai" | "anthropic")
}

/// The header by which a provider takes its key; `None` when the key cannot stand in a header.
pub fn key_header(provider: &str, key: &str) -> Option<super::Key> {
    let key = key.trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let (name, value) = match provider {
        "anthropic" => (X_API_KEY, key.to_owned()),
        "azure.ai.openai" | "azure.ai.inference" => (API_KEY, key.to_owned()),
        _ => (header::AUTHORIZATION, format!("Bearer {key}")),
    };
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some(super::Key { name, value })
}
