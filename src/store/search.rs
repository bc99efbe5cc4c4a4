//! The list of calls: from a filter to SQL and a page of rows. The text is put together from fixed
//! fragments only; every value is bound.

use rusqlite::{Connection, ToSql};

use super::{calls, kinds, packing::Unpacker, runs};
use crate::model::{
    Error,
    call::Call,
    filter::{CallFilter, Cursor, Page, PageRequest},
};

/// Rows of a page that asks for none, and the most that one may ask for.
const DEFAULT_LIMIT: usize = 100;
const MOST: usize = 10_000;

/// Newest first, by start and then by the order of storing, so that equal starts have an order too.
pub(super) fn page(
    connection: &Connection,
    filter: &CallFilter,
    page: &PageRequest,
) -> Result<Page<Call>, Error> {
    let limit = if page.limit == 0 { DEFAULT_LIMIT } else { page.limit.min(MOST) };
    let Some(select) = Select::new(connection, filter, page.cursor)? else {
        return Ok(Page { items: Vec::new(), next: None });
    };
    // One more than asked for tells whether there is a next page.
    let mut found = select.run(connection, limit + 1)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let mut unpacker = Unpacker::default();
    let mut items = Vec::with_capacity(found.len());
    for (_, sequence) in found {
        items.extend(calls::by_sequence(connection, &mut unpacker, sequence)?);
    }
    let next = match items.last() {
        Some(last) if more => Some(Cursor { started_at: last.started_at, id: last.id }),
        _ => None,
    };
    Ok(Page { items, next })
}

pub(super) type Bound = Box<dyn ToSql>;

/// An index to go along, and the column that it is asked a value of. SQLite is not left the choice: without
/// statistics it cannot know which narrows most, and it would rather sort a whole table than go along an index
/// for a short page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lead {
    Trace,
    /// The call that a trace began with, where it began here: they have one id.
    Root,
    Run,
    Session,
    Tag,
    User,
    Experiment,
    Kind,
    Start,
}

impl Lead {
    fn from(self) -> &'static str {
        match self {
            Self::Trace => "spans AS s INDEXED BY spans_by_trace WHERE s.trace_id = ?",
            Self::Root => "spans AS s WHERE s.trace_id IS NULL AND s.call_id = ?",
            Self::Run => "spans AS s INDEXED BY spans_by_run WHERE s.run_id = ?",
            Self::Session => "spans AS s INDEXED BY spans_by_session WHERE s.session = ?",
            Self::Tag => "call_tags AS t CROSS JOIN spans AS s ON s.sequence = t.sequence WHERE t.tag = ?",
            Self::User => "spans AS s INDEXED BY spans_by_user WHERE s.user = ?",
            Self::Experiment => "spans AS s INDEXED BY spans_by_experiment WHERE s.experiment_id = ?",
            Self::Kind => "spans AS s INDEXED BY spans_by_kind WHERE s.kind = ?",
            Self::Start => "spans AS s INDEXED BY spans_by_start WHERE 1",
        }
    }

    /// What every row of another lead is asked.
    fn also(self) -> &'static str {
        match self {
            Self::Trace | Self::Root => "coalesce(s.trace_id, s.call_id) = ?",
            Self::Run => "s.run_id = ?",
            Self::Session => "s.session = ?",
            Self::Tag => {
                "EXISTS (SELECT 1 FROM call_tags AS t
                    WHERE t.tag = ? AND t.started_at = s.started_at AND t.sequence = s.sequence)"
            }
            Self::User => "s.user = ?",
            Self::Experiment => "s.experiment_id = ?",
            Self::Kind => "s.kind = ?",
            Self::Start => "1",
        }
    }
}

/// Statements that give start and sequence of the calls that match, in order, each for one value of its lead.
struct Select {
    /// What is selected, before what it is selected from.
    what: String,
    /// The list is what all of these give together. Without a lead there is one value that is not bound.
    leads: Vec<(Lead, Option<Bound>)>,
    /// What every row is asked beside its lead, and in which order.
    rest: String,
    bound: Vec<Bound>,
}

