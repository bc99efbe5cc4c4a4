//! The program itself: started with our streams, our terminal and our process group, and waited for. Signals
//! that reach us alone are handed on; those that a terminal sends reach it anyway.

use std::{ffi::OsString, io, process::ExitStatus};

use tokio::process::{Child, Command};

pub(super) fn start(command: &[OsString], environment: Vec<(&'static str, String)>) -> io::Result<Child> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    // Not killed when we are: the program is worth more than its record.
    Command::new(program).args(arguments).envs(environment).kill_on_drop(false).spawn()
}

/// Waits for the end, handing on the signals that ask for one.
#[cfg(unix)]
pub(super) async fn wait(mut child: Child) -> io::Result<ExitStatus> {
    use std::io::IsTerminal;

    use rustix::process::{Pid, Signal, kill_process};
    use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

    // At a terminal, Ctrl-C, Ctrl-\ and a hang-up go to every process in the foreground.
    let terminal = io::stdin().is_terminal() || io::stderr().is_terminal();
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut quits = signal(SignalKind::quit())?;
    let mut hangups = signal(SignalKind::hangup())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut first = signal(SignalKind::user_defined1())?;
    let mut second = signal(SignalKind::user_defined2())?;
    async fn next(stream: &mut Stream) {
        if stream.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    loop {
        let (signal, by_terminal) = tokio::select! {
            status = child.wait() => return status,
            () = next(&mut interrupts) => (Signal::INT, terminal),
            () = next(&mut quits) => (Signal::QUIT, terminal),
            () = next(&mut hangups) => (Signal::HUP, terminal),
            () = next(&mut terminations) => (Signal::TERM, false),
            () = next(&mut first) => (Signal::USR1, false),
            () = next(&mut second) => (Signal::USR2, false),
        };
        if let Some(pid) = pid.filter(|_| !by_terminal) {
            // It may be gone already, which `wait` is about to say.
            kill_process(pid, signal).ok();
        }
    }
}

#[cfg(not(unix))]
pub(super) async fn wait(mut child: Child) -> io::Result<ExitStatus> {
    loop {
        tokio::select! {
            status = child.wait() => return status,
            // It goes to the program as well.
            _ = tokio::signal::ctrl_c() => {}
        }
    }
}

/// As shells have it: the program's own code, or 128 and the number of the signal that ended it.
pub(super) fn code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return u8::try_from(signal.saturating_add(128)).unwrap_or(u8::MAX);
    }
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
