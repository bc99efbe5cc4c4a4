//! The four layers, the one declaration, and every error message.

use std::time::Duration;

use super::{
    keys::{self, keys},
    *,
};

/// Loads with a configuration file's text, variables and flags.
fn load_with(file: &str, env: &[(&str, &str)], flags: &[&str]) -> Result<Loaded, Error> {
    let folder = tempfile::tempdir().unwrap();
    if !file.is_empty() {
        std::fs::write(folder.path().join("tapline.toml"), file).unwrap();
    }
    load_in(folder.path(), env, flags)
}

fn load_in(folder: &Path, env: &[(&str, &str)], flags: &[&str]) -> Result<Loaded, Error> {
    let command = clap::Command::new("tapline").no_binary_name(true).args(args());
    let matches = command.try_get_matches_from(flags).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load(&matches, env, folder)
}

fn origin(loaded: &Loaded, key: &str) -> String {
    loaded.origins[key].1.to_string()
}

#[test]
fn later_layers_win_key_by_key() {
    let file = "listen = \"127.0.0.1:1\"\n[journal]\nmode = \"relaxed\"\nfsync = \"never\"\ntick = \"1s\"\n";
    let env = [("TAPLINE_JOURNAL_FSYNC", "always"), ("TAPLINE_JOURNAL_TICK", "2s"), ("HOME", "/root")];
    let loaded = load_with(file, &env, &["--journal-tick", "3s"]).unwrap();
    let journal = &loaded.settings.journal;
    assert_eq!(journal.when_full, WhenFull::Pass);
    assert_eq!(journal.mode, JournalMode::Relaxed);
    assert_eq!(journal.fsync, Fsync::Always);
    assert_eq!(journal.tick, Duration::from_secs(3));
    assert_eq!(loaded.settings.listen.port(), 1);
    assert_eq!(origin(&loaded, "journal.when_full"), "default");
    assert_eq!(origin(&loaded, "journal.mode"), "tapline.toml:3");
    assert_eq!(origin(&loaded, "journal.fsync"), "TAPLINE_JOURNAL_FSYNC");
    assert_eq!(origin(&loaded, "journal.tick"), "--journal-tick");
    assert_eq!(loaded.origins["journal.tick"].0, "3s");
}

#[test]
fn the_file_is_the_flags_then_the_variables_then_the_folders() {
    let folder = tempfile::tempdir().unwrap();
    for (name, level) in [("tapline.toml", "warn"), ("variable.toml", "debug"), ("flag.toml", "trace")] {
        std::fs::write(folder.path().join(name), format!("log.level = \"{level}\"")).unwrap();
    }
    let level =
        |env: &[(&str, &str)], flags: &[&str]| load_in(folder.path(), env, flags).unwrap().settings.log.level;
    let variable = [("TAPLINE_CONFIG", "variable.toml")];
    assert_eq!(level(&[], &[]), LogLevel::Warn);
    assert_eq!(level(&variable, &[]), LogLevel::Debug);
    assert_eq!(level(&variable, &["--config", "flag.toml"]), LogLevel::Trace);
    let missing = load_in(folder.path(), &[], &["--config", "nowhere.toml"]).unwrap_err();
    assert!(missing.message.starts_with("nowhere.toml: expected a readable configuration file: "));
}

#[test]
fn defaults_are_as_documented() {
    let settings = load_with("", &[], &[]).unwrap().settings;
    assert_eq!(settings.listen.to_string(), "127.0.0.1:4000");
    assert_eq!(settings.upstream, "https://api.openai.com/v1");
    assert!(settings.upstreams.is_empty());
    assert_eq!(settings.proxy.response_timeout, Duration::from_secs(900));
    assert_eq!(settings.proxy.idle_timeout, Duration::ZERO);
    assert_eq!(settings.capture.max_request_bytes, 32 << 20);
    assert_eq!(settings.journal.max_bytes, 2 << 30);
    assert_eq!(settings.journal.ack_timeout, Duration::from_millis(250));
    assert_eq!(settings.store.compression_level, 1);
    assert_eq!(settings.export.endpoint, None);
    assert_eq!(settings.prices.file, None);
}

