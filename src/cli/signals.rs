//! The process's signals as futures: what ends a server.

/// Resolves at Ctrl-C or, where there is one, SIGTERM. Each call waits for one more signal.
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
    tokio::select! { () = interrupt => {}, () = terminate => {} }
}

/// The first signal asks for a drain, the second for an end at once: resolves at the first to a future that
/// resolves at the second.
pub async fn stop_twice() -> impl Future<Output = ()> {
    stop().await;
    stop()
}
