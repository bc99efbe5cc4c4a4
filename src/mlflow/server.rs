//! What the server says of itself.

use axum::Json;
use http::header;
use serde_json::{Value, json};

/// The MLflow whose server this one stands in for. Clients read it as MLflow's version and choose by it what
/// they send (from 3.4 on, traces over OTLP), so it is not tapline's own.
const MLFLOW_VERSION: &str = "3.18.0";

pub(super) async fn version() -> ([(header::HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], MLFLOW_VERSION)
}

pub(super) async fn health() -> &'static str {
    "OK"
}

/// What clients may use. Transfers in parts and presigned addresses are not offered: plain ones stream.
pub(super) async fn info() -> Json<Value> {
    Json(json!({
        "store_type": "SqlStore",
        "workspaces_enabled": false,
        "trace_archival_enabled": false,
        "multipart_uploads_enabled": false,
        "multipart_downloads_enabled": false,
        "artifact_serving_enabled": true,
        "presigned_upload_run_id_supported": false,
        "presigned_upload_model_id_supported": false,
        "model_artifact_presigned_downloads_supported": false,
        "features_enabled": { "gateway": false, "scheduled_issue_detection": false },
        "tracking_auth": "",
        "artifacts_presigned_only": false,
    }))
}
