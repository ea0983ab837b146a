//! The host's own functions that a guest may import.
//!
//! Each is a capability: a module that imports one without being granted it is refused when it is loaded, so
//! the functions themselves ask no more. They take fuel, for the call and for each byte, because a guest that
//! lives in host calls would otherwise use almost none; and each counts itself (see `state`).

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use super::bindings::log::Level;
use super::capability::{CONTRACT, Grants};
use super::log;
use super::state::State;

/// Fuel for each call of a host function: about what the call itself takes, in guest instructions.
const FUEL_CALL: u64 = 200;

/// Adds the functions of `grants` to `linker`.
pub(crate) fn link(linker: &mut Linker<State>, grants: Grants) -> wasmtime::Result<()> {
    // Types are no capability: they are imported by every guest.
    linker.instance(&interface("types"))?;
    if grants.log {
        linker.instance(&interface("log"))?.func_wrap("write", write)?;
    }
    if grants.config {
        linker.instance(&interface("config"))?.func_wrap("get", get)?;
    }
    Ok(())
}

fn interface(name: &str) -> String {
    format!("sandmill:handler/{name}@{CONTRACT}")
}

/// `log.write`
fn write(mut store: StoreContextMut<'_, State>, (level, message): (Level, String)) -> wasmtime::Result<()> {
    store.data_mut().count_host_call()?;
    take_fuel(&mut store, message.len())?;
    let level = match level {
        Level::Trace => log::Level::Trace,
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    };
    store.data().lines.lock().log(level, &message);
    Ok(())
}

/// `config.get`
fn get(mut store: StoreContextMut<'_, State>, (key,): (String,)) -> wasmtime::Result<(Option<String>,)> {
    store.data_mut().count_host_call()?;
    let config = &store.data().settings.config;
    let value = config.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
    take_fuel(&mut store, key.len() + value.as_ref().map_or(0, String::len))?;
    Ok((value,))
}

/// Takes fuel for a call that moves `bytes`; the guest runs out of it when it goes on.
fn take_fuel(store: &mut StoreContextMut<'_, State>, bytes: usize) -> wasmtime::Result<()> {
    let left = store.get_fuel()?.saturating_sub(FUEL_CALL + bytes as u64);
    store.set_fuel(left)
}
