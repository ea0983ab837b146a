//! Owners of librdkafka's handles, and its error codes read as numbers.
//!
//! A handle of a queue must be given back before the client that it came from ends. So each queue
//! keeps whatever keeps the client alive (an `Arc` of the consumer, or a borrow of the client), and
//! gives its handle back in `drop`, which runs before that field is dropped.

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;

use crate::Error;
use crate::wake::Waker;

/// The same functions as in the bindings, with the code as the number that C returns.
///
/// A code may come from the broker as it is. The bindings type it as an enum, and a value of an enum
/// that the enum does not list is undefined behaviour: a newer broker must not be able to cause that.
mod raw {
    use super::{c, c_int};

    unsafe extern "C" {
        pub fn rd_kafka_event_error(event: *mut c::rd_kafka_event_t) -> c_int;
        pub fn rd_kafka_last_error() -> c_int;
        pub fn rd_kafka_error_code(error: *const c::rd_kafka_error_t) -> c_int;
        pub fn rd_kafka_committed(
            rk: *mut c::rd_kafka_t,
            partitions: *mut c::rd_kafka_topic_partition_list_t,
            timeout_ms: c_int,
        ) -> c_int;
        pub fn rd_kafka_metadata(
            rk: *mut c::rd_kafka_t,
            all_topics: c_int,
            only_rkt: *mut c::rd_kafka_topic_t,
            metadatap: *mut *const c::rd_kafka_metadata,
            timeout_ms: c_int,
        ) -> c_int;
    }
}
pub(crate) use raw::{rd_kafka_committed, rd_kafka_last_error, rd_kafka_metadata};

/// Turns a code into the enum; `Unknown` stands for what this version of the client does not know.
pub(crate) fn code(number: c_int) -> RDKafkaErrorCode {
    c::rd_kafka_resp_err_t::try_from(number).map_or(RDKafkaErrorCode::Unknown, Into::into)
}

/// `Ok` for zero, else the code.
pub(crate) fn outcome(number: c_int) -> Result<(), RDKafkaErrorCode> {
    if number == 0 { Ok(()) } else { Err(code(number)) }
}

/// Reads a code that lies in memory.
///
/// # Safety
/// `field` points to a readable `rd_kafka_resp_err_t`, of whatever value.
pub(crate) unsafe fn read_code(field: *const c::rd_kafka_resp_err_t) -> c_int {
    // SAFETY: the enum has the representation of a C `int`, as which any value can be read.
    unsafe { field.cast::<c_int>().read() }
}

/// The code of an error object, zero if there is none.
///
/// # Safety
/// `error` is null or a live error object.
pub(crate) unsafe fn error_code(error: *const c::rd_kafka_error_t) -> c_int {
    // SAFETY: passed on; librdkafka takes null for "no error".
    unsafe { raw::rd_kafka_error_code(error) }
}

/// A topic's name as C wants it.
pub(crate) fn topic_name(topic: &str) -> Result<CString, Error> {
    CString::new(topic).map_err(|_| Error::TopicName { topic: topic.to_owned() })
}

/// A time-out in milliseconds: the client counts them in a C `int`, and takes negative ones for endless.
pub(crate) fn timeout_ms(timeout: Duration) -> c_int {
    c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX)
}

/// Something that keeps a client alive.
///
/// # Safety
/// The pointer that `client` returns stays valid until `self` is dropped, also when `self` is moved.
pub(crate) unsafe trait KeepsClient {
    /// The native client.
    fn client(&self) -> *mut c::rd_kafka_t;
}

// SAFETY: the consumer owns the client until it is dropped, and the `Arc` keeps the consumer.
unsafe impl<C: ConsumerContext> KeepsClient for Arc<BaseConsumer<C>> {
    fn client(&self) -> *mut c::rd_kafka_t {
        Consumer::client(&**self).native_ptr()
    }
}

// SAFETY: a `Client` owns the native client until it is dropped, and the `Arc` keeps it.
unsafe impl<C: ClientContext> KeepsClient for Arc<Client<C>> {
    fn client(&self) -> *mut c::rd_kafka_t {
        self.native_ptr()
    }
}

// SAFETY: a `Client` owns the native client until it is dropped, which the borrow rules out.
unsafe impl<C: ClientContext> KeepsClient for &Client<C> {
    fn client(&self) -> *mut c::rd_kafka_t {
        self.native_ptr()
    }
}

/// One handle of a queue of the client.
pub(crate) struct Queue<K: KeepsClient> {
    handle: NonNull<c::rd_kafka_queue_t>,
    /// Who is called when this queue turns from empty to not empty. The queue holds its address.
    waker: Option<Waker>,
    keeps: K,
}

// SAFETY: librdkafka's queue functions may be called from any thread (each takes the queue's lock), and
// the handle itself is only read. What else is inside is `Send` by the bounds.
unsafe impl<K: KeepsClient + Send> Send for Queue<K> {}

impl<K: KeepsClient> Queue<K> {
    /// A new queue that nobody else knows.
    pub(crate) fn private(keeps: K) -> Self {
        // SAFETY: `keeps` holds the client alive. The function allocates (and aborts where it cannot).
        let handle = unsafe { c::rd_kafka_queue_new(keeps.client()) };
        Self::own(handle, keeps).expect("librdkafka never returns null here: it aborts when out of memory")
    }

    /// The consumer's queue: rebalances, statistics, logs, errors. None without a group.
    pub(crate) fn consumer(keeps: K) -> Option<Self> {
        // SAFETY: `keeps` holds the client alive; the result is null or a handle of our own on a queue
        // that the client keeps.
        Self::own(unsafe { c::rd_kafka_queue_get_consumer(keeps.client()) }, keeps)
    }

