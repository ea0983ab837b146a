//! WASI, linked but empty.
//!
//! Standard libraries of languages import WASI whether they use it or not, so a module is not refused for
//! naming it; it finds nothing there. No folder is opened, no socket can be made, no name looked up, standard
//! input is closed, arguments and environment are empty, and exit ends the instance. Clocks and random work.

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::state::{SharedLines, State};

/// Handles that a guest may hold at once; also the bound of the host's own table behind them.
pub(crate) const HANDLES: usize = 1024;
/// Bytes of random in one call: longer requests trap, so that no call computes for long.
const RANDOM_BYTES: u64 = 64 << 10;

/// The WASI of one instance.
pub(crate) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
}

impl Wasi {
    pub(crate) fn new(_lines: &SharedLines) -> Self {
        let context = WasiCtx::builder()
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(RANDOM_BYTES)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        Wasi { context, table }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi();
        WasiCtxView { ctx: &mut wasi.context, table: &mut wasi.table }
    }
}

/// Adds WASI to `linker`. Waits are asynchronous: they hold no core.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)
}
