//! What a request says, field by field, from a JSON body or a query, read as MLflow's server reads them:
//! unknown fields are passed over, numbers may be text, an absent field and `null` are the same, and a body
//! that cannot be read says nothing.

use std::collections::HashMap;

use axum::{
    RequestExt as _,
    extract::{Query, RawPathParams, Request},
};
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Map, Value};

use super::error::Failure;
use crate::model::run::{Param, Tag};

/// The largest body that is read: a dataset's profile alone may have 16 MiB.
const MAX_BODY: usize = 64 << 20;

const SEE_DOCS: &str = "See the API docs for more information about request parameters.";

/// The fields of one request.
#[derive(Debug, Default)]
pub(super) struct Fields {
    json: Map<String, Value>,
    /// What the path itself says (`{model_id}`), decoded.
    path: HashMap<String, String>,
    /// Values of the query, which may repeat a name.
    query: Vec<(String, String)>,
    /// The client's address, port aside.
    pub(super) peer: Option<String>,
}

impl Fields {
    pub(super) async fn read(mut request: Request) -> Result<Self, Failure> {
        let peer = super::address(&request);
        let path = request.extract_parts::<RawPathParams>().await.map_or_else(
            |_| HashMap::new(),
            |path| path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        );
        let query: Vec<(String, String)> =
            Query::try_from_uri(request.uri()).map(|Query(pairs)| pairs).unwrap_or_default();
        let json = if request.method() == Method::GET && !query.is_empty() {
            // A name that is given once is one value here; where a list is wanted, `query` has all.
            let mut json = Map::new();
            for (name, value) in &query {
                json.entry(name.clone()).or_insert_with(|| Value::String(value.clone()));
            }
            json
        } else {
            check_content_type(request.method(), request.headers())?;
            object(&body(request).await?)
        };
        Ok(Self { json, path, query, peer })
    }

    #[cfg(test)]
    pub(super) fn of(json: Value) -> Self {
        Self { json: json.as_object().cloned().unwrap_or_default(), ..Self::default() }
    }

    /// What the path says under this name.
    pub(super) fn in_path(&self, name: &str) -> String {
        self.path.get(name).cloned().unwrap_or_default()
    }

    /// What the query says under this name, if it is there.
    pub(super) fn in_query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All that the query says under this name.
    pub(super) fn all_in_query(&self, name: &str) -> Vec<String> {
        self.query.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    /// A field by either of its names; by both at once it says nothing certain, be one of them null.
    fn value(&self, name: &str) -> Result<Option<&Value>, Failure> {
        let value = match camel_case(name).and_then(|camel| self.json.get_key_value(&camel)) {
            Some((camel, _)) if self.json.contains_key(name) => {
                return Err(Failure::invalid(format!(
                    "Request specifies both '{name}' and '{camel}'; provide only one of them."
                )));
            }
            Some((_, value)) => Some(value),
            None => self.json.get(name),
        };
        Ok(value.filter(|value| !value.is_null()))
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<String>, Failure> {
        match self.value(name)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(wrong_type(name, other)),
        }
    }

    /// Text that may be absent: then it is empty.
    pub(super) fn text(&self, name: &str) -> Result<String, Failure> {
        Ok(self.string(name)?.unwrap_or_default())
    }

    /// Text that must be there; empty is absent.
    pub(super) fn required(&self, name: &str) -> Result<String, Failure> {
        match self.string(name)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(missing(name)),
        }
    }

