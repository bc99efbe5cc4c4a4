//! When dictionaries are trained, and packing anew what was packed with others.

use super::Upkeep;
use crate::{
    model::Error,
    store::{Repacking, Training},
};

/// Contents from which a store has enough to learn from.
const FIRST: u64 = 500;
/// Growth since the last training after which it is worth another.
const GROWTH: u64 = 10;
/// The cursor that says up to which dictionary everything is packed.
const REPACKED: &str = "repacked";
/// The cursor that says how many contents there were at the last training.
const TRAINED: &str = "trained";

/// What a training found, and what packing anew saved.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct TrainReport {
    pub trainings: Vec<Training>,
    /// Rows that were packed anew, and bytes that they have become smaller by.
    pub repacked_rows: u64,
    pub saved_bytes: i64,
}

impl Upkeep {
    /// Trains dictionaries from what is stored, takes those into use that pay, and packs everything with them.
    pub async fn train(&self) -> Result<TrainReport, Error> {
        let this = self.clone();
        self.to_the_end(async move {
            let _working = this.shared.begin().await;
            this.train_now().await
        })
        .await
    }

    pub(super) async fn train_now(&self) -> Result<TrainReport, Error> {
        let shared = &self.shared;
        let trainings = shared.store.train((shared.now)()).await?;
        let repacked = match trainings.iter().any(|training| training.dictionary.is_some()) {
            true => self.repack().await?,
            false => Repacking::default(),
        };
        Ok(TrainReport { trainings, repacked_rows: repacked.rows, saved_bytes: repacked.saved_bytes })
    }

    /// Packs everything with the newest dictionaries and drops the others.
    pub(super) async fn repack(&self) -> Result<Repacking, Error> {
        let store = &self.shared.store;
        let newest = store.newest_dictionary().await?;
        let mut at = Repacking::default();
        while !at.done {
            at = store.repack(at).await?;
            tokio::task::yield_now().await;
        }
        store.drop_old_dictionaries(newest).await?;
        store.set_cursor(REPACKED, newest).await?;
        Ok(at)
    }

    /// Trains when there is enough for the first time, or much more than then; ends what a stop cut off.
    pub(super) async fn learn(&self) -> Result<(), Error> {
        let _working = self.shared.begin().await;
        let store = &self.shared.store;
        let newest = store.newest_dictionary().await?;
        let contents = store.stats().await?.contents;
        let learned = store.cursor(TRAINED).await?.unsigned_abs();
        if contents >= FIRST && (learned == 0 || contents / GROWTH >= learned) {
            let report = self.train_now().await?;
            store.set_cursor(TRAINED, i64::try_from(contents).unwrap_or(i64::MAX)).await?;
            tracing::info!(
                rows = report.repacked_rows,
                saved_bytes = report.saved_bytes,
                "dictionaries are trained"
            );
        } else if newest > 0 && store.cursor(REPACKED).await? < newest {
            self.repack().await?;
        }
        Ok(())
    }
}
