//! The exporter as the application runs it: begun, begun anew when it stops by a fault of its own, exchanged when
//! the configuration changes, ended at the shutdown.

use std::{future::Future, time::Duration};

use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
};

use crate::{
    events::ExportRestarted,
    model::Error,
    otlp::{ExportConfig, Exporter},
    store::Store,
    telemetry::Telemetry,
};

/// Between two beginnings, so that a fault that comes at once does not fill a processor.
const PAUSE: Duration = Duration::from_secs(1);

/// The one exporter that runs, if any.
#[derive(Debug)]
pub(super) struct Exporting {
    store: Store,
    telemetry: Telemetry,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    config: ExportConfig,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// An exporter that can be begun: what can be wrong with its settings has been found.
#[derive(Debug)]
pub(super) struct Prepared {
    config: ExportConfig,
    exporter: Option<Exporter>,
}

impl Exporting {
    pub(super) fn new(store: Store, telemetry: Telemetry) -> Self {
        Self { store, telemetry, running: Mutex::default() }
    }

    pub(super) fn prepare(&self, config: ExportConfig) -> Result<Prepared, Error> {
        let exporter = match config.enabled() {
            true => Some(Exporter::new(&config, self.store.clone(), &self.telemetry)?),
            false => None,
        };
        Ok(Prepared { config, exporter })
    }

    /// Ends the exporter that runs, unless it is configured alike, and begins the other one.
    pub(super) async fn follow(&self, Prepared { config, exporter }: Prepared) {
        let mut running = self.running.lock().await;
        if running.as_ref().is_some_and(|running| running.config == config) {
            return;
        }
        if let Some(running) = running.take() {
            running.end().await;
        }
        let Some(exporter) = exporter else { return };
        let (stop, stopped) = watch::channel(false);
        let (store, telemetry, again) = (self.store.clone(), self.telemetry.clone(), config.clone());
        let mut first = Some(exporter);
        let begin = move |stopped: watch::Receiver<bool>| {
            let exporter = match first.take() {
                Some(exporter) => Ok(exporter),
                None => Exporter::new(&again, store.clone(), &telemetry),
            };
            async move {
                let mut stopped = stopped;
                exporter?
                    .run(async move {
                        drop(stopped.wait_for(|stop| *stop).await);
                    })
                    .await;
                Ok(())
            }
        };
        let telemetry = self.telemetry.clone();
        let task = tokio::spawn(keep(begin, stopped, PAUSE, move |reason| {
            ExportRestarted { reason }.emit(&telemetry)
        }));
        *running = Some(Running { config, stop, task });
    }

    /// Ends it, having delivered what can be delivered soon.
    pub(super) async fn end(&self) {
        if let Some(running) = self.running.lock().await.take() {
            running.end().await;
        }
    }
}

impl Running {
    async fn end(self) {
        self.stop.send_replace(true);
        drop(self.task.await);
    }
}

/// Begins a piece of work again and again until it ends by itself: a panic or an error is told and costs a pause.
async fn keep<F>(
    mut begin: impl FnMut(watch::Receiver<bool>) -> F,
    mut stopped: watch::Receiver<bool>,
    pause: Duration,
    tell: impl Fn(&str),
) where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    loop {
        let reason = match tokio::spawn(begin(stopped.clone())).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.message,
            Err(stopped) if stopped.is_panic() => "it panicked".to_owned(),
            Err(_) => return,
        };
        tell(&reason);
        if tokio::time::timeout(pause, stopped.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn work_that_panics_or_fails_is_begun_again_and_told() {
        let (_stop, stopped) = watch::channel(false);
        let begun = Arc::new(AtomicU32::new(0));
        let told = std::sync::Mutex::new(Vec::new());
        let counted = Arc::clone(&begun);
        let begin = move |_| {
            let time = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                match time {
                    0 => std::panic::panic_any("as the test asked"),
                    1 => Err(Error::internal("odd")),
                    _ => Ok(()),
                }
            }
        };
        keep(begin, stopped, Duration::ZERO, |reason| told.lock().unwrap().push(reason.to_owned())).await;
        assert_eq!(begun.load(Ordering::Relaxed), 3);
        assert_eq!(*told.lock().unwrap(), ["it panicked", "odd"]);
    }

    #[tokio::test]
    async fn a_stop_ends_it_between_two_beginnings_too() {
        let (stop, stopped) = watch::channel(false);
        let begin = |_| async { Err(Error::internal("never")) };
        let tell = |_: &str| {
            stop.send_replace(true);
        };
        keep(begin, stopped, Duration::from_secs(3_600), tell).await;
    }
}