    /// `run_id`, or `run_uuid` as old clients have it.
    pub(super) fn run_id(&self) -> Result<String, Failure> {
        if self.value("run_id")?.is_none() && self.value("run_uuid")?.is_some() {
            return match self.string("run_uuid")? {
                Some(id) if !id.is_empty() => Ok(id),
                _ => Err(missing("run_id")),
            };
        }
        self.required("run_id")
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, Failure> {
        match self.value(name)? {
            None => Ok(None),
            Some(value) => integer(value).map(Some).ok_or_else(|| wrong_type(name, value)),
        }
    }

    pub(super) fn double(&self, name: &str) -> Result<Option<f64>, Failure> {
        match self.value(name)? {
            None => Ok(None),
            Some(value) => double(value).map(Some).ok_or_else(|| wrong_type(name, value)),
        }
    }

    /// True or false, or the word for it.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.value(name)? {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(word)) if word.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Value::String(word)) if word.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(other) => Err(wrong_type(name, other)),
        }
    }

    /// An enum's number or name, as text.
    pub(super) fn word(&self, name: &str) -> Result<Option<String>, Failure> {
        match self.value(name)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(other) => Err(wrong_type(name, other)),
        }
    }

    /// A list; absent is empty.
    pub(super) fn list(&self, name: &str) -> Result<&[Value], Failure> {
        match self.value(name)? {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(wrong_type(name, other)),
        }
    }

    /// Whether the field is there at all, be it empty.
    pub(super) fn has(&self, name: &str) -> Result<bool, Failure> {
        Ok(self.value(name)?.is_some())
    }

    /// A list of text, from a body or from a query that repeats the name.
    pub(super) fn strings(&self, name: &str) -> Result<Vec<String>, Failure> {
        if let Some(Value::String(_)) = self.value(name)?
            && !self.query.is_empty()
        {
            return Ok(self.all_in_query(name));
        }
        let items = self.list(name)?;
        let whole = || Value::Array(items.to_vec());
        items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| wrong_type(name, &whole())))
            .collect()
    }

    /// A list of text in which numbers may stand for theirs.
    pub(super) fn words(&self, name: &str) -> Result<Vec<String>, Failure> {
        let numbers = self.list(name).is_ok_and(|items| items.iter().any(Value::is_number));
        if !numbers {
            return self.strings(name);
        }
        let word = |item: &Value| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
        Ok(self.list(name)?.iter().map(word).collect())
    }

    /// A list of objects, each as fields of its own.
    pub(super) fn objects(&self, name: &str) -> Result<Vec<Self>, Failure> {
        let items = self.list(name)?;
        items
            .iter()
            .map(|item| match item {
                Value::Object(json) => Ok(Self { json: json.clone(), ..Self::default() }),
                _ => Err(wrong_type(name, &Value::Array(items.to_vec()))),
            })
            .collect()
    }

    /// An object as fields of its own, if it is there.
    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, Failure> {
        match self.value(name)? {
            None => Ok(None),
            Some(Value::Object(json)) => Ok(Some(Self { json: json.clone(), ..Self::default() })),
            Some(other) => Err(wrong_type(name, other)),
        }
    }

    pub(super) fn tags(&self, name: &str) -> Result<Vec<Tag>, Failure> {
        let read = |tag: &Self| Ok(Tag { key: tag.text("key")?, value: tag.text("value")? });
        self.objects(name)?.iter().map(read).collect()
    }

    pub(super) fn params(&self, name: &str) -> Result<Vec<Param>, Failure> {
        let read = |param: &Self| Ok(Param { key: param.text("key")?, value: param.text("value")? });
        self.objects(name)?.iter().map(read).collect()
    }
}

/// `runId` for `run_id`: protobuf's JSON knows fields by both names. `None` where they are the same.
fn camel_case(name: &str) -> Option<String> {
    let mut words = name.split('_');
    let mut camel = words.next()?.to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    (camel.len() != name.len()).then_some(camel)
}

/// What a required field that is absent says; `path` as in `metrics[3].key`.
pub(super) fn missing(path: &str) -> Failure {
    Failure::invalid(format!("Missing value for required parameter '{path}'. {SEE_DOCS}"))
}

/// What a field of the wrong type says, with the type in the words of the clients' language.
pub(super) fn wrong_type(name: &str, value: &Value) -> Failure {
    let kind = match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    };
    Failure::invalid(format!(
        "Invalid value {value} for parameter '{name}' supplied:  Hint: Value was of type '{kind}'. {SEE_DOCS}"
    ))
}

/// A number without a fraction, or text that is one.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
            (float.abs() < 9.2e18).then_some(float as i64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A number, or text that is one; `NaN`, `Infinity` and `-Infinity` among them.
pub(super) fn double(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn check_content_type(method: &Method, headers: &HeaderMap) -> Result<(), Failure> {
    if method != Method::POST && method != Method::PUT {
        return Ok(());
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Err(Failure::invalid("Bad Request. Content-Type header is missing."));
    };
    let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    if kind != "application/json" {
        return Err(Failure::invalid("Bad Request. Content-Type must be one of ['application/json']."));
    }
    Ok(())
}

async fn body(request: Request) -> Result<Bytes, Failure> {
    match Limited::new(request.into_body(), MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(Failure::invalid(format!(
            "expected a request body of at most {MAX_BODY} bytes that arrives whole, found: {error}"
        ))),
    }
}

/// The body's object. Old clients send their JSON as a JSON string; what is no object says nothing.
fn object(body: &[u8]) -> Map<String, Value> {
    match parse(body) {
        Some(Value::Object(json)) => json,
        Some(Value::String(text)) => match parse(text.as_bytes()) {
            Some(Value::Object(json)) => json,
            _ => Map::new(),
        },
        _ => Map::new(),
    }
}

/// JSON, with the bare words NaN and Infinity that some clients write into it.
fn parse(body: &[u8]) -> Option<Value> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Some(value);
    }
    let text = std::str::from_utf8(body).ok()?;
    if !text.contains("NaN") && !text.contains("Infinity") {
        return None;
    }
    serde_json::from_str(&quote_words(text)).ok()
}

