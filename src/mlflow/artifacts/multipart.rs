//! Uploads in parts. The parts come through this server, whatever keeps the artifacts: the URLs that a client is
//! given are of this very endpoint, so that it needs no way to the bucket and no key.

use axum::{
    Json,
    body::Body,
    extract::{Query, RawPathParams, Request, State as Extract, rejection::QueryRejection},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    super::{
        State,
        error::Failure,
        request::{Fields, missing},
    },
    INVALID_PATH, Outcome, checked, content, in_url,
};
use crate::artifacts::{ArtifactPath, Part};

/// As many as S3 takes.
const MOST_PARTS: i64 = 10_000;
/// Said by the proxy in front of us, where there is one.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

#[derive(Debug, Serialize)]
struct Credential {
    url: String,
    part_number: i64,
    headers: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PartQuery {
    upload_id: String,
    part_number: u32,
}

/// The file that an upload is about: the directory in the URL and the name in the body. Clients before 3.18 send
/// their local path, of which only the last component counts.
fn target(params: &RawPathParams, fields: &Fields) -> Result<ArtifactPath, Failure> {
    let path = fields.required("path")?;
    let name = checked(path.rsplit(['/', '\\']).next().unwrap_or_default())?;
    checked(in_url(params))?.join(name.name()).map_err(|_| Failure::invalid(INVALID_PATH))
}

pub(super) async fn create(
    Extract(state): Extract<State>,
    params: RawPathParams,
    headers: HeaderMap,
    request: Request,
) -> Outcome {
    let fields = Fields::read(request).await?;
    let target = target(&params, &fields)?;
    let parts = fields.integer("num_parts")?.unwrap_or(1);
    if !(1..=MOST_PARTS).contains(&parts) {
        return Err(Failure::invalid(format!(
            "expected 1 to {MOST_PARTS} as num_parts, found {parts}; send larger parts"
        )));
    }
    let upload_id = state.artifacts.begin(&target).await?;
    let url = format!(
        "{}/api/2.0/mlflow-artifacts/mpu/part/{}?upload_id={}",
        base(&headers),
        encoded(target.as_str()),
        encoded(&upload_id)
    );
    let credentials: Vec<Credential> = (1..=parts)
        .map(|part_number| Credential {
            url: format!("{url}&part_number={part_number}"),
            part_number,
            headers: serde_json::Map::new(),
        })
        .collect();
    Ok(Json(json!({ "upload_id": upload_id, "credentials": credentials })).into_response())
}

pub(super) async fn put_part(
    Extract(state): Extract<State>,
    params: RawPathParams,
    query: Result<Query<PartQuery>, QueryRejection>,
    request: Request,
) -> Outcome {
    let Query(PartQuery { upload_id, part_number }) = query.map_err(|_| {
        Failure::invalid("expected upload_id and part_number in the query, as create gave them")
    })?;
    let path = checked(in_url(&params))?;
    let etag = state.artifacts.put_part(&path, &upload_id, part_number, content(request.into_body())).await?;
    let mut response = Response::new(Body::empty());
    if let Ok(etag) = HeaderValue::try_from(format!("\"{}\"", etag.trim_matches('"'))) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

pub(super) async fn complete(
    Extract(state): Extract<State>,
    params: RawPathParams,
    request: Request,
) -> Outcome {
    let fields = Fields::read(request).await?;
    let target = target(&params, &fields)?;
    let mut parts = Vec::new();
    for part in fields.objects("parts")? {
        let number = part.integer("part_number")?.and_then(|number| u32::try_from(number).ok());
        let number = number.ok_or_else(|| missing("parts[].part_number"))?;
        parts.push(Part { number, etag: part.text("etag")? });
    }
    if parts.is_empty() {
        return Err(missing("parts"));
    }
    state.artifacts.complete(&target, &fields.text("upload_id")?, &parts).await?;
    Ok(Response::new(Body::empty()))
}

pub(super) async fn abort(
    Extract(state): Extract<State>,
    params: RawPathParams,
    request: Request,
) -> Outcome {
    let fields = Fields::read(request).await?;
    let target = target(&params, &fields)?;
    state.artifacts.abort(&target, &fields.text("upload_id")?).await?;
    Ok(Response::new(Body::empty()))
}

/// Where a client may fetch a file by ranges, in parallel: here.
pub(super) async fn presigned(
    Extract(state): Extract<State>,
    params: RawPathParams,
    headers: HeaderMap,
) -> Outcome {
    let path = checked(in_url(&params))?;
    let size = state.artifacts.find(&path).await?.size;
    let url = format!("{}/api/2.0/mlflow-artifacts/artifacts/{}", base(&headers), encoded(path.as_str()));
    Ok(Json(json!({ "url": url, "headers": {}, "file_size": size })).into_response())
}

/// What the client calls this server, as it said itself or as the proxy in front of us did.
fn base(headers: &HeaderMap) -> String {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let secure = text(&FORWARDED_PROTO).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    let scheme = if secure { "https" } else { "http" };
    format!("{scheme}://{}", text(&header::HOST).unwrap_or("localhost"))
}

/// Percent-encoded, slashes aside.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