#[test]
fn every_key_is_documented_and_a_setting_and_every_setting_is_a_key() {
    for key in keys() {
        // The help is the comment's first sentence, then the default.
        assert!(key.help.find(" [default:").unwrap_or(key.help.len()) > 15, "{}: {}", key.path, key.help);
        // A key that is no setting fails to load; a setting that is no key does so too, because no field
        // has a default of its own.
        let mut without = keys::defaults();
        match key.path.split_once('.') {
            Some((section, name)) => without[section].as_table_mut().unwrap().remove(name),
            None => without.remove(&key.path),
        };
        let missing = typed(without).unwrap_err();
        assert!(missing.contains("missing field"), "{}: {missing}", key.path);
    }
    assert!(typed(keys::defaults()).is_ok());
    // The scan for comments saw what the TOML reader sees.
    let all: Table = keys::DEFAULT.parse().unwrap();
    assert_eq!(keys::defaults(), all);
}

#[test]
fn keys_have_distinct_flags_and_variables() {
    let count = |names: Vec<&str>| names.into_iter().collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(count(keys().iter().map(|key| key.flag.as_str()).collect()), keys().len());
    assert_eq!(count(keys().iter().map(|key| key.variable.as_str()).collect()), keys().len());
    clap::Command::new("tapline").args(args()).debug_assert();
}

#[test]
fn the_example_of_an_upstream_in_the_declaration_loads() {
    let example: Vec<_> =
        keys::DEFAULT.lines().skip_while(|line| !line.starts_with("# [upstreams.")).collect();
    let example: Vec<_> = example.into_iter().map_while(|line| line.strip_prefix("# ")).collect();
    let loaded = load_with(&example.join("\n"), &[("ANTHROPIC_API_KEY", "k")], &[]).unwrap();
    let claude = &loaded.settings.upstreams["claude"];
    assert_eq!(claude.url, "https://api.anthropic.com");
    assert_eq!(claude.provider.as_deref(), Some("anthropic"));
    assert_eq!(claude.key_env.as_deref(), Some("ANTHROPIC_API_KEY"));
    for key in keys::UPSTREAM_KEYS {
        assert!(example.iter().any(|line| line.starts_with(&format!("{key} = "))), "{key}");
    }
}

#[test]
fn upstreams_come_from_every_layer() {
    let file = "[upstreams.my-gateway]\nurl = \"http://10.0.0.1/v1\"\n[upstreams.b]\nprovider = \"vllm\"\n";
    let env =
        [("TAPLINE_UPSTREAMS_MY_GATEWAY_PROVIDER", "openrouter"), ("TAPLINE_UPSTREAMS_C_URL", "http://c:1")];
    let flags =
        ["--upstreams", "b=http://b:8000/v1", "--upstreams", "d=https://d?", "--upstreams", "c=http://c:2"];
    let refused = load_with(file, &env, &flags).unwrap_err();
    assert!(refused.message.starts_with("upstreams.d.url (from --upstreams): "), "{refused}");
    let loaded = load_with(file, &env, &flags[..2]).unwrap();
    let upstreams = &loaded.settings.upstreams;
    assert_eq!(upstreams.keys().collect::<Vec<_>>(), ["b", "c", "my-gateway"]);
    assert_eq!(upstreams["my-gateway"].provider.as_deref(), Some("openrouter"));
    assert_eq!(upstreams["b"].url, "http://b:8000/v1");
    assert_eq!(upstreams["c"].url, "http://c:1");
    assert_eq!(origin(&loaded, "upstreams.b.url"), "--upstreams");
    assert_eq!(origin(&loaded, "upstreams.b.provider"), "tapline.toml:4");
}

