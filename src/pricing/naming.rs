//! Which rows a provider's model name may mean, most certain first. Names are taken apart by known
//! rules only; there is no longest-prefix guess, so `gpt-4o-mini` never becomes `gpt-4o` and a model
//! that is not listed stays unpriced.

/// The provider whose rows answer for their model names under any provider.
pub(super) const SIMULATED: &str = "simulated";

/// Runs on the caller's own hardware or is paid by the seat: a list price says nothing about it. Rows of
/// the operator's own price file still do.
const UNPRICED: [&str; 8] =
    ["llama_cpp", "ollama", "vllm", "lm_studio", "sglang", "localai", "tgi", "github_copilot"];

/// Sells models under its own prices: another vendor's list price does not hold there.
const HOSTS: [&str; 24] = [
    "openai",
    "anthropic",
    "gcp.gemini",
    "deepseek",
    "mistral_ai",
    "x_ai",
    "groq",
    "moonshot_ai",
    "cohere",
    "perplexity",
    "ibm.watsonx.ai",
    "together_ai",
    "fireworks_ai",
    "cerebras",
    "baseten",
    "novita",
    "huggingface",
    "voyage_ai",
    "zai",
    "minimax",
    "meta",
    "elevenlabs",
    "databricks",
    "cloudflare",
];

/// Names the vendor in front of the model and charges the vendor's list price.
const ROUTERS: [&str; 6] = ["openrouter", "litellm", "portkey", "helicone", "vercel", "requesty"];

/// Where one form of a name is to be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) providers: Providers,
    pub(super) model: String,
    /// The region that the name says (Bedrock's inference profiles).
    pub(super) region: Option<String>,
    /// Who sells it, where that is a cloud with regions.
    cloud: Option<&'static str>,
}

const BEDROCK: &str = "aws.bedrock";
const VERTEX: &str = "gcp.vertex_ai";

impl Candidate {
    /// The cloud whose factor in a vendor's row holds: Bedrock's always does, unless the profile is the global one;
    /// Vertex AI's where an address names the region.
    pub(super) fn reseller(&self, vendor: &str, region: Option<&str>) -> Option<&'static str> {
        self.cloud.filter(|cloud| provider(cloud) != vendor && (*cloud == BEDROCK || region.is_some()))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Providers {
    /// The first that knows the name.
    First(Vec<String>),
    /// A provider of the operator's own naming: its own rows, else those of `CANONICAL` if only one of
    /// them knows the name.
    Custom(String),
}

/// Vendors whose model names nobody else uses for anything else.
pub(super) const CANONICAL: [&str; 2] = ["openai", "anthropic"];

/// One spelling per provider: OpenTelemetry's.
pub(super) fn provider(name: &str) -> String {
    let name = name.trim().to_lowercase();
    match name.as_str() {
        "azure" | "az.ai.openai" | "azure.ai.openai" | "azure.ai.inference" | "azure_openai" | "azure_ai" => {
            "azure.ai.openai"
        }
        "google" | "gemini" | "vertex_ai" | "vertexai" | "gcp.gemini" | "gcp.vertex_ai" | "gcp.gen_ai" => {
            "gcp.gemini"
        }
        "bedrock" | "aws" | "amazon-bedrock" => "aws.bedrock",
        "xai" | "x-ai" => "x_ai",
        "mistral" | "mistralai" => "mistral_ai",
        "moonshot" | "moonshotai" => "moonshot_ai",
        "together" | "togetherai" => "together_ai",
        "fireworks" | "fireworks-ai" => "fireworks_ai",
        "voyageai" | "voyage" => "voyage_ai",
        "zhipuai" | "z-ai" => "zai",
        _ => return name,
    }
    .to_owned()
}

/// The spelling under which names are compared: case and dots for dashes make no difference.
pub(super) fn key(model: &str) -> String {
    model.trim().to_lowercase().replace('.', "-")
}

/// All forms of `model` as `provider` may mean them, most certain first.
pub(super) fn candidates(provider_name: &str, model: &str) -> Vec<Candidate> {
    let provider = provider(provider_name);
    let model = model.trim().to_lowercase();
    let mut found = Vec::new();
    if model.is_empty() {
        return found;
    }
    // `openrouter/anthropic/…`, `azure/gpt-4o`: whoever writes so names the endpoint behind a gateway.
    if !is_known(&provider)
        && let Some((endpoint, rest)) = model.split_once('/')
        && ["azure", "azure_ai", "bedrock", "vertex_ai", "openrouter"].contains(&endpoint)
    {
        return candidates(endpoint, rest);
    }
    let cloud = cloud(provider_name);
    let region = region(&model).filter(|_| provider == BEDROCK).map(str::to_owned);
    let mut add = |providers: &Providers, model: &str| {
        for form in forms(model) {
            let (providers, region) = (providers.clone(), region.clone());
            found.push(Candidate { providers, model: form, region, cloud });
        }
    };
    let holds = standing(&provider);
    add(&holds, &model);
    let placeless = placeless(&model);
    add(&holds, placeless);
    let bare = bare(placeless);
    add(&holds, bare);
    if let Some((vendor, rest)) = bare.split_once('/')
        && let Some(holds) = vendor_rows(&provider, vendor)
    {
        add(&holds, rest);
    }
    add(&Providers::First(vec![SIMULATED.to_owned()]), &model);
    found
}

/// The cloud that sells other vendors' models in regions of its own, for which their rows have a factor.
fn cloud(provider_name: &str) -> Option<&'static str> {
    match provider_name.trim().to_lowercase().as_str() {
        "gcp.vertex_ai" | "vertex_ai" | "vertexai" => Some(VERTEX),
        name if provider(name) == BEDROCK => Some(BEDROCK),
        _ => None,
    }
}

