//! How the application is: its health, its figures for whoever scrapes, and a watch that tells the operator
//! when something begins or ceases to fail. From memory only; nothing here waits for a disk.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    api::operations::{CallBooks, Health, RecordBooks},
    capture::{projector::Projector, recorder::Recorder},
    events::{
        JournalBroken, JournalRecovered, RecordsDropped, RecordsTaken, StoreFailing, StoreRecovered,
        TornTailCut,
    },
    journal::Journal,
    proxy,
    telemetry::Telemetry,
};

/// How often the parts are asked whether they fail.
const WATCH: Duration = Duration::from_secs(1);

/// Tells once when journal or store begin to fail and once when they work again, until it is aborted.
pub(super) async fn watch(journal: Journal, projector: Projector, telemetry: Telemetry) {
    let torn = journal.stats().torn_bytes;
    if torn > 0 {
        TornTailCut { bytes: torn }.emit(&telemetry);
    }
    let (mut journal_broken, mut drops, mut store_failing) = (false, Drops::default(), None::<Instant>);
    loop {
        let written = journal.stats();
        match (&written.broken, journal_broken) {
            (Some(reason), false) => JournalBroken { reason }.emit(&telemetry),
            (None, true) => {
                JournalRecovered { dropped_records: written.dropped_records }.emit(&telemetry);
            }
            _ => {}
        }
        let (dropped_calls, dropped_records) = (written.dropped_calls, written.dropped_records);
        // What a broken journal cannot take is told as that.
        let broken = std::mem::replace(&mut journal_broken, written.broken.is_some()) || journal_broken;
        let (begun, ended) = drops.look(written.dropping, dropped_records, broken);
        if begun {
            RecordsDropped { dropped_calls, dropped_records }.emit(&telemetry);
        }
        if ended {
            RecordsTaken { dropped_calls, dropped_records }.emit(&telemetry);
        }
        match (projector.stats().store_failing, store_failing) {
            (Some(reason), None) => {
                StoreFailing { reason: &reason }.emit(&telemetry);
                store_failing = Some(Instant::now());
            }
            (None, Some(since)) => {
                StoreRecovered { after_seconds: since.elapsed().as_secs_f64() }.emit(&telemetry);
                store_failing = None;
            }
            _ => {}
        }
        tokio::time::sleep(WATCH).await;
    }
}

/// What was last seen of records that found no room.
#[derive(Debug, Default)]
struct Drops {
    going_on: bool,
    records: u64,
}

impl Drops {
    /// Whether dropping began and whether it ended since the last look; both where it was over in between.
    fn look(&mut self, going_on: bool, records: u64, broken: bool) -> (bool, bool) {
        let more = records > std::mem::replace(&mut self.records, records);
        let began = !self.going_on && (going_on || more && !broken);
        let ended = (self.going_on || began) && !going_on;
        self.going_on = going_on;
        (began, ended)
    }
}

/// The parts that have figures.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub(super) journal: Journal,
    pub(super) recorder: Recorder,
    pub(super) projector: Projector,
    pub(super) proxy: proxy::State,
}

impl Parts {
    /// Where all calls and all records are. What is read first only grows towards what is read later, so that
    /// nothing is missing in between.
    fn books(&self) -> (CallBooks, RecordBooks) {
        let applied = self.projector.stats();
        let written = self.journal.stats();
        let counters = self.proxy.counters();
        let lost = written.lost_calls + self.recorder.unrecorded_calls();
        let past = applied.applied_calls + applied.refused_calls + written.lost_calls;
        let calls = CallBooks {
            sent: counters.requests.get(),
            found: written.found_calls,
            stored: applied.applied_calls,
            journalled: (written.calls + written.found_calls).saturating_sub(past),
            dropped: written.dropped_calls + lost + applied.refused_calls,
            refused: counters.refused.get(),
        };
        let records = RecordBooks {
            appended: written.records + written.dropped_records,
            written: written.records - written.queued_records,
            queued: written.queued_records,
            dropped: written.dropped_records,
        };
        (calls, records)
    }
}

/// What is well and what is not, from memory.
pub(super) fn health(parts: Parts, draining: &Arc<AtomicBool>) -> Arc<dyn Fn() -> Health + Send + Sync> {
    let draining = Arc::clone(draining);
    Arc::new(move || {
        let (calls, records) = parts.books();
        let (written, applied) = (parts.journal.stats(), parts.projector.stats());
        let mut problems = Vec::new();
        if let Some(why) = &written.broken {
            problems.push(format!("journal: calls are forwarded but not recorded: {why}"));
        }
        if let Some(why) = &applied.store_failing {
            problems.push(format!("store: calls wait in the journal: {why}"));
        }
        // A state, not a history: with room again all is well, and the count stays.
        if written.dropping {
            problems.push(format!(
                "journal: there is no room; {} records of {} calls were dropped since the start",
                written.dropped_records, calls.dropped
            ));
        }
        let status = match (draining.load(Ordering::Relaxed), problems.is_empty()) {
            (true, _) => "stopping",
            (false, true) => "ok",
            (false, false) => "degraded",
        };
        Health {
            status: status.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            problems,
            settled_calls: applied.settled_calls,
            journal_lag_bytes: applied.lag_bytes,
            journal_bytes: written.bytes_on_disk,
            dropped_records: written.dropped_records,
            in_flight: parts.proxy.counters().in_flight.get(),
            calls,
            records,
        }
    })
}

