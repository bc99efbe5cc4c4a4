//! Kinds of calls: each combination of upstream, provider, model, operation and status that there was, once and
//! with a number. There are few, so a filter on any of these fields, or on several, is a list of numbers, and
//! one index serves all of them.

use rusqlite::{Connection, OptionalExtension, ToSql};

use super::profiles;
use crate::model::{Error, call::Call, filter::CallFilter};

const FIND: &str = "
    SELECT id FROM kinds WHERE upstream = ?1 AND provider = ?2 AND model = ?3 AND operation = ?4 AND status = ?5";
const INSERT: &str =
    "INSERT INTO kinds (upstream, provider, model, operation, status) VALUES (?1, ?2, ?3, ?4, ?5)";

/// The number of a call's kind, which is made when it is new. The writer remembers it with the call's profile.
pub(super) fn of(connection: &Connection, call: &Call) -> Result<i64, Error> {
    let model = call.model().unwrap_or_default();
    let fields = [&call.upstream, &call.provider, model, &call.operation, call.status.as_str()];
    if let Some(id) = connection.prepare_cached(FIND)?.query_row(fields, |row| row.get(0)).optional()? {
        return Ok(id);
    }
    connection.prepare_cached(INSERT)?.execute(fields)?;
    Ok(connection.last_insert_rowid())
}

/// The kinds that a filter asks for; `None` where it asks for none of their fields.
pub(super) fn asked(connection: &Connection, filter: &CallFilter) -> Result<Option<Vec<i64>>, Error> {
    let status = filter.status.map(|status| status.as_str().to_owned());
    let fields = [
        ("upstream = ?", &filter.upstream),
        ("provider = ?", &filter.provider),
        ("model = ?", &filter.model),
        ("operation = ?", &filter.operation),
        ("status = ?", &status),
    ];
    let asked: Vec<_> =
        fields.into_iter().filter_map(|(term, value)| Some((term, value.as_ref()?))).collect();
    if asked.is_empty() {
        return Ok(None);
    }
    let terms: Vec<_> = asked.iter().map(|(term, _)| *term).collect();
    let values: Vec<&dyn ToSql> = asked.iter().map(|(_, value)| *value as &dyn ToSql).collect();
    let mut statement =
        connection.prepare_cached(&["SELECT id FROM kinds WHERE ", &terms.join(" AND ")].concat())?;
    Ok(Some(statement.query_map(&*values, |row| row.get(0))?.collect::<Result<_, _>>()?))
}

const DROP_UNUSED: &str =
    "DELETE FROM kinds WHERE NOT EXISTS (SELECT 1 FROM spans INDEXED BY spans_by_kind WHERE kind = kinds.id)";

/// Drops kinds that no call is of any more, with their profiles; whoever remembers these forgets them after this.
pub(super) fn drop_unused(connection: &Connection) -> Result<(), Error> {
    if connection.prepare_cached(DROP_UNUSED)?.execute([])? > 0 {
        profiles::drop_kindless(connection)?;
    }
    Ok(())
}
