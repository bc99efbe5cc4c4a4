//! The first look into a request's body: whose model, whose user. Of a body that is not whole, what there is.

use super::json;

/// What the beginning of a request says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peek {
    pub model: Option<String>,
    pub user: Option<String>,
}

/// Reads top-level fields as far as the bytes go.
pub fn peek(body: &[u8]) -> Peek {
    let mut peek = Peek::default();
    // Cut inside a character, the rest is still text.
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => {
            std::str::from_utf8(body.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default()
        }
    };
    json::fields(text.trim_start_matches('\u{feff}'), |key, field| match key {
        "model" => peek.model = json::filled(Some(field)),
        "user" | "safety_identifier" => peek.user = peek.user.take().or(json::filled(Some(field))),
        "metadata" => {
            let [user] = json::pick(field.get(), ["user_id"]);
            peek.user = peek.user.take().or(json::filled(user));
        }
        _ => {}
    })
    .ok();
    peek
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_body_says_what_it_can() {
        let whole = r#"{"model":"gpt-4o","user":"ü","messages":[{"role":"user","content":"hi"}]}"#.as_bytes();
        let all = Peek { model: Some("gpt-4o".to_owned()), user: Some("ü".to_owned()) };
        assert_eq!(peek(whole), all);
        assert_eq!(peek(&whole[..40]), all);
        assert_eq!(peek(&whole[..20]).model.as_deref(), Some("gpt-4o"));
        for cut in 0..whole.len() {
            peek(&whole[..cut]);
        }
        assert_eq!(peek(b"[1]"), Peek::default());
    }
}
