//! Where an experiment's artifacts may be said to be. The server never opens what is written here: clients
//! do. Still nothing is taken that was used to lead servers or clients astray.

use super::{error::Failure, limits};

pub(super) fn check(location: &str) -> Result<(), Failure> {
    let (before_fragment, fragment) = location.split_once('#').unwrap_or((location, ""));
    let path = before_fragment.split_once('?').map_or(before_fragment, |(path, _)| path);
    let last = path.rsplit('/').next().unwrap_or_default();
    if !fragment.is_empty() || last.split_once(';').is_some_and(|(_, params)| !params.is_empty()) {
        return Err(Failure::invalid("'artifact_location' URL can't include fragments or params."));
    }
    let query = before_fragment.split_once('?').map_or("", |(_, query)| query);
    if query.contains("..") || query.to_ascii_lowercase().contains("%2e") {
        return Err(Failure::invalid("Invalid query string: 'artifact_location' may not hold '..'"));
    }
    if location.starts_with("runs:") {
        return Err(Failure::invalid(format!(
            "Artifact location cannot be a runs:/ URI. Given: '{location}'"
        )));
    }
    limits::artifact_location(location)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_were_used_for_attacks_are_refused() {
        for good in ["s3://bucket/a", "mlflow-artifacts:/5", "/srv/a;/b", "dbfs:/x?y=1", "file:///tmp/a"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in
            ["http://h/#/../../etc", "s3://b/a;param", "s3://b/a?x=../..", "runs:/abc/x", "s3://b?%2E%2e/"]
        {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check(&format!("s3://{}", "x".repeat(2048))).unwrap_err().message.contains("2048"));
    }
}