#[test]
fn flags_of_switches_need_no_value() {
    let wide = load_with("", &[], &["--listen", "0.0.0.0:4000", "--allow-wide-bind"]).unwrap();
    assert!(wide.settings.allow_wide_bind);
    let bare = load_with("", &[], &["--capture-content=false", "--proxy-max-header-bytes", "16384"]).unwrap();
    assert!(!bare.settings.capture.content);
    assert_eq!(bare.settings.proxy.max_header_bytes, 16_384);
    assert_eq!(
        load_with("", &[], &["--proxy-max-header-bytes=1MiB"]).unwrap().settings.proxy.max_header_bytes,
        1 << 20
    );
}

#[test]
fn inv7_secrets_are_masked_wherever_they_are_shown() {
    let file = "[export]\nheaders = \"authorization=Bearer s3cret, x-team = s3cret2\"\n";
    let loaded = load_with(file, &[], &[]).unwrap();
    assert_eq!(loaded.settings.export.headers.0[0], ("authorization".to_owned(), "Bearer s3cret".to_owned()));
    for shown in [render(&loaded, false), render(&loaded, true), format!("{loaded:?}")] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    assert_eq!(loaded.origins["export.headers"].0, "authorization=***,x-team=***");
    // What is refused is not quoted where it may be a key in the wrong place.
    for file in [
        "[export]\nheaders = \"s3cret\"",
        "[export]\nheaders = [\"s3cret\"]",
        "[export]\nendpoint = \"http://s3cret@host\"",
        "upstream = \"https://user:s3cret@host/v1\"",
        "upstream = \"https://host/v1?key=s3cret\"",
        "[upstreams]\na = \"http://user:s3cret@a\"",
        "[upstreams.a]\nurl = \"http://user:s3cret@a\"",
        "[upstreams.a]\nurl = \"http://a\"\nkey_env = \"sk-s3cret\"",
    ] {
        let wrong = load_with(file, &[], &[]).unwrap_err();
        assert!(!wrong.message.contains("s3cret"), "{wrong}");
    }
    for flag in ["http://user:s3cret@a", "http://user:s3cret@a?v=1", "a=http://user:s3cret@a"] {
        let wrong = load_with("", &[], &["--upstreams", flag]).unwrap_err();
        assert!(!wrong.message.contains("s3cret"), "{wrong}");
    }
}

#[test]
fn what_changed_between_two_loads() {
    let before =
        load_with("[export]\nheaders = \"k=one\"\n[upstreams.a]\nurl = \"http://a\"\n", &[], &[]).unwrap();
    assert!(before.changed(&before).is_empty());
    let after = load_with("[export]\nheaders = \"k=two\"\n[journal]\ntick = \"1s\"\n", &[], &[]).unwrap();
    assert_eq!(before.changed(&after), ["export.headers", "journal.tick", "upstreams.a.url"]);
}

#[test]
fn what_is_shown() {
    let env = [("TAPLINE_EXPORT_HEADERS", "api-key=abc"), ("TAPLINE_URL", "http://127.0.0.1:9")];
    let file = "upstream = \"http://127.0.0.1:8080/v1\"\n";
    let loaded = load_with(file, &env, &["--store-readers", "2", "--upstreams=b=http://b"]).unwrap();
    insta::assert_snapshot!("config_table", render(&loaded, false));
    let json: serde_json::Value = serde_json::from_str(&render(&loaded, true)).unwrap();
    assert_eq!(
        json["upstream"]["origin"],
        serde_json::json!({ "kind": "file", "file": "tapline.toml", "line": 1 })
    );
    assert_eq!(json["store.readers"]["value"], "2");
    assert_eq!(
        json["store.readers"]["origin"],
        serde_json::json!({ "kind": "flag", "name": "--store-readers" })
    );
    assert_eq!(json["log.level"]["origin"], serde_json::json!({ "kind": "default" }));
}

#[test]
fn what_help_says() {
    // No wrapping: the width of a terminal decides nothing here.
    let mut command = clap::Command::new("tapline").args(args()).disable_help_flag(true).term_width(0);
    insta::assert_snapshot!("config_help", command.render_help().to_string());
}

