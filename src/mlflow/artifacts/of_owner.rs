//! Artifacts of a run or of a logged model: what the tracking API, old scripts and the browser ask by the owner's
//! id instead of a path from the root. Only what this server keeps is given out: an artifact URI that points
//! elsewhere is the client's to open, never ours.

use axum::{
    body::Body,
    extract::{Query, Request, State as Extract},
    response::Response,
    routing::{MethodFilter, MethodRouter},
};
use http::HeaderMap;

use super::{
    super::{State, endpoint, error::Failure, request::Fields},
    INVALID_PATH, Listing, Outcome, checked, content, download, files,
};
use crate::artifacts::ArtifactPath;

/// Largest file that a browser may upload at once, as in MLflow.
const LARGEST_UPLOAD: usize = 10 << 20;

/// Routes below the tracking API.
pub(in super::super) fn routes() -> Vec<(&'static str, MethodRouter<State>)> {
    vec![
        ("/artifacts/list", endpoint(MethodFilter::GET, of_run)),
        ("/artifacts/presigned-upload-url", endpoint(MethodFilter::POST, presigned_upload)),
        ("/artifacts/presigned-download-url", endpoint(MethodFilter::POST, presigned_download)),
        ("/logged-models/{model_id}/artifacts/directories", endpoint(MethodFilter::GET, of_model)),
    ]
}

async fn of_run(state: State, fields: Fields) -> Result<Listing, Failure> {
    let run = state.store.run_whole(fields.run_id()?).await?.run;
    listed(&state, run.artifact_uri, &fields.text("path")?).await
}

async fn of_model(state: State, fields: Fields) -> Result<Listing, Failure> {
    let model = state.store.logged_model(fields.in_path("model_id"), false).await?;
    listed(&state, model.artifact_uri, &fields.text("artifact_directory_path")?).await
}

/// Paths in the answer are relative to the owner's root, not to the listed directory.
async fn listed(state: &State, root_uri: String, path: &str) -> Result<Listing, Failure> {
    let below = if path.is_empty() { None } else { Some(checked(path)?) };
    let directory = place(&root_uri, below.as_ref())?;
    let entries = state.artifacts.list(Some(&directory)).await?;
    Ok(Listing { root_uri: Some(root_uri), files: files(entries, below.as_ref()) })
}

/// A path of an owner's as a path from the root.
fn place(root_uri: &str, path: Option<&ArtifactPath>) -> Result<ArtifactPath, Failure> {
    let root = ArtifactPath::of_uri(root_uri)?;
    match path {
        Some(path) => root.join(path.as_str()).map_err(|_| Failure::invalid(INVALID_PATH)),
        None => Ok(root),
    }
}

/// The download of old scripts and of the browser.
pub(super) async fn get_artifact(
    Extract(state): Extract<State>,
    headers: HeaderMap,
    request: Request,
) -> Outcome {
    let fields = Fields::read(request).await?;
    let path = checked(&fields.required("path")?)?;
    let run = state.store.run_whole(fields.run_id()?).await?.run;
    Ok(download::send(&state.artifacts, &place(&run.artifact_uri, Some(&path))?, &headers).await?)
}

pub(super) async fn model_file(
    Extract(state): Extract<State>,
    headers: HeaderMap,
    request: Request,
) -> Outcome {
    let fields = Fields::read(request).await?;
    let path = checked(&fields.required("artifact_file_path")?)?;
    let model = state.store.logged_model(fields.in_path("model_id"), false).await?;
    Ok(download::send(&state.artifacts, &place(&model.artifact_uri, Some(&path))?, &headers).await?)
}

/// The upload of the browser: a small file in the body, run and path in the query.
pub(super) async fn upload_artifact(Extract(state): Extract<State>, request: Request) -> Outcome {
    let pairs: Vec<(String, String)> =
        Query::try_from_uri(request.uri()).map(|Query(pairs)| pairs).unwrap_or_default();
    let said = |name: &str| {
        pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value).filter(|one| !one.is_empty())
    };
    let run = said("run_id").or_else(|| said("run_uuid"));
    let run = run.ok_or_else(|| Failure::invalid("Request must specify run_id or run_uuid."))?.clone();
    let path = checked(said("path").ok_or_else(|| Failure::invalid("Request must specify path."))?)?;
    let body = axum::body::to_bytes(request.into_body(), LARGEST_UPLOAD)
        .await
        .map_err(|_| Failure::invalid("Artifact size is too large. Max size is 10MB."))?;
    if body.is_empty() {
        return Err(Failure::invalid("Request must specify data."));
    }
    let run = state.store.run_whole(run).await?.run;
    state.artifacts.put(&place(&run.artifact_uri, Some(&path))?, content(Body::from(body))).await?;
    Ok(Response::new(Body::empty()))
}

/// Presigned addresses are for artifacts that lie elsewhere; ours stream through this server.
async fn presigned_upload(state: State, fields: Fields) -> Result<Listing, Failure> {
    let (run, model) = (fields.text("run_id")?, fields.text("model_id")?);
    checked(&fields.required("path")?)?;
    let uri = match (run.is_empty(), model.is_empty()) {
        (false, true) => state.store.run_whole(run).await?.run.artifact_uri,
        (true, false) => state.store.logged_model(model, false).await?.artifact_uri,
        _ => return Err(Failure::invalid("Exactly one of run_id and model_id must be provided.")),
    };
    Err(Failure::invalid(format!(
        "Presigned upload is not supported for proxied artifact storage (artifact URI scheme: {}). This endpoint \
         requires a direct cloud storage artifact URI.",
        scheme(&uri)
    )))
}

async fn presigned_download(state: State, fields: Fields) -> Result<Listing, Failure> {
    let run = fields.required("run_id")?;
    checked(&fields.required("path")?)?;
    let uri = state.store.run_whole(run).await?.run.artifact_uri;
    Err(Failure::invalid(format!(
        "Presigned download is not supported for runs with proxied artifact storage (artifact URI scheme: {}). This \
         endpoint requires a run with a direct cloud storage artifact URI.",
        scheme(&uri)
    )))
}

fn scheme(uri: &str) -> &str {
    uri.split_once(':').map_or("", |(scheme, _)| scheme)
}
