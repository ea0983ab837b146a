//! Lines for the host's log: `sandmill_guest::log::info!("loaded {n} rules")`.
//!
//! A capability: the pipeline has to allow it (`allow.log`). The host cuts, escapes and rate-limits what it
//! gets; a line never blocks. Outside of Wasm lines are kept for
//! [`testing::take_log`](crate::testing::take_log).

use std::fmt;

#[doc(inline)]
pub use crate::{debug, error, info, trace, warn};

/// How urgent a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Writes one line.
pub fn write(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    {
        #[link(wasm_import_module = "sandmill:handler/log@0.1.0")]
        unsafe extern "C" {
            #[link_name = "write"]
            fn write(level: i32, message: *const u8, len: usize);
        }
        // SAFETY: the message is there while the host reads it.
        unsafe { write(level as i32, message.as_ptr(), message.len()) }
    }
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::host::log(level, message);
}

#[doc(hidden)]
pub fn write_arguments(level: Level, arguments: fmt::Arguments<'_>) {
    match arguments.as_str() {
        Some(message) => write(level, message),
        None => write(level, &arguments.to_string()),
    }
}

/// Writes a line at trace level, with the arguments of `format!`.
#[macro_export]
macro_rules! trace {
    ($($arguments:tt)+) => {
        $crate::log::write_arguments($crate::log::Level::Trace, ::core::format_args!($($arguments)+))
    };
}

/// Writes a line at debug level, with the arguments of `format!`.
#[macro_export]
macro_rules! debug {
    ($($arguments:tt)+) => {
        $crate::log::write_arguments($crate::log::Level::Debug, ::core::format_args!($($arguments)+))
    };
}

/// Writes a line at info level, with the arguments of `format!`.
#[macro_export]
macro_rules! info {
    ($($arguments:tt)+) => {
        $crate::log::write_arguments($crate::log::Level::Info, ::core::format_args!($($arguments)+))
    };
}

/// Writes a line at warn level, with the arguments of `format!`.
#[macro_export]
macro_rules! warn {
    ($($arguments:tt)+) => {
        $crate::log::write_arguments($crate::log::Level::Warn, ::core::format_args!($($arguments)+))
    };
}

/// Writes a line at error level, with the arguments of `format!`.
#[macro_export]
macro_rules! error {
    ($($arguments:tt)+) => {
        $crate::log::write_arguments($crate::log::Level::Error, ::core::format_args!($($arguments)+))
    };
}
