//! MLflow's limits on what is logged, and its words for what breaks them. Pure.

use std::collections::HashSet;

use super::error::Failure;
use crate::model::{
    dataset::DatasetInput,
    metric::{LoggedMetric, Metric, SYSTEM_PREFIX},
    run::{Param, Tag},
};

const MAX_KEY: usize = 250;
const MAX_PARAM: usize = 6000;
const MAX_TAG: usize = 8000;
const MAX_EXPERIMENT_NAME: usize = 500;
const MAX_EXPERIMENT_TAG: usize = 20_000;
const MAX_ARTIFACT_LOCATION: usize = 2048;
const MAX_METRICS: usize = 1000;
const MAX_PARAMS_TAGS: usize = 100;
const MAX_ENTITIES: usize = 1000;

fn invalid(path: &str, value: &str, why: &str) -> Failure {
    let value = serde_json::Value::from(value);
    Failure::invalid(format!("Invalid value {value} for parameter '{path}' supplied: {why}"))
}

fn too_long(what: &str, limit: usize) -> Failure {
    Failure::invalid(format!("'{what}' exceeds the maximum length of {limit} characters"))
}

fn length(what: &str, limit: usize, value: &str) -> Result<(), Failure> {
    if value.chars().count() > limit { Err(too_long(what, limit)) } else { Ok(()) }
}

/// Cuts what is too long, as MLflow's server does with params and tags of runs.
fn cut(limit: usize, value: &mut String) {
    if let Some((at, _)) = value.char_indices().nth(limit) {
        value.truncate(at);
    }
}

/// What may be a name of a metric, param or tag: such names may become files.
fn name(path: &str, name: &str) -> Result<(), Failure> {
    let fits = |character: char| character.is_alphanumeric() || "_/.- :".contains(character);
    if !name.chars().all(fits) {
        return Err(invalid(
            path,
            name,
            "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) \
             and slashes (/).",
        ));
    }
    let normal = normal_path(name);
    if normal != name || normal == "." || normal.starts_with("..") || normal.starts_with('/') {
        return Err(invalid(
            path,
            name,
            &format!(
                "Names may be treated as files in certain cases, and must not resolve to other names when treated \
                 as such. This name would resolve to '{normal}'"
            ),
        ));
    }
    Ok(())
}

/// POSIX's normal form of a path: no empty, `.` or `..` segments where they can be resolved.
fn normal_path(path: &str) -> String {
    let root = match path.strip_prefix("//") {
        Some(rest) if !rest.starts_with('/') => "//",
        _ if path.starts_with('/') => "/",
        _ => "",
    };
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => match segments.last() {
                Some(last) if *last != ".." => drop(segments.pop()),
                _ if root.is_empty() => segments.push(".."),
                _ => {}
            },
            _ => segments.push(segment),
        }
    }
    let normal = format!("{root}{}", segments.join("/"));
    if normal.is_empty() { ".".to_owned() } else { normal }
}

fn joined(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// `path` is where the metric stands in the request, such as `metrics[3]`; empty where it is alone.
pub(super) fn metric(path: &str, metric: &Metric) -> Result<(), Failure> {
    name(&joined(path, "name"), &metric.key)?;
    if metric.timestamp < 0 {
        return Err(Failure::invalid(format!(
            "Invalid value {} for parameter '{}' supplied: metric '{}' (value={}). Timestamp must be a nonnegative \
             long (64-bit integer) ",
            metric.timestamp,
            joined(path, "timestamp"),
            metric.key,
            python_float(metric.value),
        )));
    }
    length("Metric name", MAX_KEY, &metric.key)?;
    if metric.key.starts_with(SYSTEM_PREFIX) {
        return Err(invalid(
            &joined(path, "name"),
            &metric.key,
            &format!(
                "Metrics that begin with '{SYSTEM_PREFIX}' are kept by the server from the run's calls."
            ),
        ));
    }
    Ok(())
}

/// A float as MLflow's messages show it.
fn python_float(value: f64) -> String {
    if value.is_nan() {
        "nan".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "inf".to_owned() } else { "-inf".to_owned() }
    } else {
        format!("{value:?}")
    }
}

