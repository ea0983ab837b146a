//! `wasi:http`, outgoing: what a guest asks becomes a request of its pipeline's [`Outgoing`], which decides.
//!
//! The library keeps requests, answers, heads and bodies in the table that all of WASI shares, so the number of all of
//! them is bounded (`wasi::HANDLES`); here they are bounded in size.

use std::future::{Future, ready};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use http_body_util::BodyExt as _;
use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::{
    Error, RequestOptions, Result, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
};

use super::limits::{Charge, MemoryBudget};
use crate::outgoing::{Held, Outgoing, Refused};

/// Bytes of one head's names and values.
const FIELDS: usize = 16 << 10;
/// Bytes that a guest writes of a body before the network has to take them; there is room for two such pieces.
const PIECE: usize = 16 << 10;

/// A piece of work of the library's: what remains of a request once its answer is there.
type Rest = Box<dyn Future<Output = Result<()>> + Send>;

/// The HTTP of one instance.
pub(crate) struct Http {
    context: WasiHttpCtx,
    hooks: Hooks,
}

impl Http {
    /// Asks through `outgoing`; without it nobody is asked.
    pub(crate) fn new(outgoing: Option<Arc<Outgoing>>, memory: Arc<[Arc<MemoryBudget>]>) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(FIELDS);
        Http { context, hooks: Hooks { outgoing, memory, open: Arc::default() } }
    }

    pub(crate) fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiHttpCtxView<'a> {
        WasiHttpCtxView { ctx: &mut self.context, table, hooks: &mut self.hooks }
    }
}

struct Hooks {
    outgoing: Option<Arc<Outgoing>>,
    /// What answers are charged to while the guest holds them.
    memory: Arc<[Arc<MemoryBudget>]>,
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
        let memory = self.memory.clone();
        Box::new(async move {
            let response = asked.await.map_err(|refused| {
                tracing::debug!(%refused, "a request of a handler failed");
                told(&refused)
            })?;
            let Some(charge) = Charge::take(&memory, response.body().len()) else {
                return Err(Error::InternalError(Some("no memory for the answer".to_owned())));
            };
            let body = |held: Held| {
                let body = held.into_body().map_frame(move |frame| {
                    // Moved in here, it lives as long as the body.
                    let _ = &charge;
                    frame
                });
                body.map_err(|never| match never {}).boxed_unsync()
            };
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
