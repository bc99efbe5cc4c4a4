//! The list of calls: from a filter to SQL and a page of rows. The text is put together from fixed
//! fragments only; every value is bound.

use rusqlite::{Connection, ToSql};

use super::{calls, runs};
use crate::model::{
    Error,
    call::{Call, CallStatus},
    filter::{CallFilter, Cursor, Page, PageRequest},
};

/// Rows of a page that asks for none, and the most that one may ask for.
const DEFAULT_LIMIT: usize = 100;
const MOST: usize = 10_000;

/// Newest first, by start and then by id, so that equal starts have an order too.
pub(super) fn page(
    connection: &Connection,
    filter: &CallFilter,
    page: &PageRequest,
) -> Result<Page<Call>, Error> {
    let limit = if page.limit == 0 { DEFAULT_LIMIT } else { page.limit.min(MOST) };
    // One more than asked for tells whether there is a next page.
    let Some(select) = Select::new(connection, filter, page.cursor, limit + 1)? else {
        return Ok(Page { items: Vec::new(), next: None });
    };
    let mut statement = connection.prepare_cached(&select.text)?;
    // Only numbers pass through the sort; rows are read for the page alone.
    let mut sequences: Vec<i64> =
        statement.query_map(&*select.values(), |row| row.get(0))?.collect::<Result<_, _>>()?;
    let more = sequences.len() > limit;
    sequences.truncate(limit);
    let mut items = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        items.extend(calls::by_sequence(connection, sequence)?);
    }
    let next = match items.last() {
        Some(last) if more => Some(Cursor { started_at: last.started_at, id: last.id }),
        _ => None,
    };
    Ok(Page { items, next })
}

type Bound = Box<dyn ToSql>;

/// A statement that gives the sequences of the calls that match, in order.
struct Select {
    text: String,
    bound: Vec<Bound>,
}

/// Field by field equality: the fragment, its value, and its fitness to lead.
struct Term {
    fragment: &'static str,
    value: Bound,
}

impl Select {
    /// `None` where the filter names an experiment or run that does not exist: nothing matches.
    fn new(
        connection: &Connection,
        filter: &CallFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Option<Self>, Error> {
        let Some(terms) = terms(connection, filter)? else { return Ok(None) };
        // Without statistics SQLite cannot know which of several indexes narrows most. The first term, the
        // most selective one by its nature, leads; `+` keeps the others from being chosen instead of it.
        let mut terms = terms.into_iter();
        let lead = terms.next();
        let tag_leads = lead.as_ref().is_some_and(|term| term.fragment == TAG);

        let mut text = "SELECT s.sequence FROM ".to_owned();
        let mut bound: Vec<Bound> = Vec::new();
        let start = if tag_leads { "t.started_at" } else { "s.started_at" };
        if tag_leads {
            text.push_str("call_tags AS t CROSS JOIN spans AS s ON s.sequence = t.sequence WHERE t.tag = ?");
        } else {
            text.push_str("spans AS s WHERE ");
            text.push_str(lead.as_ref().map_or("1", |term| term.fragment));
        }
        bound.extend(lead.map(|term| term.value));
        for term in terms {
            text.push_str(if term.fragment == TAG { " AND " } else { " AND +" });
            text.push_str(term.fragment);
            bound.push(term.value);
        }
        let mut bounds = |operator: &str, at: i64| {
            text.push_str(" AND ");
            text.push_str(start);
            text.push_str(operator);
            bound.push(Box::new(at));
        };
        if let Some(since) = filter.since {
            bounds(" >= ?", since.0);
        }
        if let Some(until) = filter.until {
            bounds(" < ?", until.0);
        }
        if let Some(cursor) = cursor {
            // The first bound is what an index can start from; the second settles equal starts.
            bounds(" <= ?", cursor.started_at.0);
            text.push_str(" AND (s.started_at, s.call_id) < (?, ?)");
            bound.push(Box::new(cursor.started_at.0));
            bound.push(Box::new(cursor.id.0));
        }
        if let Some(cost) = filter.min_cost {
            text.push_str(" AND s.cost >= ?");
            bound.push(Box::new(cost.0));
        }
        if let Some(duration) = filter.min_duration_ns {
            text.push_str(" AND s.duration_ns >= ?");
            bound.push(Box::new(duration));
        }
        text.push_str(" ORDER BY ");
        text.push_str(start);
        text.push_str(" DESC, s.call_id DESC LIMIT ?");
        bound.push(Box::new(i64::try_from(limit).unwrap_or(i64::MAX)));
        Ok(Some(Self { text, bound }))
    }

    fn values(&self) -> Vec<&dyn ToSql> {
        self.bound.iter().map(|value| &**value).collect()
    }
}

const TAG: &str = "EXISTS (SELECT 1 FROM call_tags AS t
    WHERE t.tag = ? AND t.started_at = s.started_at AND t.sequence = s.sequence)";

