//! The records of an evaluation dataset. Records with the same inputs are one record, into which what is said
//! later is merged; the dataset's schema, profile and digest follow.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{digest, find, schema};
use crate::model::{
    Error, UnixNanos,
    evaluation_dataset::{EvaluationRecord, NewEvaluationRecord, RecordSource, USER_TAG},
};

const FIND: &str = "
    SELECT number, expectations, tags FROM evaluation_records WHERE dataset = ?1 AND input_hash = ?2";
const ADD: &str = "
    INSERT INTO evaluation_records (
        id, dataset, input_hash, inputs, outputs, expectations, tags, source, created_at, updated_at,
        created_by, updated_by
    ) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?10)";
const MERGE: &str = "
    UPDATE evaluation_records SET
        outputs = iif(?2, ?3, outputs), expectations = ?4, tags = ?5, updated_at = ?6,
        updated_by = coalesce(?7, updated_by)
    WHERE number = ?1";
const DESCRIBE: &str = "
    UPDATE evaluation_datasets SET updated_at = ?2, updated_by = ?3, digest = ?4, schema = ?5, profile = ?6
    WHERE number = ?1";
const COUNT: &str = "SELECT count(*) FROM evaluation_records WHERE dataset = ?1";

/// How many were made, and how many were merged.
pub(in crate::store::tracking) fn upsert_records(
    connection: &Connection,
    id: &str,
    records: Vec<NewEvaluationRecord>,
    at: UnixNanos,
) -> Result<(u64, u64), Error> {
    let Some((dataset, head)) = find(connection, id)? else {
        return Err(Error::not_found(format!("Evaluation dataset with id '{id}' not found")));
    };
    let (mut inserted, mut updated, mut writer) = (0, 0, None);
    let mut described = schema::Schema::read(head.schema.as_deref());
    for record in records {
        described.add(&record);
        let user = record.tags.get(USER_TAG).and_then(Value::as_str).map(str::to_owned);
        let hash = Sha256::digest(canonical(&record.inputs).as_bytes()).to_vec();
        let known: Option<(i64, String, String)> = connection
            .prepare_cached(FIND)?
            .query_row(params![dataset, hash], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        // Absent outputs of a new record are an empty object (MLflow's way); null takes them away.
        let outputs =
            record.outputs.clone().filter(|outputs| !outputs.is_null()).map(|outputs| outputs.to_string());
        match known {
            Some((number, expectations, tags)) => {
                let expectations = merged(&expectations, &record.expectations)?;
                let tags = merged(&tags, &record.tags)?;
                let says = record.outputs.is_some();
                connection.prepare_cached(MERGE)?.execute(params![
                    number,
                    says,
                    outputs,
                    expectations,
                    tags,
                    at.0,
                    user
                ])?;
                updated += 1;
            }
            None => {
                let outputs = if record.outputs.is_none() { Some("{}".to_owned()) } else { outputs };
                let source = record.source.as_ref().map(json).transpose()?;
                connection.prepare_cached(ADD)?.execute(params![
                    format!("dr-{}", uuid::Uuid::new_v4().simple()),
                    dataset,
                    hash,
                    json(&record.inputs)?,
                    outputs,
                    json(&record.expectations)?,
                    json(&record.tags)?,
                    source,
                    at.0,
                    user
                ])?;
                inserted += 1;
            }
        }
        writer = user.or(writer);
    }
    let profile = profile(connection, dataset)?;
    connection.prepare_cached(DESCRIBE)?.execute(params![
        dataset,
        at.0,
        writer,
        digest(&head.name, at),
        described.write(),
        profile
    ])?;
    Ok((inserted, updated))
}

fn profile(connection: &Connection, dataset: i64) -> Result<Option<String>, Error> {
    let count: i64 = connection.prepare_cached(COUNT)?.query_row([dataset], |row| row.get(0))?;
    Ok((count > 0).then(|| format!("{{\"num_records\": {count}}}")))
}

/// JSON with the keys of every object in order, so that equal inputs are equal text.
fn canonical(inputs: &Map<String, Value>) -> String {
    let mut whole = Value::Object(inputs.clone());
    whole.sort_all_objects();
    whole.to_string()
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal(format!("expected a record that JSON can hold, found: {error}")))
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text)
        .map_err(|error| Error::internal(format!("expected JSON in an evaluation record, found: {error}")))
}

fn merged(known: &str, more: &Map<String, Value>) -> Result<String, Error> {
    if more.is_empty() {
        return Ok(known.to_owned());
    }
    let mut all: Map<String, Value> = parse(known)?;
    all.extend(more.iter().map(|(key, value)| (key.clone(), value.clone())));
    json(&all)
}

const PAGE: &str = "
    SELECT r.number, r.id, r.inputs, r.outputs, r.expectations, r.tags, r.source, r.created_at, r.updated_at,
        r.created_by, r.updated_by
    FROM evaluation_records AS r
    WHERE r.dataset = (SELECT number FROM evaluation_datasets WHERE id = ?1) AND r.number > ?2
    ORDER BY r.number LIMIT ?3";

/// A page in the order of making. A dataset that is not there has no records.
pub(in crate::store::tracking) fn records(
    connection: &Connection,
    id: &str,
    after: i64,
    limit: u64,
) -> Result<(Vec<EvaluationRecord>, Option<i64>), Error> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let asked = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut statement = connection.prepare_cached(PAGE)?;
    let mut rows = statement.query(params![id, after, asked])?;
    let mut page = Vec::new();
    let mut place = after;
    while let Some(row) = rows.next()? {
        if page.len() == limit {
            return Ok((page, Some(place)));
        }
        place = row.get(0)?;
        page.push(read(row)?);
    }
    Ok((page, None))
}

fn read(row: &Row<'_>) -> Result<EvaluationRecord, Error> {
    let text = |at: usize| row.get::<_, String>(at);
    let optional = |at: usize| row.get::<_, Option<String>>(at);
    Ok(EvaluationRecord {
        id: row.get(1)?,
        inputs: parse(&text(2)?)?,
        outputs: optional(3)?.map(|text| parse(&text)).transpose()?,
        expectations: parse(&text(4)?)?,
        tags: parse(&text(5)?)?,
        source: optional(6)?.map(|text| parse::<RecordSource>(&text)).transpose()?,
        created_at: UnixNanos(row.get(7)?),
        updated_at: UnixNanos(row.get(8)?),
        created_by: row.get(9)?,
        updated_by: row.get(10)?,
    })
}

const DELETE: &str = "DELETE FROM evaluation_records WHERE dataset = ?1 AND id = ?2";
const SET_PROFILE: &str = "UPDATE evaluation_datasets SET profile = ?2 WHERE number = ?1";

pub(in crate::store::tracking) fn delete_records(
    connection: &Connection,
    id: &str,
    records: &[String],
) -> Result<u64, Error> {
    let Some((dataset, _)) = find(connection, id)? else { return Ok(0) };
    let mut deleted = 0;
    for record in records {
        deleted += connection.prepare_cached(DELETE)?.execute(params![dataset, record])? as u64;
    }
    if deleted > 0 {
        connection.prepare_cached(SET_PROFILE)?.execute(params![dataset, profile(connection, dataset)?])?;
    }
    Ok(deleted)
}
