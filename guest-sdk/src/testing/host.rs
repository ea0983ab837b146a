//! The host's imports in a native build: thread-local, because tests run side by side.

use std::cell::RefCell;

use crate::config::Config;
use crate::log::Level;

thread_local! {
    static CONFIG: RefCell<Config> = RefCell::default();
    static LOG: RefCell<Vec<(Level, String)>> = RefCell::default();
}

pub(crate) fn config(key: &str) -> Option<String> {
    CONFIG.with_borrow(|config| config.get(key).map(str::to_owned))
}

pub(crate) fn set_config(config: Config) {
    CONFIG.set(config);
}

pub(crate) fn log(level: Level, message: &str) {
    LOG.with_borrow_mut(|lines| lines.push((level, message.to_owned())));
}

/// The lines that were logged on this thread since the last call.
pub fn take_log() -> Vec<(Level, String)> {
    LOG.take()
}
