//! Scripted behaviour of one request: `status=429;retry_after=1`, from the header `x-simulate` or after an
//! `@` in the model's name. Both may be given; the header wins where they meet.

use std::time::Duration;

use http::StatusCode;

use super::refusal::Refusal;

/// Where a stream (or, after 0 events, a response) breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Break {
    /// An error event, then the orderly end of the response.
    Error(usize),
    /// The connection is closed without the end that the framing promised.
    Cut(usize),
    /// The connection is reset.
    Reset(usize),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) status: Option<StatusCode>,
    pub(super) retry_after: Option<String>,
    /// Of equal requests in a row, only so many meet the fault.
    pub(super) times: Option<u32>,
    pub(super) latency: Option<Duration>,
    pub(super) interval: Option<Duration>,
    /// A pause in the middle of a stream.
    pub(super) stall: Option<Duration>,
    pub(super) breaks: Option<Break>,
    /// Length of the answer.
    pub(super) tokens: Option<usize>,
    pub(super) refuse: bool,
    /// The prompt cache serves nothing, whatever it has.
    pub(super) cache_miss: bool,
    /// What the answer says of the prompt cache: `tools_changed`.
    pub(super) diagnosis: Option<String>,
}

impl Script {
    /// Adds what a text says. Names that are not known are an error, so that a typo is not a test that passes.
    pub(super) fn read(&mut self, text: &str) -> Result<(), Refusal> {
        for item in text.split([';', ',']).map(str::trim).filter(|item| !item.is_empty()) {
            let (name, value) = item.split_once('=').unwrap_or((item, ""));
            let wrong = |expected: &str| {
                Refusal::invalid(
                    Some("x-simulate"),
                    format!("expected {expected} for `{name}` in x-simulate, found {value:?}"),
                )
            };
            let number =
                |most: u64| value.parse::<u64>().ok().filter(|n| *n <= most).ok_or_else(|| wrong("a number"));
            // Ten minutes: the default patience of the clients this stands in for.
            let millis = || Ok::<_, Refusal>(Some(Duration::from_millis(number(600_000)?)));
            let events = || Ok::<_, Refusal>(number(1_000_000)? as usize);
            match name.trim() {
                "status" => {
                    let status = value.parse().ok().and_then(|code: u16| StatusCode::from_u16(code).ok());
                    self.status = Some(
                        status.filter(|status| status.as_u16() >= 400).ok_or_else(|| wrong("400 to 599"))?,
                    );
                }
                "retry_after" => {
                    let seconds = value.parse::<f64>().ok().filter(|s| s.is_finite() && *s >= 0.0);
                    self.retry_after =
                        Some(seconds.map(|_| value.to_owned()).ok_or_else(|| wrong("seconds"))?);
                }
                "times" => self.times = Some(number(1_000_000)? as u32),
                "latency_ms" => self.latency = millis()?,
                "chunk_ms" => self.interval = millis()?,
                "stall_ms" => self.stall = millis()?,
                "error_after" => self.breaks = Some(Break::Error(events()?)),
                "cut_after" => self.breaks = Some(Break::Cut(events()?)),
                "reset_after" => self.breaks = Some(Break::Reset(events()?)),
                "tokens" => self.tokens = Some(number(100_000)?.max(1) as usize),
                "refuse" => self.refuse = true,
                "cache_miss" => self.cache_miss = true,
                "cache_diagnosis" if !value.is_empty() => self.diagnosis = Some(value.to_owned()),
                "cache_diagnosis" => return Err(wrong("a word such as tools_changed")),
                other => {
                    return Err(Refusal::invalid(
                        Some("x-simulate"),
                        format!(
                            "expected status, retry_after, times, latency_ms, chunk_ms, stall_ms, error_after, \
                             cut_after, reset_after, tokens, refuse, cache_miss or cache_diagnosis in x-simulate, found {other:?}"
                        ),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Takes the script off a model's name: `sim-small@status=503` is `sim-small` with a fault.
pub(super) fn split_model(model: &str) -> (&str, Option<&str>) {
    match model.split_once('@') {
        Some((name, script)) => (name, Some(script)),
        None => (model, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_and_later_ones_win() {
        let mut script = Script::default();
        script.read("status=429; retry_after=1.5").unwrap();
        script.read("chunk_ms=20,reset_after=5;status=503,tokens=200,refuse").unwrap();
        assert_eq!(script.status, Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(script.retry_after.as_deref(), Some("1.5"));
        assert_eq!(script.interval, Some(Duration::from_millis(20)));
        assert_eq!(script.breaks, Some(Break::Reset(5)));
        assert_eq!(script.tokens, Some(200));
        assert!(script.refuse);
    }

    #[test]
    fn a_typo_is_told() {
        for wrong in [
            "cache_diagnosis",
            "staus=429",
            "status=200",
            "status=x",
            "tokens=-1",
            "retry_after=NaN",
            "latency_ms=9999999",
        ] {
            let refusal = Script::default().read(wrong).unwrap_err();
            assert_eq!(refusal.status, StatusCode::BAD_REQUEST, "{wrong}");
            assert!(refusal.message.contains("expected"), "{wrong}: {refusal}");
        }
    }

    #[test]
    fn a_model_name_may_carry_a_script() {
        assert_eq!(split_model("sim-small@status=503"), ("sim-small", Some("status=503")));
        assert_eq!(split_model("gpt-5"), ("gpt-5", None));
    }
}