impl Select {
    /// `None` where the filter names an experiment, run or kind that does not exist: nothing matches.
    fn new(
        connection: &Connection,
        filter: &CallFilter,
        cursor: Option<Cursor>,
    ) -> Result<Option<Self>, Error> {
        let Some(terms) = terms(connection, filter)? else { return Ok(None) };
        let kinds = kinds::asked(connection, filter)?;
        if kinds.as_ref().is_some_and(Vec::is_empty) {
            return Ok(None);
        }
        let mut terms = terms.into_iter();
        let (lead, mut leads, kinds): (_, Vec<_>, _) = match (terms.next(), kinds) {
            (Some((lead, values)), kinds) => {
                (lead, values.into_iter().map(|value| (lead, Some(value))).collect(), kinds)
            }
            (None, Some(kinds)) => {
                let leads = kinds.into_iter().map(|kind| (Lead::Kind, Some(Box::new(kind) as Bound)));
                (Lead::Kind, leads.collect(), None)
            }
            (None, None) => (Lead::Start, vec![(Lead::Start, None)], None),
        };
        if let (Lead::Trace, Some(trace)) = (lead, filter.trace) {
            leads.push((Lead::Root, Some(Box::new(trace.0))));
        }
        let of_tag = lead == Lead::Tag;
        let (start, sequence) =
            if of_tag { ("t.started_at", "t.sequence") } else { ("s.started_at", "s.sequence") };
        let what = format!("SELECT {start}, {sequence} FROM ");
        let mut rest = String::new();
        let mut bound: Vec<Bound> = Vec::new();
        let mut and = |term: &str, value: Bound| {
            rest.push_str(" AND ");
            rest.push_str(term);
            bound.push(value);
        };
        // What the index itself tells comes first.
        if let Some(kinds) = kinds {
            let kind = if of_tag { "t.kind" } else { "s.kind" };
            let kinds = serde_json::Value::from(kinds).to_string();
            and(&format!("+{kind} IN (SELECT value FROM json_each(?))"), Box::new(kinds));
        }
        if let Some(since) = filter.since {
            and(&format!("{start} >= ?"), Box::new(since.0));
        }
        if let Some(until) = filter.until {
            and(&format!("{start} < ?"), Box::new(until.0));
        }
        if let Some(cursor) = cursor {
            // The first bound is what an index can start from; the second settles equal starts.
            and(&format!("{start} <= ?"), Box::new(cursor.started_at.0));
            // A call that is gone has no place among its equals: those are skipped with it.
            let last: Option<i64> = calls::sequence(connection, cursor.id)?;
            and(&format!("({start} < ?"), Box::new(cursor.started_at.0));
            rest.push_str(&format!(" OR {sequence} < ?)"));
            bound.push(Box::new(last.unwrap_or_default()));
        }
        let mut and = |term: &str, value: Bound| {
            rest.push_str(" AND ");
            rest.push_str(term);
            bound.push(value);
        };
        if let Some(cost) = filter.min_cost {
            and("s.cost >= ?", Box::new(cost.0));
        }
        if let Some(duration) = filter.min_duration_ns {
            and("s.duration_ns >= ?", Box::new(duration));
        }
        for (also, mut values) in terms {
            let several = values.len() > 1;
            // Only runs have several ids to one name, and they lead unless a trace does.
            let (Some(value), false) = (values.pop(), several) else { return Ok(None) };
            and(also.also(), value);
        }
        rest.push_str(&format!(" ORDER BY {start} DESC, {sequence} DESC LIMIT ?"));
        Ok(Some(Self { what, leads, rest, bound }))
    }

    fn text(&self, lead: Lead) -> String {
        [&self.what, lead.from(), &self.rest].concat()
    }

    fn values<'a>(&'a self, lead: Option<&'a Bound>, limit: &'a i64) -> Vec<&'a dyn ToSql> {
        let bound = lead.into_iter().chain(&self.bound).map(|value| &**value);
        bound.chain([limit as &dyn ToSql]).collect()
    }

    /// The newest `limit` that match: of each lead's value the newest, and of these together.
    fn run(&self, connection: &Connection, limit: usize) -> Result<Vec<(i64, i64)>, Error> {
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut found: Vec<(i64, i64)> = Vec::new();
        for (lead, value) in &self.leads {
            let mut statement = connection.prepare_cached(&self.text(*lead))?;
            let values = self.values(value.as_ref(), &most);
            let rows = statement.query_map(&*values, |row| Ok((row.get(0)?, row.get(1)?)))?;
            found.extend(rows.collect::<Result<Vec<_>, _>>()?);
        }
        if self.leads.len() > 1 {
            found.sort_unstable_by(|one, other| other.cmp(one));
            found.truncate(limit);
        }
        Ok(found)
    }
}