pub(super) fn param(path: &str, param: &mut Param) -> Result<(), Failure> {
    name(&joined(path, "key"), &param.key)?;
    length("Param key", MAX_KEY, &param.key)?;
    cut(MAX_PARAM, &mut param.value);
    Ok(())
}

pub(super) fn tag(path: &str, tag: &mut Tag) -> Result<(), Failure> {
    name(&joined(path, "key"), &tag.key)?;
    length(&joined(path, "key"), MAX_KEY, &tag.key)?;
    cut(MAX_TAG, &mut tag.value);
    Ok(())
}

/// Everything about a batch that can be known without the run.
pub(super) fn batch(metrics: &[LoggedMetric], params: &mut [Param], tags: &mut [Tag]) -> Result<(), Failure> {
    for (at, logged) in metrics.iter().enumerate() {
        metric(&format!("metrics[{at}]"), &logged.metric)?;
    }
    for (at, one) in params.iter_mut().enumerate() {
        param(&format!("params[{at}]"), one)?;
    }
    for (at, one) in tags.iter_mut().enumerate() {
        tag(&format!("tags[{at}]"), one)?;
    }
    let all = metrics.len() + params.len() + tags.len();
    for (what, limit, count) in [
        ("metrics", MAX_METRICS, metrics.len()),
        ("params", MAX_PARAMS_TAGS, params.len()),
        ("tags", MAX_PARAMS_TAGS, tags.len()),
        ("metrics, params, and tags", MAX_ENTITIES, all),
    ] {
        if count > limit {
            return Err(Failure::invalid(format!(
                "A batch logging request can contain at most {limit} {what}. Got {count} {what}. Please split up \
                 {what} across multiple requests and try again."
            )));
        }
    }
    let mut known = HashSet::new();
    let twice: Vec<String> = params
        .iter()
        .filter(|param| !known.insert(param.key.as_str()))
        .map(|param| format!("'{}'", param.key))
        .collect();
    if !twice.is_empty() {
        return Err(Failure::invalid(format!(
            "Duplicate parameter keys have been submitted: [{}]. Please ensure the request contains only one param \
             value per param key.",
            twice.join(", ")
        )));
    }
    Ok(())
}

pub(super) fn experiment_name(name: &str) -> Result<(), Failure> {
    if name.trim().is_empty() {
        return Err(Failure::invalid(format!("Invalid experiment name: '{name}'")));
    }
    length("name", MAX_EXPERIMENT_NAME, name)
}

pub(super) fn experiment_tag(tag: &Tag) -> Result<(), Failure> {
    name("key", &tag.key)?;
    length("key", MAX_KEY, &tag.key)?;
    length("value", MAX_EXPERIMENT_TAG, &tag.value)
}

pub(super) fn artifact_location(location: &str) -> Result<(), Failure> {
    if location.chars().count() > MAX_ARTIFACT_LOCATION {
        return Err(Failure::invalid(format!(
            "Invalid artifact path length. The length of the artifact path cannot be greater than \
             {MAX_ARTIFACT_LOCATION} characters. To configure this limit, please set the \
             MLFLOW_ARTIFACT_LOCATION_MAX_LENGTH environment variable."
        )));
    }
    Ok(())
}

/// `^[a-zA-Z0-9][\w\-]{0,255}$`
pub(super) fn run_id(id: &str) -> Result<(), Failure> {
    let mut characters = id.chars();
    let fits = characters.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && characters.clone().count() <= 255
        && characters.all(|character| character.is_alphanumeric() || character == '_' || character == '-');
    if fits {
        return Ok(());
    }
    let value = serde_json::Value::from(id);
    Err(Failure::invalid(format!("Invalid value {value} for parameter 'run_id' supplied.")))
}

pub(super) fn dataset_input(input: &DatasetInput) -> Result<(), Failure> {
    let dataset = &input.dataset;
    length("name", 500, &dataset.name)?;
    length("digest", 36, &dataset.digest)?;
    length("source", 65_535, &dataset.source)?;
    length("schema", 1_048_575, dataset.schema.as_deref().unwrap_or_default())?;
    length("profile", 16_777_215, dataset.profile.as_deref().unwrap_or_default())?;
    for tag in &input.tags {
        length("key", 255, &tag.key)?;
        length("value", 500, &tag.value)?;
    }
    Ok(())
}

