//! Garbage collection: what has outlived its life goes, then what nobody refers to any more, then the pages.

use super::Upkeep;
use crate::{
    model::Error,
    store::{Cutoffs, Found, Ids, Swept},
};

/// What a collection removed, or would remove.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct GcReport {
    /// Nothing was removed: this is what would be.
    pub dry_run: bool,
    /// Calls whose metadata has outlived its life.
    pub calls: u64,
    /// Calls that lose their headers and bodies and stay.
    pub payloads: u64,
    /// Messages, tools, texts and turns that nothing refers to any more.
    pub swept: Swept,
    /// Bytes that the files have become smaller by.
    pub freed_bytes: u64,
}

impl Upkeep {
    /// Removes what has outlived its settings and what nobody refers to; or says what would go.
    pub async fn gc(&self, dry_run: bool) -> Result<GcReport, Error> {
        let this = self.clone();
        self.to_the_end(async move {
            let shared = &this.shared;
            let _working = shared.begin().await;
            let (store, now) = (&shared.store, (shared.now)());
            let calls =
                expired(&shared.config.calls(now), |cutoffs, after| store.expired_calls(cutoffs, after))
                    .await?;
            let going: Ids = calls.iter().copied().collect();
            let outlived = shared.config.payloads(now);
            let mut payloads =
                expired(&outlived, |cutoffs, after| store.expired_payloads(cutoffs, after)).await?;
            payloads.retain(|sequence| !going.contains(*sequence));
            let mut report = GcReport {
                dry_run,
                calls: calls.len() as u64,
                payloads: payloads.len() as u64,
                ..GcReport::default()
            };
            if dry_run {
                let gone: Ids = calls.into_iter().chain(payloads).collect();
                report.swept = store.measure_sweep(gone).await?;
                return Ok(report);
            }
            let before = store.stats().await?.bytes;
            let places = store.unindex(calls.iter().chain(&payloads).copied().collect()).await?;
            store.drop_payloads(payloads).await?;
            store.drop_calls(calls, false).await?;
            report.swept = store.sweep().await?;
            store.reindex(places).await?;
            store.vacuum().await?;
            // A reader in the way keeps the log as it is; the next round empties it.
            if let Err(error) = store.empty_log().await {
                tracing::debug!(%error, "the store's log is left as it is");
            }
            report.freed_bytes = before.saturating_sub(store.stats().await?.bytes);
            Ok(report)
        })
        .await
    }
}

/// All of them, slice by slice.
async fn expired<F>(cutoffs: &Cutoffs, find: impl Fn(Cutoffs, i64) -> F) -> Result<Vec<i64>, Error>
where
    F: Future<Output = Result<Found, Error>>,
{
    let (mut all, mut after) = (Vec::new(), 0);
    while !cutoffs.is_empty() {
        let found = find(cutoffs.clone(), after).await?;
        all.extend(found.sequences);
        let Some(next) = found.next else { break };
        after = next;
    }
    Ok(all)
}
