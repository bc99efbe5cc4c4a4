//! Prices applied anew to calls that are stored: what if, or for good. For good it goes in slices, so that
//! live calls never wait long, corrects the sums with each slice, and is written down.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        Error, NanoUsd, UnixNanos,
        call::{Call, Repriced, Repricing},
    },
    pricing::{Billing, PriceTable},
    store::Store,
};

/// Calls read and written at once.
const SLICE: usize = 500;

/// Which calls, and by which prices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ask {
    /// Started at or after, before: RFC 3339, a date or an age.
    pub since: Option<String>,
    pub until: Option<String>,
    /// Experiment and run by id or name.
    pub experiment: Option<String>,
    pub run: Option<String>,
    pub model: Option<String>,
    pub provider: Option<String>,
    /// The prices of this day instead of each call's own.
    pub as_of: Option<String>,
    /// A price file's text, whose rows come before all others.
    pub prices: Option<String>,
    /// Write the new costs. Without it nothing is changed.
    pub apply: bool,
}

/// Before and after, of all calls asked for and by model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Report {
    pub applied: bool,
    /// The row that keeps this, where it was applied.
    pub audit_id: Option<i64>,
    pub totals: Change,
    /// Largest change first.
    pub models: Vec<ModelChange>,
}

/// Sums before and after, in 10⁻⁹ dollars. A call of unknown cost is in no sum.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Change {
    pub calls: u64,
    pub changed_calls: u64,
    pub cost_before_nano_usd: i64,
    pub cost_after_nano_usd: i64,
    pub billed_before_nano_usd: i64,
    pub billed_after_nano_usd: i64,
    pub unknown_before: u64,
    pub unknown_after: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ModelChange {
    pub model: String,
    #[serde(flatten)]
    pub change: Change,
}

impl Change {
    fn add(&mut self, before: &Call, after: &Call) {
        let nanos = |amount: Option<NanoUsd>| amount.map_or(0, |amount| amount.0);
        let unknown = |call: &Call| u64::from(call.cost.is_none() && !call.usage.is_empty());
        self.calls += 1;
        self.changed_calls += u64::from(differs(before, after));
        self.cost_before_nano_usd = self.cost_before_nano_usd.saturating_add(nanos(before.cost));
        self.cost_after_nano_usd = self.cost_after_nano_usd.saturating_add(nanos(after.cost));
        self.billed_before_nano_usd = self.billed_before_nano_usd.saturating_add(nanos(before.billed));
        self.billed_after_nano_usd = self.billed_after_nano_usd.saturating_add(nanos(after.billed));
        self.unknown_before += unknown(before);
        self.unknown_after += unknown(after);
    }
}

fn differs(before: &Call, after: &Call) -> bool {
    (before.cost, before.billed, &before.price_id) != (after.cost, after.billed, &after.price_id)
}

/// Applies `prices` to what is stored when it begins; calls that come later have their price already.
pub async fn reprice(store: &Store, prices: &PriceTable, ask: &Ask, now: UnixNanos) -> Result<Report, Error> {
    let time = |text: &Option<String>| text.as_deref().map(|text| UnixNanos::parse(text, now)).transpose();
    let (since, until, as_of) = (time(&ask.since)?, time(&ask.until)?, time(&ask.as_of)?);
    let table = match &ask.prices {
        Some(text) => prices.clone().with_overrides(text, "prices")?,
        None => prices.clone(),
    };
    let experiments: HashMap<String, String> = store
        .experiments()
        .await?
        .into_iter()
        .map(|summary| (summary.experiment.id, summary.experiment.name))
        .collect();
    let run = match &ask.run {
        Some(run) => Some(store.run(run).await?.run.id),
        None => None,
    };
    let wanted = |call: &Call, experiment: &str| {
        since.is_none_or(|since| call.started_at >= since)
            && until.is_none_or(|until| call.started_at < until)
            && run.as_ref().is_none_or(|run| call.run_id.as_ref() == Some(run))
            && ask.experiment.as_ref().is_none_or(|asked| *asked == call.experiment_id || asked == experiment)
            && ask.model.as_deref().is_none_or(|model| call.model() == Some(model))
            && ask.provider.as_ref().is_none_or(|provider| *provider == call.provider)
    };
    let last = store.last_sequence().await?;
    let mut at = 0;
    let mut report = Report { applied: ask.apply, ..Report::default() };
    let mut models: BTreeMap<String, Change> = BTreeMap::new();
    loop {
        let slice = store.stored_after(at, SLICE).await?;
        let Some(end) = slice.last().map(|stored| stored.sequence) else { break };
        at = end;
        let mut repriced = Vec::new();
        for stored in slice.into_iter().filter(|stored| stored.sequence <= last) {
            let before = stored.call;
            let experiment = experiments.get(&before.experiment_id).map(String::as_str).unwrap_or_default();
            if before.usage.is_empty() && before.cost.is_none() || !wanted(&before, experiment) {
                continue;
            }
            let after = priced(&table, &before, experiment, as_of);
            report.totals.add(&before, &after);
            models.entry(before.model().unwrap_or_default().to_owned()).or_default().add(&before, &after);
            if differs(&before, &after) {
                let (cost, billed, price_id) = (after.cost, after.billed, after.price_id);
                repriced.push(Repriced { sequence: stored.sequence, cost, billed, price_id });
            }
        }
        if ask.apply && !repriced.is_empty() {
            store.reprice(repriced).await?;
        }
        if at >= last {
            break;
        }
    }
    let moved = |change: &Change| {
        (change.cost_after_nano_usd - change.cost_before_nano_usd).abs()
            + (change.billed_after_nano_usd - change.billed_before_nano_usd).abs()
    };
    report.models = models.into_iter().map(|(model, change)| ModelChange { model, change }).collect();
    report.models.sort_by_key(|model| std::cmp::Reverse((moved(&model.change), model.change.changed_calls)));
    if ask.apply {
        let Change { calls, changed_calls, unknown_before, unknown_after, .. } = report.totals;
        let asked = serde_json::to_string(ask)
            .map_err(|error| Error::internal(format!("the question could not be kept: {error}")))?;
        let repricing = Repricing {
            at: now,
            asked,
            calls,
            changed_calls,
            cost_before: NanoUsd(report.totals.cost_before_nano_usd),
            cost_after: NanoUsd(report.totals.cost_after_nano_usd),
            billed_before: NanoUsd(report.totals.billed_before_nano_usd),
            billed_after: NanoUsd(report.totals.billed_after_nano_usd),
            unknown_before,
            unknown_after,
        };
        report.audit_id = Some(store.keep_repricing(repricing).await?);
    }
    Ok(report)
}

/// The call with the cost that the table gives it now.
fn priced(table: &PriceTable, call: &Call, experiment: &str, as_of: Option<UnixNanos>) -> Call {
    let mut billing = Billing::of(call);
    if let Some(day) = as_of {
        // The day's prices, at the hour at which the call was made.
        let midnight = day.0 - day.0.rem_euclid(UnixNanos::DAY);
        billing.at = UnixNanos(midnight + call.started_at.0.rem_euclid(UnixNanos::DAY));
    }
    let cost = call.usage_source.and_then(|_| table.cost(&call.usage, &billing));
    let mut after = call.clone();
    after.cost = cost.as_ref().map(|cost| cost.total);
    after.price_id = cost.as_ref().map(|cost| cost.price_id.clone());
    after.charge(experiment, &cost.map(|cost| cost.charges).unwrap_or_default());
    after
}