/// Whose rows hold for a model name at a provider.
fn standing(provider: &str) -> Providers {
    let fallbacks: &[&str] = match provider {
        "azure.ai.openai" => &["openai", "anthropic", "deepseek", "x_ai", "moonshot_ai"],
        "gcp.gemini" => &["anthropic"],
        // Where it is not the global profile, the vendor's rows say by how much it is dearer.
        "aws.bedrock" => &["anthropic"],
        known if is_known(known) => &[],
        custom => return Providers::Custom(custom.to_owned()),
    };
    let chain = std::iter::once(&provider).chain(fallbacks);
    Providers::First(chain.map(|&name| name.to_owned()).collect())
}

fn is_known(provider: &str) -> bool {
    provider == "azure.ai.openai"
        || provider == "aws.bedrock"
        || UNPRICED.contains(&provider)
        || HOSTS.contains(&provider)
}

/// What `vendor/` in front of a model means at a provider; `None` where it decides nothing.
fn vendor_rows(at: &str, vendor: &str) -> Option<Providers> {
    let vendor = provider(vendor);
    if !is_known(&vendor) {
        return None;
    }
    let trusted = ROUTERS.contains(&at)
        || match standing(at) {
            Providers::First(chain) => chain.contains(&vendor),
            Providers::Custom(_) => CANONICAL.contains(&vendor.as_str()),
        };
    trusted.then(|| standing(&vendor))
}

/// The model name without the resource path or region that an endpoint puts in front of it.
fn placeless(model: &str) -> &str {
    let model = model.strip_prefix("openrouter:").unwrap_or(model);
    let model = model.strip_prefix("accounts/fireworks/").unwrap_or(model);
    let model = match model.strip_prefix("publishers/").and_then(|rest| rest.split_once('/')) {
        Some((_, rest)) => rest,
        None => model,
    };
    let model = model.strip_prefix("models/").unwrap_or(model);
    region(model).and_then(|region| model.strip_prefix(region)?.strip_prefix('.')).unwrap_or(model)
}

/// Without the vendor that Bedrock puts in front of it.
fn bare(model: &str) -> &str {
    model.strip_prefix("anthropic.").unwrap_or(model)
}

/// The region of a Bedrock inference profile.
fn region(model: &str) -> Option<&str> {
    const REGIONS: [&str; 8] = ["global", "us-gov", "us", "eu", "apac", "au", "jp", "ca"];
    model.split_once('.').map(|(region, _)| region).filter(|region| REGIONS.contains(region))
}

