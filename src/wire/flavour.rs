//! How servers of one dialect differ, as data: what they are called, where they listen, and what they do
//! with usage. What they send is read by the dialects' readers, which know every deviation at once.

/// What a server does when `stream_options.include_usage` asks for a stream's usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// One more chunk, without choices, and `"usage":null` in every chunk before it.
    NullsBefore,
    /// One more chunk, without choices.
    LastOnly,
    /// One more chunk, without choices, to which `timings` moves from the chunk before it.
    TimingsMove,
    /// Nothing: it reports usage anyway, or never does.
    Nothing,
}

/// One kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flavour {
    /// `gen_ai.provider.name`, and what an upstream may be called in the configuration to be known as this.
    pub provider: &'static str,
    /// Other names that people give it.
    pub aliases: &'static [&'static str],
    pub asked: Asked,
}

/// Source: the servers' documentation and source, 2026-11; `custom` is any other server.
pub const FLAVOURS: [Flavour; 23] = [
    flavour("openai", &[], Asked::NullsBefore),
    flavour("azure.ai.openai", &["azure", "azure-openai"], Asked::NullsBefore),
    flavour("azure.ai.inference", &["azure-inference"], Asked::LastOnly),
    flavour("openrouter", &[], Asked::Nothing),
    flavour("vllm", &[], Asked::LastOnly),
    flavour("sglang", &[], Asked::LastOnly),
    flavour("ollama", &[], Asked::LastOnly),
    flavour("llama_cpp", &["llama", "llamacpp", "llama-cpp"], Asked::TimingsMove),
    // Its streams never have usage, asked or not.
    flavour("lm_studio", &["lmstudio", "lm-studio"], Asked::Nothing),
    flavour("deepseek", &[], Asked::Nothing),
    flavour("mistral_ai", &["mistral"], Asked::Nothing),
    flavour("groq", &[], Asked::LastOnly),
    flavour("x_ai", &["xai", "grok"], Asked::Nothing),
    flavour("together_ai", &["together"], Asked::Nothing),
    flavour("fireworks_ai", &["fireworks"], Asked::Nothing),
    flavour("gcp.gemini", &["gemini", "google"], Asked::Nothing),
    flavour("gcp.vertex_ai", &["vertex", "vertex-ai"], Asked::Nothing),
    flavour("aws.bedrock", &["bedrock"], Asked::LastOnly),
    flavour("anthropic", &["claude"], Asked::LastOnly),
    flavour("perplexity", &[], Asked::Nothing),
    flavour("cohere", &[], Asked::Nothing),
    // A gateway: its own chunks, whatever is behind it.
    flavour("litellm", &[], Asked::LastOnly),
    flavour("custom", &[], Asked::LastOnly),
];

const fn flavour(provider: &'static str, aliases: &'static [&'static str], asked: Asked) -> Flavour {
    Flavour { provider, aliases, asked }
}

/// The flavour of a provider; any other server's where it is not known.
pub fn of(provider: &str) -> Flavour {
    let last = FLAVOURS[FLAVOURS.len() - 1];
    FLAVOURS.into_iter().find(|flavour| flavour.provider == provider).unwrap_or(last)
}

/// The provider that an upstream's name stands for.
pub fn named(name: &str) -> Option<&'static str> {
    let flavour = FLAVOURS.iter().find(|known| known.provider == name || known.aliases.contains(&name))?;
    Some(flavour.provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_one_provider_each() {
        let mut all: Vec<&str> =
            FLAVOURS.iter().flat_map(|one| one.aliases.iter().chain([&one.provider])).copied().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert_eq!(named("gemini"), Some("gcp.gemini"));
        assert_eq!(named("my-gateway"), None);
        assert_eq!(of("my-gateway").provider, "custom");
    }
}