    /// The client's main queue: acknowledgements, logs and errors of a producer.
    pub(crate) fn main(keeps: K) -> Option<Self> {
        // SAFETY: `keeps` holds the client alive; the result is null or a handle of our own on a queue
        // that the client keeps.
        Self::own(unsafe { c::rd_kafka_queue_get_main(keeps.client()) }, keeps)
    }

    /// The queue of one partition. Marks the partition as wanted, so ask only for partitions that are
    /// assigned or about to be.
    pub(crate) fn partition(keeps: K, topic: &CStr, partition: i32) -> Option<Self> {
        // SAFETY: as above; the name is a C string that outlives the call, which copies it.
        let handle = unsafe { c::rd_kafka_queue_get_partition(keeps.client(), topic.as_ptr(), partition) };
        Self::own(handle, keeps)
    }

    fn own(handle: *mut c::rd_kafka_queue_t, keeps: K) -> Option<Self> {
        NonNull::new(handle).map(|handle| Self { handle, waker: None, keeps })
    }

    /// What keeps the client.
    pub(crate) fn keeper(&self) -> &K {
        &self.keeps
    }

    /// The handle, valid as long as `self`.
    pub(crate) fn as_ptr(&self) -> *mut c::rd_kafka_queue_t {
        self.handle.as_ptr()
    }

    /// Calls `waker` whenever this queue turns from empty to not empty, until it is dropped.
    pub(crate) fn wake_on_first(mut self, waker: Waker) -> Self {
        let opaque = waker.as_opaque();
        self.waker = Some(waker);
        // SAFETY: the handle is live. `opaque` is the address of what `self.waker` keeps alive, and
        // `drop` takes it back from the queue before that field is dropped.
        unsafe { c::rd_kafka_queue_cb_event_enable(self.as_ptr(), Some(on_first), opaque) };
        self
    }

    /// How many entries wait here.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: the handle is live.
        unsafe { c::rd_kafka_queue_length(self.as_ptr()) }
    }

    /// Sends everything that comes to this queue to `target` instead, and what waits here already.
    pub(crate) fn forward_to(&self, target: &Self) {
        // SAFETY: both handles are live; the queue keeps a reference of its own to its target.
        unsafe { c::rd_kafka_queue_forward(self.as_ptr(), target.as_ptr()) };
    }

    /// Takes the next event, waiting for it at most `timeout`.
    pub(crate) fn poll(&self, timeout: Duration) -> Option<Event<'_>> {
        // SAFETY: the handle is live; the event is ours to destroy.
        let event = unsafe { c::rd_kafka_queue_poll(self.as_ptr(), timeout_ms(timeout)) };
        NonNull::new(event).map(|event| Event { event, _queue: std::marker::PhantomData })
    }
}

impl<K: KeepsClient> Drop for Queue<K> {
    fn drop(&mut self) {
        if self.waker.is_some() {
            // SAFETY: the handle is live. librdkafka calls back only while it holds the queue's lock,
            // which this call takes too: once it returns, no call runs and none will.
            unsafe { c::rd_kafka_queue_cb_event_enable(self.as_ptr(), None, ptr::null_mut()) };
        }
        // SAFETY: the handle is live, ours, and not used again; the client still lives, because the
        // field that keeps it is dropped after this body.
        unsafe { c::rd_kafka_queue_destroy(self.as_ptr()) };
    }
}

/// Called by librdkafka's threads with the queue's lock held: must not call back into librdkafka.
unsafe extern "C" fn on_first(_client: *mut c::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: `opaque` was given in `Queue::wake_on_first`, whose waker lives until the queue has
    // forgotten this callback.
    unsafe { Waker::wake_opaque(opaque) };
}

/// An event taken from a queue. Ends before the queue, hence before the client.
pub(crate) struct Event<'q> {
    event: NonNull<c::rd_kafka_event_t>,
    _queue: std::marker::PhantomData<&'q ()>,
}

impl Event<'_> {
    pub(crate) fn as_ptr(&self) -> *mut c::rd_kafka_event_t {
        self.event.as_ptr()
    }

    /// One of the `RD_KAFKA_EVENT_` numbers.
    pub(crate) fn kind(&self) -> c_int {
        // SAFETY: the event is live.
        unsafe { c::rd_kafka_event_type(self.as_ptr()) }
    }

    /// The error of the event as a whole, zero if there is none.
    pub(crate) fn error(&self) -> c_int {
        // SAFETY: the event is live.
        unsafe { raw::rd_kafka_event_error(self.as_ptr()) }
    }
}

impl Drop for Event<'_> {
    fn drop(&mut self) {
        // SAFETY: the event is live, ours, and not used again.
        unsafe { c::rd_kafka_event_destroy(self.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_this_version_does_not_know_is_unknown_and_nothing_worse() {
        assert_eq!(code(12), RDKafkaErrorCode::OffsetMetadataTooLarge);
        assert_eq!(code(30_000), RDKafkaErrorCode::Unknown);
        assert_eq!(outcome(0), Ok(()));
        assert_eq!(outcome(-191), Err(RDKafkaErrorCode::PartitionEOF));
    }

    #[test]
    fn a_time_out_too_long_for_the_client_is_its_longest() {
        assert_eq!(timeout_ms(Duration::from_millis(1500)), 1500);
        assert_eq!(timeout_ms(Duration::MAX), c_int::MAX);
    }
}