/// The name as it is, then without what marks a version or a route. At most one of each is taken off:
/// `gpt-4-0125-preview` is not `gpt-4`.
fn forms(model: &str) -> Vec<String> {
    let mut forms = vec![model.to_owned()];
    let mut add = |form: &str| {
        if !form.is_empty() && !forms.iter().any(|known| known == form) {
            forms.push(form.to_owned());
        }
    };
    if let Some(tuned) = model.strip_prefix("ft:") {
        // `ft:BASE:organisation:name:id`: only rows that price fine-tuned models, never the base's own.
        let base = tuned.split(':').next().unwrap_or(tuned);
        add(&format!("ft:{base}"));
        if let Some(undated) = unversioned(base) {
            add(&format!("ft:{undated}"));
        }
        return forms;
    }
    // `:free`, `:online` and `:extended` are priced otherwise and so stay unknown.
    let routes = [":nitro", ":floor", ":thinking"];
    let model = routes.iter().find_map(|route| model.strip_suffix(route)).unwrap_or(model);
    // Bedrock's `-v1:0`, Vertex's `@20250929`.
    let model = ["-v1:0", "-v2:0", ":0"].iter().find_map(|mark| model.strip_suffix(mark)).unwrap_or(model);
    let model = match model.split_once('@') {
        Some((name, version)) if version == "default" || compact_date(version) => name,
        _ => model,
    };
    add(model);
    if let Some(undated) = unversioned(model) {
        add(undated);
    }
    forms
}

/// Without one trailing date (`-YYYY-MM-DD`, `-YYYYMMDD`, `-MMDD`), `-latest` or `-preview`.
fn unversioned(model: &str) -> Option<&str> {
    if let Some(name) = model.strip_suffix("-latest").or_else(|| model.strip_suffix("-preview")) {
        return Some(name);
    }
    let (name, last) = model.rsplit_once('-')?;
    if compact_date(last) || (last.len() == 4 && month_day(last)) {
        return Some(name);
    }
    let (name, month) = name.rsplit_once('-')?;
    let (name, year) = name.rsplit_once('-')?;
    (compact_date(&format!("{year}{month}{last}")) && year.len() == 4 && month.len() == 2).then_some(name)
}

/// `YYYYMMDD` of this century.
fn compact_date(text: &str) -> bool {
    text.len() == 8
        && text.starts_with("20")
        && text.get(2..4).is_some_and(digits)
        && text.get(4..).is_some_and(month_day)
}

fn month_day(text: &str) -> bool {
    let within = |part: Option<&str>, highest: u8| {
        part.filter(|part| digits(part))
            .and_then(|part| part.parse::<u8>().ok())
            .is_some_and(|n| n >= 1 && n <= highest)
    };
    text.len() == 4 && within(text.get(..2), 12) && within(text.get(2..), 31)
}

fn digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_mark_is_taken_off() {
        for (model, undated) in [
            ("gpt-4o-2024-08-06", Some("gpt-4o")),
            ("claude-opus-4-5-20251101", Some("claude-opus-4-5")),
            ("gpt-4-0613", Some("gpt-4")),
            ("mistral-small-latest", Some("mistral-small")),
            ("gpt-4-0125-preview", Some("gpt-4-0125")),
            ("codestral-2508", None),
            ("gpt-4o-mini", None),
            ("gpt-6.2-sol", None),
            ("gpt-4o-2024-13-06", None),
            ("x-9999", None),
            ("ü-ü1ü1", None),
        ] {
            assert_eq!(unversioned(model), undated, "{model}");
        }
    }

    #[test]
    fn paths_regions_and_routes_are_taken_off() {
        assert_eq!(
            placeless("publishers/anthropic/models/claude-sonnet-4-5@20250929"),
            "claude-sonnet-4-5@20250929"
        );
        assert_eq!(placeless("models/gemini-2.5-pro"), "gemini-2.5-pro");
        assert_eq!(placeless("accounts/fireworks/models/kimi-k2"), "kimi-k2");
        assert_eq!(
            bare(placeless("global.anthropic.claude-opus-4-5-20251101-v1:0")),
            "claude-opus-4-5-20251101-v1:0"
        );
        assert!(forms("claude-opus-4-5-20251101-v1:0").contains(&"claude-opus-4-5".to_owned()));
        assert!(forms("claude-sonnet-4-5@20250929").contains(&"claude-sonnet-4-5".to_owned()));
        assert!(forms("gpt-4o:nitro").contains(&"gpt-4o".to_owned()));
        assert_eq!(forms("gpt-4o:extended"), ["gpt-4o:extended"]);
        assert_eq!(forms("gpt-4o:free"), ["gpt-4o:free"]);
    }

    #[test]
    fn fine_tunes_never_mean_their_base() {
        let forms = forms("ft:gpt-4o-2024-08-06:acme:support:abc");
        assert_eq!(forms, ["ft:gpt-4o-2024-08-06:acme:support:abc", "ft:gpt-4o-2024-08-06", "ft:gpt-4o"]);
    }
}