/// The equalities of a filter, the most selective first.
fn terms(connection: &Connection, filter: &CallFilter) -> Result<Option<Vec<Term>>, Error> {
    fn push(terms: &mut Vec<Term>, fragment: &'static str, value: impl ToSql + 'static) {
        terms.push(Term { fragment, value: Box::new(value) });
    }
    let mut terms = Vec::new();
    if let Some(trace) = filter.trace {
        push(&mut terms, "s.trace_id = ?", trace.0);
    }
    if let Some(run) = &filter.run {
        let mut ids = runs::run_ids(connection, run)?;
        match (ids.pop(), ids.is_empty()) {
            (None, _) => return Ok(None),
            (Some(id), true) => push(&mut terms, "s.run_id = ?", id),
            (Some(id), false) => {
                ids.push(id);
                let ids = serde_json::Value::from(ids).to_string();
                push(&mut terms, "s.run_id IN (SELECT value FROM json_each(?))", ids);
            }
        }
    }
    if let Some(session) = &filter.session {
        push(&mut terms, "s.session = ?", session.clone());
    }
    if let Some(tag) = &filter.tag {
        push(&mut terms, TAG, tag.clone());
    }
    if let Some(user) = &filter.user {
        push(&mut terms, "s.user = ?", user.clone());
    }
    // What goes wrong is rare; what goes well is nearly everything.
    if let Some(status) = filter.status.filter(|status| *status != CallStatus::Ok) {
        push(&mut terms, "s.status = ?", status.as_str());
    }
    if let Some(experiment) = &filter.experiment {
        let Some(id) = runs::experiment_id(connection, experiment)? else { return Ok(None) };
        push(&mut terms, "s.experiment_id = ?", id);
    }
    if let Some(model) = &filter.model {
        push(&mut terms, "s.model = ?", model.clone());
    }
    if let Some(operation) = &filter.operation {
        push(&mut terms, "s.operation = ?", operation.clone());
    }
    if let Some(upstream) = &filter.upstream {
        push(&mut terms, "s.upstream = ?", upstream.clone());
    }
    if let Some(provider) = &filter.provider {
        push(&mut terms, "s.provider = ?", provider.clone());
    }
    if filter.status == Some(CallStatus::Ok) {
        push(&mut terms, "s.status = ?", "ok");
    }
    Ok(Some(terms))
}

/// How SQLite would answer: the steps of its plan.
#[cfg(test)]
pub(super) fn plan(
    connection: &Connection,
    filter: &CallFilter,
    cursor: Option<Cursor>,
) -> Result<Vec<String>, Error> {
    let Some(select) = Select::new(connection, filter, cursor, DEFAULT_LIMIT)? else { return Ok(Vec::new()) };
    let mut statement = connection.prepare(&["EXPLAIN QUERY PLAN ", &select.text].concat())?;
    let steps = statement.query_map(&*select.values(), |row| row.get(3))?.collect::<Result<_, _>>()?;
    Ok(steps)
}