/// Figures that live in the parts themselves, read when somebody scrapes.
pub(super) fn scrape(telemetry: &Telemetry, parts: Parts) {
    telemetry.on_scrape(move |scrape| {
        let (calls, records) = parts.books();
        for (state, count) in [
            ("sent", calls.sent),
            ("found", calls.found),
            ("stored", calls.stored),
            ("journalled", calls.journalled),
            ("dropped", calls.dropped),
            ("refused", calls.refused),
        ] {
            let help = "Calls by where they are: sent + found = stored + journalled + dropped";
            scrape.gauge_of("books_calls", help, &[("state", state)], count as f64);
        }
        for (state, count) in [
            ("appended", records.appended),
            ("written", records.written),
            ("queued", records.queued),
            ("dropped", records.dropped),
        ] {
            let help = "Journal records by where they are: appended = written + queued + dropped";
            scrape.gauge_of("books_records", help, &[("state", state)], count as f64);
        }
        let written = parts.journal.stats();
        scrape.gauge("journal_bytes", "Bytes of the journal on disk", written.bytes_on_disk as f64);
        scrape.gauge("journal_queued_bytes", "Bytes that wait to be written", written.queued_bytes as f64);
        scrape.counter(
            "journal_dropped_records",
            "Records that could not be journalled",
            written.dropped_records,
        );
        scrape.counter("journal_dropped_bytes", "Bytes of dropped records", written.dropped_bytes);
        scrape.counter("journal_dropped_calls", "Calls that could not be journalled", written.dropped_calls);
        scrape.counter(
            "journal_lost_calls",
            "Calls whose journal was damaged or removed",
            written.lost_calls,
        );
        scrape.counter("journal_late_acks", "Ends released before they were written", written.late_acks);
        scrape.counter("journal_corrupt_frames", "Frames passed over as damaged", written.corrupt_frames);
        let broken = if written.broken.is_some() { 1.0 } else { 0.0 };
        scrape.gauge("journal_broken", "1 while appends do not reach the disk", broken);
        let dropping = if written.dropping { 1.0 } else { 0.0 };
        scrape.gauge("journal_dropping", "1 while records find no room", dropping);
        let applied = parts.projector.stats();
        for (part, panics) in [
            ("recorder", parts.recorder.panics()),
            ("journal", written.panics),
            ("projector", applied.panics),
        ] {
            let help = "Faults of our own while recording; each cost at most a part of one group of records";
            scrape.counter_of("panics", help, &[("part", part)], panics);
        }
        scrape.counter("projector_settled_calls", "Calls written to the store", applied.settled_calls);
        scrape.counter(
            "projector_refused_calls",
            "Calls the store refused as invalid",
            applied.refused_calls,
        );
        scrape.counter("projector_panics", "Calls whose decoding panicked", applied.panics);
        scrape.counter(
            "projector_stray_records",
            "Records without their call's beginning",
            applied.stray_records,
        );
        scrape.gauge(
            "projector_open_calls",
            "Calls in the journal without an end",
            applied.open_calls as f64,
        );
        scrape.gauge(
            "projector_lag_bytes",
            "Bytes of journal not in the store yet",
            applied.lag_bytes as f64,
        );
        let failing = if applied.store_failing.is_some() { 1.0 } else { 0.0 };
        scrape.gauge("store_failing", "1 while the store does not take calls", failing);
        let counters = parts.proxy.counters();
        scrape.gauge("proxy_in_flight", "Calls running now", counters.in_flight.get() as f64);
        for (name, help, count) in [
            ("proxy_requests", "Requests taken by the proxy", &counters.requests),
            ("proxy_completed", "Calls that ended whole", &counters.completed),
            ("proxy_client_gone", "Calls whose client left", &counters.client_gone),
            ("proxy_client_errors", "Calls the client broke", &counters.client_error),
            ("proxy_upstream_failures", "Calls the upstream broke", &counters.upstream_failed),
            ("proxy_cut_by_shutdown", "Calls cut by a shutdown", &counters.shutdown),
            ("proxy_refused", "Requests refused before they were calls", &counters.refused),
        ] {
            scrape.counter(name, help, count.get());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_between_two_looks_are_told_of() {
        let mut drops = Drops::default();
        assert_eq!(drops.look(false, 0, false), (false, false));
        assert_eq!(drops.look(true, 3, false), (true, false));
        assert_eq!(drops.look(true, 9, false), (false, false));
        assert_eq!(drops.look(false, 9, false), (false, true));
        assert_eq!(drops.look(false, 9, false), (false, false));
        assert_eq!(drops.look(false, 12, false), (true, true), "begun and over since the last look");
        assert_eq!(drops.look(false, 15, true), (false, false), "of a broken journal something else is told");
        assert_eq!(drops.look(false, 15, false), (false, false));
    }
}
