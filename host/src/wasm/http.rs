//! `wasi:http`, outgoing: what a guest asks becomes a request of its pipeline's [`Outgoing`], which decides.
//!
//! The library keeps requests, answers, heads and bodies in the table that all of WASI shares, so the number of all of
//! them is bounded (`wasi::HANDLES`); here they are bounded in size.

use std::future::{Future, ready};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use http_body_util::BodyExt as _;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi_http::p2::bindings::http::types::{HostOutgoingRequest as _, Method};
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;
use wasmtime_wasi_http::{
    Error, RequestOptions, Result, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView as _,
};

use super::state::State;
use super::text;
use crate::outgoing::{Held, Outgoing, Refused};

/// Bytes of one head's names and values.
const FIELDS: usize = 16 << 10;
/// Bytes that a guest writes of a body before the network has to take them; there is room for two such pieces.
const PIECE: usize = 16 << 10;

/// Bytes of what is said of a request that failed: it may hold texts of the guest's.
const WORDS: usize = 200;
/// Bytes of a method, a server and a path, as a guest may keep them in the table.
const METHOD: usize = 64;
const AUTHORITY: usize = 300;
const PATH: usize = 8 << 10;

/// A piece of work of the library's: what remains of a request once its answer is there.
type Rest = Box<dyn Future<Output = Result<()>> + Send>;

/// Adds `wasi:http` to `linker`. The library keeps texts of any length for a request that is being made, and a guest may
/// make a thousand; so the functions that set them are ours, and refuse what no request could have.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, State>,
         (request, method): (Resource<HostOutgoingRequest>, Method)| {
            match &method {
                Method::Other(name) if name.len() > METHOD => Ok((Err(()),)),
                _ => Ok((store.data_mut().http().set_method(request, method)?,)),
            }
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, State>, (request, text): (Resource<HostOutgoingRequest>, Text)| {
            if is_longer(&text, AUTHORITY) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_authority(request, text)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-path-with-query",
        |mut store: StoreContextMut<'_, State>, (request, text): (Resource<HostOutgoingRequest>, Text)| {
            if is_longer(&text, PATH) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_path_with_query(request, text)?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// As the library registers it.
const TYPES: &str = "wasi:http/types@0.2.12";

type Text = Option<String>;

fn is_longer(text: &Text, most: usize) -> bool {
    text.as_ref().is_some_and(|text| text.len() > most)
}

/// The HTTP of one instance.
pub(crate) struct Http {
    context: WasiHttpCtx,
    hooks: Hooks,
}

impl Http {
    /// Asks through `outgoing`; without it nobody is asked.
    pub(crate) fn new(outgoing: Option<Arc<Outgoing>>) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(FIELDS);
        Http { context, hooks: Hooks { outgoing, open: Arc::default() } }
    }

    pub(crate) fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiHttpCtxView<'a> {
        WasiHttpCtxView { ctx: &mut self.context, table, hooks: &mut self.hooks }
    }
}

struct Hooks {
    outgoing: Option<Arc<Outgoing>>,
    /// Requests of this instance that are open, or whose answer it holds.
    open: Arc<AtomicUsize>,
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Rest,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Rest)>> + Send> {
        let Some(outgoing) = &self.outgoing else {
            return Box::new(ready(Err(Error::HttpRequestDenied)));
        };
        let asked = outgoing.send(request, &self.open);
        Box::new(async move {
            let response = asked.await.map_err(|refused| {
                tracing::debug!(
                    "a request of a handler failed: {}",
                    text::clean(&refused.to_string(), WORDS)
                );
                told(&refused)
            })?;
            let body = |held: Held| held.into_body().map_err(|never| match never {}).boxed_unsync();
            // The answer was read to its end: nothing remains.
            let rest: Rest = Box::new(ready(Ok(())));
            Ok((response.map(body), rest))
        })
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        1
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        PIECE
    }
}

/// What the guest learns. Addresses and causes are for the operator.
fn told(refused: &Refused) -> Error {
    match refused {
        Refused::Denied { .. } | Refused::TooMany => Error::HttpRequestDenied,
        Refused::Prohibited(_) => Error::DestinationIpProhibited,
        Refused::Resolve(_) => Error::DnsError { rcode: None, info_code: None },
        Refused::Path => Error::HttpRequestUriTooLong,
        Refused::Connect(kind, _) => match kind {
            std::io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
            std::io::ErrorKind::TimedOut => Error::ConnectionTimeout,
            _ => Error::DestinationUnavailable,
        },
        Refused::Tls(_) => Error::TlsCertificateError,
        Refused::Time(_) => Error::HttpResponseTimeout,
        Refused::RequestSize(most) => Error::HttpRequestBodySize(Some(*most as u64)),
        Refused::ResponseSize(most) => Error::HttpResponseBodySize(Some(*most as u64)),
        Refused::Protocol(_) => Error::HttpProtocolError,
    }
}