#[test]
fn every_error_says_key_place_expected_and_found() {
    type Case = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);
    let cases: [Case; 48] = [
        // Unknown names.
        ("[jurnal]\nmode = \"strict\"", &[], &[]),
        ("\n\n[journal]\nmod = \"strict\"", &[], &[]),
        ("mode = \"strict\"", &[], &[]),
        ("qwertyuiop = 1", &[], &[]),
        ("[upstreams.a]\nuri = \"http://a\"", &[], &[]),
        ("", &[("TAPLINE_JOURNAL_MOD", "strict")], &[]),
        ("", &[("TAPLINE_LISTEN_ADDRESS", "x")], &[]),
        ("", &[("TAPLINE_UPSTREAMS_A_URI", "http://a")], &[]),
        ("", &[("TAPLINE_ZZZZZZZZZZZZZZZZZZZZ", "1")], &[]),
        // Wrong shapes.
        ("journal = 3", &[], &[]),
        ("listen = { port = 1 }", &[], &[]),
        ("[upstreams]\na = \"http://a\"", &[], &[]),
        ("[upstreams.\"A b\"]\nurl = \"http://a\"", &[], &[]),
        ("listen = ", &[], &[]),
        ("listen = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"", &[], &[]),
        // Wrong values, from each layer.
        ("[journal]\nmode = \"fast\"", &[], &[]),
        ("", &[("TAPLINE_JOURNAL_MODE", "fast")], &[]),
        ("", &[], &["--journal-mode", "fast"]),
        ("[journal]\nmode = true", &[], &[]),
        ("listen = \"localhost:4000\"", &[], &[]),
        ("listen = 4000", &[], &[]),
        ("data = \"\"", &[], &[]),
        ("allow_wide_bind = \"yes\"", &[], &[]),
        ("", &[("TAPLINE_CAPTURE_CONTENT", "no")], &[]),
        ("upstream = \"api.openai.com/v1\"", &[], &[]),
        ("upstream = \"ftp://a\"", &[], &[]),
        ("upstream = \"https:///v1\"", &[], &[]),
        ("upstream = \"https://user:pass@a/v1\"", &[], &[]),
        ("[proxy]\nconnect_timeout = 10", &[], &[]),
        ("[proxy]\nconnect_timeout = \"0s\"", &[], &[]),
        ("[proxy]\nmax_header_bytes = 100", &[], &[]),
        ("[capture]\nmax_request_bytes = \"32 megs\"", &[], &[]),
        ("[capture]\nmax_request_bytes = -1", &[], &[]),
        ("[store]\nreaders = 0", &[], &[]),
        ("", &[], &["--store-compression-level", "99"]),
        ("[export]\nendpoint = \"localhost:4318\"", &[], &[]),
        ("[export]\nheaders = \"s3cret\"", &[], &[]),
        ("[export]\nprotocol = \"http/json\"", &[], &[]),
        ("[export]\nservice_name = \" \"", &[], &[]),
        ("[log]\nlevel = \"loud\"", &[], &[]),
        ("", &[], &["--upstreams", "http://a"]),
        ("", &[], &["--upstreams", "default=http://a"]),
        // Values that do not go together.
        ("listen = \"0.0.0.0:4000\"", &[], &[]),
        ("[upstreams.a]\nprovider = \"openai\"", &[], &[]),
        ("[upstreams.a]\nurl = \"http://a\"\nkey_env = \"A_KEY\"", &[], &[]),
        ("[upstreams.a]\nurl = \"http://a\"\nkey_env = \"sk-not-a-name\"", &[], &[]),
        ("[journal]\nmax_bytes = \"1MiB\"", &[], &[]),
        ("[journal]\nsegment_bytes = \"3GiB\"", &[], &[]),
    ];
    let messages = cases.map(|(file, env, flags)| {
        let refused = load_with(file, env, flags).unwrap_err();
        assert_eq!(refused.code, crate::model::ErrorCode::Invalid);
        refused.message
    });
    insta::assert_snapshot!("config_errors", messages.join("\n"));
}
