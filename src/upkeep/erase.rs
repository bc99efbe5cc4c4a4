//! Erasing one call, session, run or experiment: from the journal, the index of texts, the rows, the sums, and
//! from whatever content nobody else has. What others share stays.

use super::Upkeep;
use crate::{
    artifacts::ArtifactPath,
    model::Error,
    store::{ArtifactOwner, Swept, Target},
};

/// What an erasure removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct EraseReport {
    pub calls: u64,
    /// Records of these calls that were overwritten in the journal.
    pub journal_records: u64,
    /// Content that nobody else had.
    pub swept: Swept,
    /// The run or experiment itself is gone.
    pub place: bool,
    /// Runs and models whose artifacts were removed, and those whose artifacts are not tapline's to remove.
    #[serde(default)]
    pub artifacts: u64,
    #[serde(default)]
    pub artifacts_elsewhere: u64,
    /// Dictionaries had learned from what was erased: everything was packed anew without them.
    pub dictionaries: bool,
}

impl Upkeep {
    /// Erases; when this returns, nothing of it is in any file.
    pub async fn erase(&self, target: Target) -> Result<EraseReport, Error> {
        let this = self.clone();
        self.to_the_end(async move {
            let shared = &this.shared;
            let _working = shared.begin().await;
            let store = &shared.store;
            (shared.fresh)().await;
            let targeted = store.targeted(target.clone()).await?;
            let owners = store.artifact_owners(target.clone()).await?;
            if targeted.is_empty() && matches!(target, Target::Call(_) | Target::Session(_)) {
                return Err(Error::not_found("expected calls to erase, found none stored".to_owned()));
            }
            let sequences: Vec<i64> = targeted.iter().map(|(sequence, _)| *sequence).collect();
            let mut report = EraseReport { calls: sequences.len() as u64, ..EraseReport::default() };

            // The journal first: a crash from here on must not bring a call back that is half gone.
            let (journal, calls) = (shared.journal.clone(), targeted.iter().map(|(_, call)| *call).collect());
            report.journal_records = tokio::task::spawn_blocking(move || journal.erase(&calls))
                .await
                .map_err(|error| Error::internal(format!("erasing from the journal failed: {error}")))??;
            let traces = store.trace(sequences.clone()).await?;
            let places = store.unindex(sequences.clone()).await?;
            store.drop_calls(sequences, true).await?;
            // Before the runs: what is cut off here is found and erased again by whoever tries again.
            this.erase_artifacts(owners, &mut report).await?;
            report.place = store.drop_place(target).await?;
            let (swept, tainted) = store.sweep_tracing(traces).await?;
            report.swept = swept;
            if tainted {
                report.dictionaries = true;
                store.retire_dictionaries().await?;
                this.repack().await?;
                this.train_now().await?;
            }
            store.reindex(places).await?;
            store.vacuum().await?;
            store.empty_log().await?;
            Ok(report)
        })
        .await
    }

    async fn erase_artifacts(
        &self,
        owners: Vec<ArtifactOwner>,
        report: &mut EraseReport,
    ) -> Result<(), Error> {
        for owner in owners {
            let Ok(mut path) = ArtifactPath::of_uri(&owner.uri) else {
                report.artifacts_elsewhere += 1;
                continue;
            };
            // `<id>/artifacts` is the owner's own folder with its id.
            if let Some(own) = path.parent().map(ArtifactPath::parse).transpose()?
                && own.name() == owner.id
            {
                path = own;
            }
            self.shared.artifacts.delete(&path).await?;
            report.artifacts += 1;
        }
        Ok(())
    }
}
