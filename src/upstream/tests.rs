//! Endpoints as they are configured, and where a path lands on them.

use super::*;

fn parse(url: &str) -> Result<Upstream, Error> {
    Upstream::parse("u", url, None, None)
}

#[test]
fn urls_are_taken_apart() {
    let upstream = parse("https://api.openai.com/v1/").unwrap();
    assert_eq!(upstream.prefix, "/v1");
    assert_eq!(upstream.host, "api.openai.com");
    assert_eq!(upstream.destination.provider, "openai");
    assert_eq!(upstream.destination.server_port, 443);
    let local = parse("http://[::1]:8080").unwrap();
    assert_eq!((local.prefix.as_str(), local.place().as_str()), ("", "::1:8080"));
    assert_eq!(local.host, "[::1]:8080");
    assert_eq!(local.destination.provider, "custom");
}

#[test]
fn a_bare_origin_means_v1_where_the_api_lies_there() {
    assert_eq!(parse("https://api.anthropic.com").unwrap().prefix, "/v1");
    assert_eq!(parse("https://api.perplexity.ai").unwrap().prefix, "");
}

#[test]
fn wrong_urls_say_why_and_repeat_no_secret() {
    for (url, why) in [
        ("api.openai.com/v1", "no url"),
        ("localhost", "no scheme"),
        ("ftp://x/v1", "scheme"),
        ("https://user:canary@x/v1", "password"),
        ("https://x/v1?key=canary", "query"),
        ("", "no url"),
    ] {
        let error = parse(url).unwrap_err().message;
        assert!(error.contains(why) && error.contains("\"u\""), "{url}: {error}");
        assert!(!error.contains("canary"), "{error}");
    }
}

#[test]
fn paths_stay_as_they_are() {
    let upstream = parse("http://h/openai/v1").unwrap();
    for (target, whole) in [
        ("/chat/completions", "http://h/openai/v1/chat/completions"),
        ("//a/../%2F%zz?q=%20+&&", "http://h/openai/v1//a/../%2F%zz?q=%20+&&"),
        ("", "http://h/openai/v1"),
        ("?x", "http://h/openai/v1?x"),
    ] {
        assert_eq!(upstream.uri(target).unwrap().to_string(), whole);
    }
    assert_eq!(parse("http://h").unwrap().uri("?x").unwrap().to_string(), "http://h/?x");
}

#[test]
fn providers_are_told_by_host() {
    for (host, provider) in [
        ("API.openai.com", "openai"),
        ("eu.api.openai.com", "openai"),
        ("notapi.openai.com.evil", "custom"),
        ("mine.openai.azure.com", "azure.ai.openai"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "aws.bedrock"),
        ("europe-west1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("api.moonshot.cn", "moonshot_ai"),
        ("openrouter.ai", "openrouter"),
        ("localhost", "custom"),
    ] {
        assert_eq!(provider::of_host(host), provider, "{host}");
    }
}

#[test]
fn inv7_a_configured_key_never_prints() {
    let upstream = Upstream::parse("u", "https://api.anthropic.com/v1", None, Some("canary\n")).unwrap();
    let key = upstream.key.as_ref().unwrap();
    assert_eq!((key.name.as_str(), key.value.as_bytes()), ("x-api-key", b"canary".as_slice()));
    assert!(!format!("{upstream:?} {:?}", key.value).contains("canary"));
    assert!(upstream.replaces(&header::AUTHORIZATION) && !upstream.replaces(&header::ACCEPT));
    let error = Upstream::parse("u", "http://h", None, Some("canary ü")).unwrap_err().message;
    assert!(!error.contains("canary"), "{error}");
}

#[test]
fn one_upstream_is_the_default() {
    let named = |name: &str| Upstream::parse(name, "http://h", None, None).unwrap();
    assert_eq!(Upstreams::new([named("x")]).unwrap().default_one().name, "x");
    let two = Upstreams::new([named("a"), named("default")]).unwrap();
    assert_eq!(two.default_one().name, "default");
    assert!(two.get("b").unwrap_err().message.ends_with("configured: a, default"));
    assert!(Upstreams::new([named("a"), named("b")]).is_err());
    assert!(Upstreams::new([named("a"), named("a")]).is_err());
    assert!(Upstreams::new([]).is_err());
}
