//! The request goes up, the response's head comes back. Never retried here, never redirected: what the
//! upstream says is the client's to read.

use std::{pin::pin, time::Duration};

use http::{Request, Response, Version, header, request};
use hyper::body::{Body as _, Incoming};

use super::{Upload, Ways, blame::Blame, headers, route::Route, upload::Progress};
use crate::{model::duration, upstream::Fault};

/// The request as the upstream gets it.
pub(super) fn request(
    mut head: request::Parts,
    body: Upload,
    route: &Route,
    tunnel: bool,
) -> Result<Request<Upload>, Blame> {
    let sized = head.headers.contains_key(header::CONTENT_LENGTH)
        && !head.headers.contains_key(header::TRANSFER_ENCODING);
    let unsized_body = !body.is_end_stream() && !sized;
    head.uri = route
        .upstream
        .uri(&route.target)
        .map_err(|error| Blame::Client { code: "bad_path", message: error.message })?;
    head.headers = headers::request(&head.headers, head.version, &route.upstream, tunnel, unsized_body);
    head.version = Version::HTTP_11;
    // The extensions stay: hyper keeps the header names' case there.
    Ok(Request::from_parts(head, body))
}

/// Sends it and waits for the response's head, as long as the upload moves and then for the time-out.
pub(super) async fn send(
    ways: &Ways,
    request: Request<Upload>,
    route: &Route,
    progress: &Progress,
) -> Result<Response<Incoming>, Blame> {
    let limit = route.upstream.response_timeout.unwrap_or(ways.config.response_timeout);
    let mut answer = pin!(ways.client.request(request));
    loop {
        let left = limit.saturating_sub(progress.quiet_for());
        tokio::select! {
            biased;
            answered = &mut answer => {
                return answered.map_err(|error| {
                    progress.blame().unwrap_or_else(|| Blame::of_exchange(&error, &route.upstream))
                });
            }
            () = tokio::time::sleep(left), if limit > Duration::ZERO => {
                if progress.quiet_for() >= limit {
                    let within = duration::print(limit);
                    let message = format!("no response from upstream {:?} within {within}", route.upstream.name);
                    return Err(Blame::Upstream(Fault::timeout(message)));
                }
            }
        }
    }
}