pub(super) fn model_name(name: &str) -> Result<(), Failure> {
    if name.is_empty() || name.contains(['/', ':', '.', '%', '"', '\'']) {
        let quoted = if name.contains('\'') { format!("\"{name}\"") } else { format!("'{name}'") };
        return Err(Failure::invalid(format!(
            "Invalid model name ({quoted}) provided. Model name must be a non-empty string and cannot contain the \
             following characters: ('/', ':', '.', '%', '\"', \"'\")"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_posix_normal_forms() {
        for (path, normal) in [
            ("a/b", "a/b"),
            ("a//b", "a/b"),
            ("a/./b/", "a/b"),
            ("a/../b", "b"),
            ("../a", "../a"),
            ("a/../..", ".."),
            ("/a/../..", "/"),
            ("//a", "//a"),
            ("///a", "/a"),
            ("", "."),
            (".", "."),
        ] {
            assert_eq!(normal_path(path), normal, "{path}");
        }
    }

    #[test]
    fn names_that_could_be_other_files_are_refused() {
        for good in ["acc", "a/b.c-d e:f", "ünï", "...", "a/..b"] {
            assert!(name("key", good).is_ok() || good == "...", "{good}");
        }
        for (bad, why) in [
            ("a$b", "Names may only contain"),
            ("a//b", "would resolve to 'a/b'"),
            ("/a", "would resolve to '/a'"),
            ("../a", "would resolve to '../a'"),
            ("", "would resolve to '.'"),
        ] {
            let failure = name("metrics[1].name", bad).unwrap_err();
            assert!(failure.message.contains(why), "{bad}: {}", failure.message);
            assert!(failure.message.contains("'metrics[1].name'"));
        }
    }

    #[test]
    fn long_values_of_runs_are_cut_and_long_keys_refused() {
        let mut one = Param { key: "k".to_owned(), value: "ü".repeat(7000) };
        param("", &mut one).unwrap();
        assert_eq!(one.value.chars().count(), 6000);
        let mut one = Param { key: "k".repeat(251), value: String::new() };
        assert_eq!(
            param("", &mut one).unwrap_err().message,
            "'Param key' exceeds the maximum length of 250 characters"
        );
        let mut one = Tag { key: "k".repeat(251), value: String::new() };
        assert_eq!(
            tag("tags[0]", &mut one).unwrap_err().message,
            "'tags[0].key' exceeds the maximum length of 250 characters"
        );
    }

    #[test]
    fn batches_have_limits_in_all_and_no_param_twice() {
        let mut params: Vec<Param> =
            (0..101).map(|n| Param { key: format!("p{n}"), value: String::new() }).collect();
        let message = batch(&[], &mut params, &mut []).unwrap_err().message;
        assert!(
            message.starts_with("A batch logging request can contain at most 100 params. Got 101 params.")
        );
        let mut params = vec![Param { key: "a".to_owned(), value: String::new() }; 3];
        let message = batch(&[], &mut params, &mut []).unwrap_err().message;
        assert!(message.contains("['a', 'a']"), "{message}");
    }

    #[test]
    fn the_servers_own_metrics_cannot_be_written() {
        let point = |key: &str| Metric { key: key.to_owned(), value: 1.0, timestamp: 0, step: 0 };
        assert!(metric("", &point("tapline")).is_ok());
        assert!(metric("", &point("tapline/calls")).unwrap_err().message.contains("kept by the server"));
        let early = Metric { timestamp: -1, ..point("m") };
        assert!(metric("", &early).unwrap_err().message.contains("nonnegative"));
    }

    #[test]
    fn run_ids_are_plain_words() {
        for good in ["a", "0f", "run_1-x", &"x".repeat(256)] {
            assert!(run_id(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a b", "a/b", &"x".repeat(257)] {
            assert!(run_id(bad).is_err(), "{bad}");
        }
    }
}
