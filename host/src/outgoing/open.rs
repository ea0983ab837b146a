//! What lives as long as a request: its body, its places, its count, and its answer while a guest holds it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::{JoinError, JoinHandle};

use super::Body;
use crate::telemetry::{Asked, Requests};

/// Requests of one instance that are open, or whose answer it has not let go of.
pub(super) const OF_INSTANCE: usize = 16;

/// The body of a request ended with an error.
#[derive(Debug, thiserror::Error)]
#[error("the request's body: {0}")]
pub(super) struct Stopped(pub(super) Box<dyn std::error::Error + Send + Sync>);

/// The body of an answer, and its places among those of its instance and of its pipeline.
#[derive(Debug)]
pub struct Held {
    pub(super) bytes: Bytes,
    pub(super) _held: (Place, OwnedSemaphorePermit),
}

impl Held {
    /// The body; its places are free when the result is dropped.
    pub fn into_body(self) -> impl http_body::Body<Data = Bytes, Error = std::convert::Infallible> + Send {
        let Held { bytes, _held } = self;
        http_body_util::Full::new(bytes).map_frame(move |frame| {
            // Moved in here, it lives as long as the body.
            let _ = &_held;
            frame
        })
    }
}

/// One of the requests that an instance may have.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    pub(super) fn take(places: &Arc<AtomicUsize>) -> Option<Place> {
        let one_more = |open: usize| (open < OF_INSTANCE).then_some(open + 1);
        let taken = places.try_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Place(places.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A task that is waited for; dropped, it ends.
pub(super) struct Task<T>(pub(super) JoinHandle<T>);

impl<T> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A request that is open; counted once, also when nobody waits for it any more.
pub(super) struct Counted {
    requests: Arc<Requests>,
    target: usize,
    since: Instant,
    ended: Asked,
}

impl Counted {
    pub(super) fn new(requests: Arc<Requests>, target: usize) -> Self {
        requests.begin();
        Counted { requests, target, since: Instant::now(), ended: Asked::Cancelled }
    }

    pub(super) fn finish(mut self, ended: Asked) {
        self.ended = ended;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.requests.end(self.target, self.ended, self.since.elapsed());
    }
}

/// The body of a request, as long as somebody waits for its answer.
pub(super) struct Tied {
    pub(super) body: Body<Stopped>,
    pub(super) over: oneshot::Receiver<()>,
}

impl http_body::Body for Tied {
    type Data = Bytes;
    type Error = Stopped;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Stopped>>> {
        if Pin::new(&mut self.over).poll(cx).is_ready() {
            return Poll::Ready(Some(Err(Stopped("nobody waits for its answer any more".into()))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::*;

    #[tokio::test]
    async fn the_body_of_a_request_ends_when_nobody_waits_for_its_answer() {
        let never = stream::pending::<Result<http_body::Frame<Bytes>, Stopped>>();
        let (until, over) = oneshot::channel();
        let mut body = Tied { body: StreamBody::new(never).boxed_unsync(), over };
        let mut frame = Box::pin(body.frame());
        let mut nobody = Context::from_waker(std::task::Waker::noop());
        assert!(frame.as_mut().poll(&mut nobody).is_pending());
        drop(until);
        assert!(matches!(frame.await, Some(Err(_))));
    }

    #[test]
    fn an_instance_has_so_many_places_and_gets_each_of_them_back() {
        let places = Arc::new(AtomicUsize::new(0));
        let taken: Vec<_> = std::iter::from_fn(|| Place::take(&places)).take(OF_INSTANCE + 1).collect();
        assert_eq!(taken.len(), OF_INSTANCE);
        drop(taken);
        assert_eq!(places.load(Ordering::Relaxed), 0);
    }
}
