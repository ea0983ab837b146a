//! SIGTERM and SIGINT, as events. The first asks for an orderly stop, the second skips the drain.

use std::sync::mpsc::Sender;

use tokio::signal::unix::{SignalKind, signal};

use super::HostEvent;

/// Starts a thread that turns signals into [`HostEvent::Signal`], for the life of the process.
///
/// # Errors
/// If the system gives no thread or does not let us listen.
pub fn forward_signals(events: Sender<HostEvent>) -> std::io::Result<()> {
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
                if events.send(HostEvent::Signal).is_err() {
                    return;
                }
            }
        });
    })?;
    Ok(())
}
