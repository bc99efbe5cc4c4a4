//! Another configuration while calls run: what can change changes for the calls that come, what cannot is named,
//! and a wrong one changes nothing.

use std::fs;

use crate::{
    case::{Case, Passed, Verdict, program},
    peer::eventually,
    tapline::{Place, Setup, Tapline, get},
    traffic::{call, has, many, started, upstream},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        program("reload/another upstream and another capture for the calls that come", another),
        program("reload/a wrong configuration changes nothing and says why", wrong),
        program("reload/an upstream whose key is not there changes nothing", keyless),
        program("reload/what needs a restart is named", named),
        program("reload/the log level changes at once", level),
        program("reload/`config --check` knows before", check),
    ]
}

fn with(config: &str) -> Result<(Place, Tapline), String> {
    let place = Place::new()?;
    let tapline = started(&place, &Setup { config: config.to_owned(), ..Setup::default() })?;
    Ok((place, tapline))
}

/// Writes the configuration, asks for it, and waits until the log says what became of it.
fn reload(place: &Place, tapline: &Tapline, config: &str, outcome: &str) -> Result<String, String> {
    let before = place.log().matches(outcome).count();
    fs::write(place.folder().join("tapline.toml"), config).map_err(|error| error.to_string())?;
    tapline.signal("HUP")?;
    eventually("a word on the configuration in the log", || {
        let log = place.log();
        Ok((log.matches(outcome).count() > before).then_some(log))
    })
    .map_err(|error| format!("{error} ({outcome}): {}", place.log()))
}

/// The fields of a session's only call.
fn one(tapline: &Tapline, session: &str) -> Result<serde_json::Value, String> {
    has(tapline, session, 1)?;
    tapline.calls(session)?.pop().ok_or_else(|| "no call".to_owned())
}

fn another() -> Verdict {
    let (first, second) = (upstream()?, upstream()?);
    let (place, tapline) = with(&format!("upstream = \"http://{first}/v1\"\n"))?;
    call(&tapline, "before", 10)?;
    let config = format!(
        "upstream = \"http://{second}/v1\"\n[capture]\ncontent = false\n[upstreams.more]\nurl = \"http://{first}/v1\"\n"
    );
    let log = reload(&place, &tapline, &config, "\"config_reloaded\"")?;
    for key in ["upstream", "capture.content", "upstreams.more.url"] {
        if !log.contains(key) {
            return Err(format!("expected the log to name {key}, found {log}"));
        }
    }
    call(&tapline, "after", 10)?;
    let (before, after) = (one(&tapline, "before")?, one(&tapline, "after")?);
    let ports = (before["server_port"].as_u64(), after["server_port"].as_u64());
    if ports != (Some(u64::from(first.port())), Some(u64::from(second.port()))) {
        return Err(format!("expected the calls at {first} and {second}, found ports {ports:?}"));
    }
    if (&before["request_whole"], &after["request_whole"]) != (&true.into(), &false.into()) {
        return Err(format!("expected content of the first call alone, found {before} and {after}"));
    }
    let (status, _) = get(tapline.address, "/to/more/v1/x")?;
    if status != 200 {
        return Err(format!("expected the new upstream to be there, found {status}"));
    }
    tapline.stop()?;
    Ok(Passed::Yes)
}

fn stays(reason: &str, config: &str) -> Verdict {
    let (place, tapline) = with(&format!("upstream = \"http://{}/v1\"\n", upstream()?))?;
    let log = reload(&place, &tapline, config, "\"config_rejected\"")?;
    if !log.contains(reason) {
        return Err(format!("expected the log to say {reason:?}, found {log}"));
    }
    many(&tapline, "after", 3)?;
    has(&tapline, "after", 3)?;
    tapline.stop()?;
    Ok(Passed::Yes)
}

fn wrong() -> Verdict {
    stays("tapline.toml:2: unknown key", "upstream = \"http://127.0.0.1:1/v1\"\nupstrem = \"x\"\n")
}

fn keyless() -> Verdict {
    let config = "upstream = \"http://127.0.0.1:1/v1\"\n[upstreams.a]\nurl = \"http://a\"\nkey_env = \"NO_SUCH_KEY\"\n";
    stays("NO_SUCH_KEY", config)
}

fn named() -> Verdict {
    let config = format!("upstream = \"http://{}/v1\"\n", upstream()?);
    let (place, tapline) = with(&config)?;
    let config = format!("{config}[journal]\nmode = \"relaxed\"\n[store]\nreaders = 2\n");
    let log = reload(&place, &tapline, &config, "\"config_needs_restart\"")?;
    if !log.contains("journal.mode, store.readers") {
        return Err(format!("expected the log to name both keys, found {log}"));
    }
    tapline.stop()?;
    Ok(Passed::Yes)
}

fn level() -> Verdict {
    let config = format!("upstream = \"http://{}/v1\"\n", upstream()?);
    let (place, tapline) = with(&config)?;
    many(&tapline, "quiet", 1)?;
    has(&tapline, "quiet", 1)?;
    if place.log().contains("call_settled") {
        return Err("expected no line for a call at level info".to_owned());
    }
    reload(&place, &tapline, &format!("{config}[log]\nlevel = \"debug\"\n"), "\"config_reloaded\"")?;
    many(&tapline, "loud", 1)?;
    eventually("a line for a call", || Ok(place.log().contains("call_settled").then_some(())))?;
    tapline.stop()?;
    Ok(Passed::Yes)
}

fn check() -> Verdict {
    let place = Place::new()?;
    let file = place.folder().join("tapline.toml");
    for (config, code, says) in [
        ("[journal]\nmode = \"relaxed\"\n", 0, "the configuration is right"),
        ("[journal]\nmode = \"fast\"\n", 2, "expected one of strict, relaxed"),
        ("[prices]\nfile = \"nowhere.toml\"\n", 2, "nowhere.toml"),
    ] {
        fs::write(&file, config).map_err(|error| error.to_string())?;
        let run = place.verb(&["config", "--check"])?;
        let text = [run.stdout, run.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        if run.status.code() != Some(code) || !text.contains(says) {
            return Err(format!("expected code {code} and {says:?}, found {} and {text}", run.status));
        }
    }
    Ok(Passed::Yes)
}
