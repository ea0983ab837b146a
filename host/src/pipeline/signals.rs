//! SIGTERM and SIGINT, handed to whoever can act on them. The first asks for an orderly stop, the second skips the
//! drain.

use tokio::signal::unix::{SignalKind, signal};

/// Starts a thread that calls `on_signal` for each signal, for the life of the process or until it returns false.
///
/// # Errors
/// If the system gives no thread or does not let us listen.
pub fn forward_signals(mut on_signal: impl FnMut() -> bool + Send + 'static) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async move {
            loop {
                tokio::select! {
                    Some(()) = interrupt.recv() => {}
                    Some(()) = terminate.recv() => {}
                    else => return,
                }
                if !on_signal() {
                    return;
                }
            }
        });
    })?;
    Ok(())
}
