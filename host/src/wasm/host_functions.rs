//! The host's own functions that a guest may import.
//!
//! Each is a capability: a module that imports one without being granted it is refused when it is loaded, so
//! the functions themselves ask no more. They take fuel, for the call and for each byte, because a guest that
//! lives in host calls would otherwise use almost none; and each counts itself (see `state`).

use std::time::Instant;

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use super::bindings::log::Level;
use super::capability::{CONTRACT, Grants};
use super::state::State;
use super::{log, text};
use crate::telemetry::guest::{LABEL_VALUE, Use};

/// Fuel for each call of a host function: about what the call itself takes, in guest instructions.
const FUEL_CALL: u64 = 200;
/// Fuel for finding a series: texts are cleaned, and a table that all workers share is locked.
const FUEL_SERIES: u64 = 5_000;

/// Adds the functions of `grants` to `linker`.
pub(crate) fn link(linker: &mut Linker<State>, grants: Grants) -> wasmtime::Result<()> {
    // Types are no capability: they are imported by every guest.
    linker.instance(&interface("types"))?;
    if grants.log {
        linker.instance(&interface("log"))?.func_wrap("write", write)?;
    }
    if grants.config {
        linker.instance(&interface("config"))?.func_wrap("get", config)?;
    }
    if grants.metrics {
        let mut metrics = linker.instance(&interface("metrics"))?;
        metrics.func_wrap("series", series)?;
        metrics.func_wrap("record", record)?;
    }
    if grants.secrets {
        linker.instance(&interface("secrets"))?.func_wrap("get", secret)?;
    }
    Ok(())
}

fn interface(name: &str) -> String {
    format!("sandmill:handler/{name}@{CONTRACT}")
}

/// `log.write`
fn write(mut store: StoreContextMut<'_, State>, (level, message): (Level, String)) -> wasmtime::Result<()> {
    let since = enter(&mut store, message.len())?;
    let level = match level {
        Level::Trace => log::Level::Trace,
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    };
    store.data().lines.lock().log(level, &message);
    store.data_mut().used(Use::Log, since);
    Ok(())
}

/// `config.get`
fn config(mut store: StoreContextMut<'_, State>, (key,): (String,)) -> wasmtime::Result<(Option<String>,)> {
    let since = enter(&mut store, key.len())?;
    let config = &store.data().settings.config;
    let value = config.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
    give(&mut store, Use::Config, since, value)
}

/// `secrets.get`
fn secret(mut store: StoreContextMut<'_, State>, (name,): (String,)) -> wasmtime::Result<(Option<String>,)> {
    let since = enter(&mut store, name.len())?;
    let value = store.data().settings.capabilities.secrets.get(&name).map(str::to_owned);
    give(&mut store, Use::Secrets, since, value)
}

/// `metrics.series`
fn series(
    mut store: StoreContextMut<'_, State>,
    (name, labels): (String, Vec<String>),
) -> wasmtime::Result<(Result<u32, String>,)> {
    let since = enter(&mut store, name.len() + labels.iter().map(String::len).sum::<usize>())?;
    take_fuel(&mut store, FUEL_SERIES)?;
    let settings = &store.data().settings;
    let cleaned = labels.iter().map(|value| {
        text::clean(&settings.capabilities.secrets.redact_head(value, LABEL_VALUE), LABEL_VALUE)
    });
    let found =
        settings.capabilities.metrics.series(&name, cleaned.collect()).map_err(|error| error.to_string());
    store.data_mut().used(Use::Metrics, since);
    Ok((found,))
}

/// `metrics.record`
fn record(mut store: StoreContextMut<'_, State>, (series, value): (u32, f64)) -> wasmtime::Result<()> {
    let since = enter(&mut store, 0)?;
    let state = store.data_mut();
    state.recorded.record(&state.settings.capabilities.metrics, series, value).ok_or_else(|| {
        wasmtime::Error::msg(format!("metrics.record: {series} is the number of no series"))
    })?;
    state.used(Use::Metrics, since);
    Ok(())
}

/// What every function begins with: it counts, and takes fuel for the bytes that it was handed.
fn enter(store: &mut StoreContextMut<'_, State>, bytes: usize) -> wasmtime::Result<Instant> {
    store.data_mut().count_host_call()?;
    take_fuel(store, FUEL_CALL + bytes as u64)?;
    Ok(Instant::now())
}

/// Hands over a text, which costs fuel as well.
fn give(
    store: &mut StoreContextMut<'_, State>,
    of: Use,
    since: Instant,
    value: Option<String>,
) -> wasmtime::Result<(Option<String>,)> {
    take_fuel(store, value.as_ref().map_or(0, String::len) as u64)?;
    store.data_mut().used(of, since);
    Ok((value,))
}

/// Takes fuel; the guest runs out of it when it goes on.
fn take_fuel(store: &mut StoreContextMut<'_, State>, fuel: u64) -> wasmtime::Result<()> {
    let left = store.get_fuel()?.saturating_sub(fuel);
    store.set_fuel(left)
}