type Term = (Lead, Vec<Bound>);

/// What a filter asks beside kinds, times and amounts; the most selective by its nature first.
fn terms(connection: &Connection, filter: &CallFilter) -> Result<Option<Vec<Term>>, Error> {
    fn one(value: impl ToSql + 'static) -> Vec<Bound> {
        vec![Box::new(value)]
    }
    let mut terms = Vec::new();
    if let Some(run) = &filter.run {
        let ids = runs::run_ids(connection, run)?;
        if ids.is_empty() {
            return Ok(None);
        }
        terms.push((Lead::Run, ids.into_iter().map(|id| Box::new(id) as Bound).collect()));
    }
    if let Some(trace) = filter.trace {
        // A run leads only where it has to: a trace is smaller.
        let several = terms.first().is_some_and(|(_, ids): &Term| ids.len() > 1);
        terms.insert(usize::from(several), (Lead::Trace, one(trace.0)));
    }
    if let Some(session) = &filter.session {
        terms.push((Lead::Session, one(session.clone())));
    }
    if let Some(tag) = &filter.tag {
        terms.push((Lead::Tag, one(tag.clone())));
    }
    if let Some(user) = &filter.user {
        terms.push((Lead::User, one(user.clone())));
    }
    if let Some(experiment) = &filter.experiment {
        let Some(id) = runs::experiment_id(connection, experiment)? else { return Ok(None) };
        terms.push((Lead::Experiment, one(id)));
    }
    Ok(Some(terms))
}

/// A filter as a condition on `spans AS s`, for those who find calls by something else first: fragments that each
/// begin with AND, and their values. `None` where nothing can match.
pub(super) fn condition(
    connection: &Connection,
    filter: &CallFilter,
) -> Result<Option<(String, Vec<Bound>)>, Error> {
    let Some(terms) = terms(connection, filter)? else { return Ok(None) };
    let (mut text, mut bound) = (String::new(), Vec::new());
    for (also, values) in terms {
        // One of several values may hold: only runs have several ids to one name.
        let any = vec![also.also(); values.len()].join(" OR ");
        text.push_str(&format!(" AND ({any})"));
        bound.extend(values);
    }
    if let Some(kinds) = kinds::asked(connection, filter)? {
        text.push_str(" AND +s.kind IN (SELECT value FROM json_each(?))");
        bound.push(Box::new(serde_json::Value::from(kinds).to_string()));
    }
    let ranges: [(&str, Option<i64>); 4] = [
        (" AND +s.started_at >= ?", filter.since.map(|at| at.0)),
        (" AND +s.started_at < ?", filter.until.map(|at| at.0)),
        (" AND +s.cost >= ?", filter.min_cost.map(|cost| cost.0)),
        (" AND +s.duration_ns >= ?", filter.min_duration_ns),
    ];
    for (fragment, value) in ranges {
        if let Some(value) = value {
            text.push_str(fragment);
            bound.push(Box::new(value));
        }
    }
    Ok(Some((text, bound)))
}

/// How SQLite would answer: the steps of its plan.
#[cfg(test)]
pub(super) fn plan(
    connection: &Connection,
    filter: &CallFilter,
    cursor: Option<Cursor>,
) -> Result<Vec<String>, Error> {
    let Some(select) = Select::new(connection, filter, cursor)? else { return Ok(Vec::new()) };
    let mut plan: Vec<String> = Vec::new();
    for (lead, value) in &select.leads {
        let mut statement = connection.prepare(&["EXPLAIN QUERY PLAN ", &select.text(*lead)].concat())?;
        let values: Vec<&dyn ToSql> = select.values(value.as_ref(), &1);
        let steps = statement.query_map(&*values, |row| row.get(3))?.collect::<Result<Vec<String>, _>>()?;
        for step in steps {
            if !plan.contains(&step) {
                plan.push(step);
            }
        }
    }
    Ok(plan)
}
