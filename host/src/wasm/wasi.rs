//! WASI, linked but empty.
//!
//! Standard libraries of languages import WASI whether they use it or not, so a module is not refused for
//! naming it; it finds nothing there. No folder is opened, no socket can be made, no name looked up, standard
//! input is closed, arguments and environment are empty, and exit ends the instance. Clocks and random work; requests
//! over HTTP do if they are granted (`http`).

use std::future::{Future, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use super::InstanceSettings;
use super::capability::Grants;
use super::http::{self, Http};
use super::log::Source;
use super::state::{SharedLines, State};

/// Handles that a guest may hold at once; also the bound of the host's own table behind them.
pub(crate) const HANDLES: usize = 1024;
/// Bytes of random in one call: longer requests trap, so that no call computes for long.
const RANDOM_BYTES: u64 = 64 << 10;
/// Bytes of standard output that are taken at once. All are taken; few are kept.
const WRITE_BYTES: usize = 64 << 10;

/// The WASI of one instance.
pub(crate) struct Wasi {
    context: WasiCtx,
    http: Http,
    /// Of both.
    table: ResourceTable,
}

impl Wasi {
    pub(crate) fn new(lines: &SharedLines, settings: &InstanceSettings) -> Self {
        let output = |source| Output { lines: lines.clone(), source };
        let context = WasiCtx::builder()
            .stdout(output(Source::Stdout))
            .stderr(output(Source::Stderr))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(RANDOM_BYTES)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        let http = Http::new(settings.capabilities.http.clone());
        Wasi { context, http, table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let _ = self.count_host_call();
        let wasi = self.wasi();
        wasi.http.view(&mut wasi.table)
    }
}

impl WasiView for State {
    /// Each function of WASI asks for this once, so this is where they are counted. An error cannot be
    /// returned from here: the next tick looks at the count.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let _ = self.count_host_call();
        let wasi = self.wasi();
        WasiCtxView { ctx: &mut wasi.context, table: &mut wasi.table }
    }
}

/// Adds WASI to `linker`. Waits are asynchronous: they hold no core.
pub(crate) fn link(linker: &mut Linker<State>, grants: Grants) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    if grants.http {
        http::link(linker)?;
    }
    Ok(())
}

/// Standard output or error of a guest: its lines go where the lines of `log` go, and nothing ever blocks.
#[derive(Clone)]
struct Output {
    lines: SharedLines,
    source: Source,
}

impl Output {
    fn take(&self, bytes: &[u8]) {
        self.lines.lock().write(self.source, bytes);
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

// What `async_trait` makes of `async fn ready`.
impl Pollable for Output {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(ready(()))
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
