//! The process's signals as futures: what ends a server.

use std::io::IsTerminal as _;

/// Resolves at Ctrl-C or, where there is one, SIGTERM, and when the terminal goes that this was started in. Each call
/// waits for one more signal.
pub async fn stop() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! { () = interrupt => {}, () = terminate => {}, () = terminal_gone() => {} }
}

/// A closed terminal sends SIGHUP too: whoever closes it means the end, and not that the configuration be read again.
async fn terminal_gone() {
    if !std::io::stdin().is_terminal() {
        return std::future::pending().await;
    }
    let mut hangup = Hangup::heed();
    loop {
        hangup.next().await;
        if !std::io::stdin().is_terminal() {
            return;
        }
    }
}

/// SIGHUP, as long as this is held; where there is no such signal, never.
#[derive(Debug)]
pub struct Hangup {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangup {
    /// From here on the signal no longer ends the process.
    pub fn heed() -> Self {
        Self {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok(),
        }
    }

    /// Resolves at the next one. Several that came meanwhile are one.
    pub async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

/// The first signal asks for a drain, the second for an end at once: resolves at the first to a future that
/// resolves at the second.
pub async fn stop_twice() -> impl Future<Output = ()> {
    stop().await;
    stop()
}