/// Puts NaN, Infinity and -Infinity in quotes where they stand outside of text.
fn quote_words(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 16);
    let (mut inside, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if !inside
            && let Some(word) =
                ["NaN", "-Infinity", "Infinity"].into_iter().find(|word| rest.starts_with(word))
        {
            quoted.push('"');
            quoted.push_str(word);
            quoted.push('"');
            rest = rest.strip_prefix(word).unwrap_or_default();
            continue;
        }
        if inside && !escaped && character == '\\' {
            escaped = true;
        } else {
            if character == '"' && !escaped {
                inside = !inside;
            }
            escaped = false;
        }
        quoted.push(character);
        rest = rest.strip_prefix(character).unwrap_or_default();
    }
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_may_be_text_and_text_may_not_be_a_number() {
        let fields = Fields::of(json!({
            "a": 1, "b": "2", "c": 3.0, "d": 3.5, "e": "x", "f": true, "n": null, "nan": "NaN", "s": 5
        }));
        let integer = |name| fields.integer(name).map_err(|failure| failure.message);
        assert_eq!(integer("a"), Ok(Some(1)));
        assert_eq!(integer("b"), Ok(Some(2)));
        assert_eq!(integer("c"), Ok(Some(3)));
        assert_eq!(integer("n"), Ok(None));
        assert_eq!(integer("gone"), Ok(None));
        for (name, kind) in [("d", "float"), ("e", "str"), ("f", "bool")] {
            assert!(integer(name).unwrap_err().contains(&format!("of type '{kind}'")), "{name}");
        }
        assert!(fields.double("nan").unwrap().unwrap().is_nan());
        assert_eq!(
            fields.string("s").unwrap_err().message,
            "Invalid value 5 for parameter 's' supplied:  Hint: Value was of type 'int'. See the API docs for more \
             information about request parameters."
        );
    }

    #[test]
    fn fields_are_known_in_camel_case_too() {
        let fields = Fields::of(json!({"runId": "r", "artifactDirectoryPath": "p", "key": "k"}));
        assert_eq!(fields.text("run_id").unwrap(), "r");
        assert_eq!(fields.text("artifact_directory_path").unwrap(), "p");
        assert_eq!(fields.text("key").unwrap(), "k");
        for both in [json!({"run_id": "r", "runId": "r"}), json!({"run_id": "r", "runId": null})] {
            let refused = Fields::of(both).text("run_id").unwrap_err().message;
            assert_eq!(refused, "Request specifies both 'run_id' and 'runId'; provide only one of them.");
        }
    }

    #[test]
    fn a_run_may_be_named_the_old_way() {
        assert_eq!(Fields::of(json!({"run_uuid": "r"})).run_id().unwrap(), "r");
        assert_eq!(Fields::of(json!({"run_id": "a", "run_uuid": "b"})).run_id().unwrap(), "a");
        let nothing = Fields::of(json!({"run_id": ""})).run_id().unwrap_err().message;
        assert!(nothing.starts_with("Missing value for required parameter 'run_id'."), "{nothing}");
    }

    #[test]
    fn bodies_are_read_twice_when_they_are_text_and_say_nothing_when_they_are_broken() {
        assert_eq!(object(br#"{"a": 1}"#)["a"], 1);
        assert_eq!(object(br#""{\"a\": 1}""#)["a"], 1);
        for broken in ["", "{", "[]", "7", "\"x\"", "null"] {
            assert!(object(broken.as_bytes()).is_empty(), "{broken}");
        }
    }

    #[test]
    fn bare_words_are_numbers_outside_of_text_only() {
        let read = object(br#"{"a": NaN, "b": [-Infinity, Infinity], "c": "a \"NaN\" here", "\\": NaN}"#);
        assert_eq!(
            Value::from(read),
            json!({"a": "NaN", "b": ["-Infinity", "Infinity"], "c": "a \"NaN\" here", "\\": "NaN"})
        );
    }
}
