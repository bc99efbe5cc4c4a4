//! Artifacts over HTTP: files stream in and out under a path below the one root, and the tracking API lists those
//! of a run or a model. What a client calls a path is checked before anything else sees it.

mod conditional;
mod download;
mod media;
mod multipart;
mod of_owner;

use axum::{
    Router,
    body::Body,
    extract::{RawPathParams, Request, State as Extract},
    response::Response,
    routing::{MethodFilter, get, post, put},
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::HeaderMap;
use serde::Serialize;

pub(super) use self::of_owner::routes;
use super::{
    State,
    encode::{self, Nothing},
    endpoint,
    error::Failure,
    request::Fields,
};
use crate::artifacts::{ArtifactPath, Content, Entry};

type Outcome = Result<Response, Failure>;

/// MLflow's words for every path that is refused; they say nothing about why, and clients know them.
const INVALID_PATH: &str = "Invalid path";

/// Routes that are not below the tracking API.
pub(super) fn router() -> Router<State> {
    let mut router = Router::new();
    for prefix in ["/api/2.0/mlflow-artifacts", "/ajax-api/2.0/mlflow-artifacts"] {
        let at = |path: &str| format!("{prefix}{path}");
        router = router
            .route(&at("/artifacts"), endpoint(MethodFilter::GET, list))
            .route(&at("/artifacts/{*path}"), get(download).put(upload).delete(delete))
            .route(&at("/mpu/create/{*path}"), post(multipart::create))
            .route(&at("/mpu/part/{*path}"), put(multipart::put_part))
            .route(&at("/mpu/complete/{*path}"), post(multipart::complete))
            .route(&at("/mpu/abort/{*path}"), post(multipart::abort))
            .route(&at("/presigned/{*path}"), get(multipart::presigned));
    }
    router
        .route("/get-artifact", get(of_owner::get_artifact))
        .route("/ajax-api/2.0/mlflow/upload-artifact", post(of_owner::upload_artifact))
        .route("/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files", get(of_owner::model_file))
}

fn checked(path: &str) -> Result<ArtifactPath, Failure> {
    ArtifactPath::parse(path).map_err(|_| Failure::invalid(INVALID_PATH))
}

/// What the URL says behind its fixed part, decoded once.
fn in_url(params: &RawPathParams) -> &str {
    params.iter().next().map_or("", |(_, path)| path)
}

/// A request's body as what is kept.
fn content(body: Body) -> Content {
    body.into_data_stream().map_err(std::io::Error::other).boxed()
}

async fn download(Extract(state): Extract<State>, params: RawPathParams, headers: HeaderMap) -> Outcome {
    Ok(download::send(&state.artifacts, &checked(in_url(&params))?, &headers).await?)
}

async fn upload(Extract(state): Extract<State>, params: RawPathParams, request: Request) -> Outcome {
    let path = in_url(&params);
    // A directory is no file; without its slash the path would be another one's.
    if path.ends_with('/') {
        return Err(Failure::invalid(INVALID_PATH));
    }
    state.artifacts.put(&checked(path)?, content(request.into_body())).await?;
    Ok(Response::new(Body::empty()))
}

async fn delete(Extract(state): Extract<State>, params: RawPathParams) -> Outcome {
    state.artifacts.delete(&checked(in_url(&params))?).await?;
    Ok(encode::json(&Nothing {}))
}

async fn list(state: State, fields: Fields) -> Result<Listing, Failure> {
    let path = fields.text("path")?;
    let directory = if path.is_empty() { None } else { Some(checked(&path)?) };
    let entries = state.artifacts.list(directory.as_ref()).await?;
    Ok(Listing { root_uri: None, files: files(entries, None) })
}

#[derive(Debug, Serialize)]
struct Listing {
    #[serde(skip_serializing_if = "Option::is_none")]
    root_uri: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<FileInfo>,
}

#[derive(Debug, Serialize)]
struct FileInfo {
    path: String,
    is_dir: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_size: Option<u64>,
}

/// `below`: the listed directory as the client named it, where paths are wanted from further up.
fn files(entries: Vec<Entry>, below: Option<&ArtifactPath>) -> Vec<FileInfo> {
    let info = |entry: Entry| FileInfo {
        path: match below {
            Some(directory) => format!("{directory}/{}", entry.name),
            None => entry.name,
        },
        is_dir: entry.size.is_none(),
        file_size: entry.size,
    };
    entries.into_iter().map(info).collect()
}
