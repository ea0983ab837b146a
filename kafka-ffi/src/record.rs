//! One entry of a chunk, borrowed from the client's memory.
//!
//! Nothing is allocated and nothing copied for a record without headers; the client parses headers
//! when they are first asked for.

use std::borrow::Cow;
use std::ffi::{CStr, c_int};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;

use rdkafka::bindings as c;
use rdkafka::error::RDKafkaErrorCode;

use crate::native::{code, read_code};

/// What the client put into the queue, in its order.
#[derive(Debug)]
pub enum Polled<'c> {
    /// A record.
    Record(RawRecord<'c>),
    /// The client cannot go on with a partition, or a broker refused a fetch.
    ///
    /// If a partition is named, seek it to the caller's own position (or give it up): the client counts
    /// the error as a record and would go on one offset too far after the next pause or rebalance.
    Error {
        /// The topic's name, if it concerns one.
        topic: Option<&'c str>,
        /// The partition's number, negative if it concerns none.
        partition: i32,
        /// The offset, negative if it concerns none.
        offset: i64,
        /// What went wrong.
        code: RDKafkaErrorCode,
        /// The same in the client's words.
        text: Cow<'c, str>,
    },
}

impl<'c> Polled<'c> {
    /// # Safety
    /// `message` is a message of a consumer, live and touched by nobody else for `'c`, and came through
    /// the queue of a partition that was named by a `str`.
    pub(crate) unsafe fn borrow(message: NonNull<c::rd_kafka_message_t>) -> Self {
        let raw = RawRecord { message, _chunk: PhantomData };
        // SAFETY: the message is live.
        let number = unsafe { read_code(&raw const (*message.as_ptr()).err) };
        if number == 0 {
            return Self::Record(raw);
        }
        // SAFETY: the message is live; for an error the topic may be missing.
        let topic = unsafe { !(*message.as_ptr()).rkt.is_null() }.then(|| raw.topic());
        Self::Error {
            topic,
            partition: raw.partition(),
            offset: raw.offset(),
            code: code(number),
            // SAFETY: the message is live and is an error, for which librdkafka returns a C string: the
            // message's own text, or a constant.
            text: unsafe { CStr::from_ptr(c::rd_kafka_message_errstr(message.as_ptr())) }.to_string_lossy(),
        }
    }
}

/// A record in the client's memory. Gone with its [`crate::Chunk`].
#[derive(Clone, Copy)]
pub struct RawRecord<'c> {
    /// Live for `'c`. Not a reference: the client writes to it when headers are first parsed. That also
    /// makes this type neither `Send` nor `Sync`, so nobody else reads meanwhile.
    message: NonNull<c::rd_kafka_message_t>,
    _chunk: PhantomData<&'c ()>,
}

/// Which topic a record belongs to, comparable without looking at the name.
///
/// Bound to the chunk, because the client may use the same address for another topic later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicHandle<'c>(*const c::rd_kafka_topic_t, PhantomData<&'c ()>);

impl<'c> RawRecord<'c> {
    /// The topic's name. Costs a pass over the name; see [`RawRecord::topic_handle`].
    #[must_use]
    pub fn topic(&self) -> &'c str {
        // SAFETY: the message is live for `'c` and holds a reference to its topic (never missing in a
        // record, checked by the only other caller), whose name is a C string that lives with it.
        let name = unsafe { CStr::from_ptr(c::rd_kafka_topic_name((*self.message.as_ptr()).rkt)) };
        name.to_str().expect("partitions are forwarded by a name that is a `str`")
    }

    /// Equal for two records of a chunk exactly if they are of the same topic.
    #[must_use]
    pub fn topic_handle(&self) -> TopicHandle<'c> {
        // SAFETY: the message is live.
        TopicHandle(unsafe { (*self.message.as_ptr()).rkt }, PhantomData)
    }

    /// The partition's number.
    #[must_use]
    pub fn partition(&self) -> i32 {
        // SAFETY: the message is live.
        unsafe { (*self.message.as_ptr()).partition }
    }

    /// The record's offset.
    #[must_use]
    pub fn offset(&self) -> i64 {
        // SAFETY: the message is live.
        unsafe { (*self.message.as_ptr()).offset }
    }

    /// The key. An empty key is a key.
    #[must_use]
    pub fn key(&self) -> Option<&'c [u8]> {
        // SAFETY: the message is live for `'c`; where the key is not null it points to `key_len`
        // initialized bytes that live with the message and that nobody writes.
        unsafe {
            let message = self.message.as_ptr();
            bytes((*message).key, (*message).key_len)
        }
    }

    /// The value, none for a tombstone.
    #[must_use]
    pub fn payload(&self) -> Option<&'c [u8]> {
        // SAFETY: as for the key.
        unsafe {
            let message = self.message.as_ptr();
            bytes((*message).payload, (*message).len)
        }
    }

    /// Milliseconds since 1970, as the producer or the broker set it; -1 if neither did.
    #[must_use]
    pub fn timestamp_ms(&self) -> i64 {
        // SAFETY: the message is live; null stands for "the kind of timestamp is not wanted".
        unsafe { c::rd_kafka_message_timestamp(self.message.as_ptr(), ptr::null_mut()) }
    }

    /// The headers, in order. Cheap where there are none.
    ///
    /// # Errors
    /// `BadMessage` if the record's headers cannot be parsed.
    pub fn headers(&self) -> Result<Headers<'c>, RDKafkaErrorCode> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is live and used by this thread only (the type is not `Sync`); on success
        // `headers` points to a list that the message owns.
        let result = unsafe { c::rd_kafka_message_headers(self.message.as_ptr(), &raw mut headers) };
        match result {
            c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                // SAFETY: the list is live.
                let count = unsafe { c::rd_kafka_header_cnt(headers) };
                Ok(Headers { headers, next: 0, count, _chunk: PhantomData })
            }
            c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__NOENT => {
                Ok(Headers { headers: ptr::null(), next: 0, count: 0, _chunk: PhantomData })
            }
            other => Err(other.into()),
        }
    }
}

impl std::fmt::Debug for RawRecord<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawRecord")
            .field("topic", &self.topic())
            .field("partition", &self.partition())
            .field("offset", &self.offset())
            .finish_non_exhaustive()
    }
}

/// The headers of a record: name and value, a value may be missing.
///
/// A name ends at its first zero byte: the client hands names out as C strings.
#[derive(Debug)]
pub struct Headers<'c> {
    /// Null if `count` is 0.
    headers: *const c::rd_kafka_headers_t,
    next: usize,
    count: usize,
    _chunk: PhantomData<&'c ()>,
}

impl<'c> Iterator for Headers<'c> {
    type Item = (&'c [u8], Option<&'c [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.count {
            return None;
        }
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the list belongs to a message that is live for `'c`.
        let result = unsafe {
            c::rd_kafka_header_get_all(self.headers, self.next, &raw mut name, &raw mut value, &raw mut size)
        };
        if result != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            self.next = self.count;
            return None;
        }
        self.next += 1;
        // SAFETY: the name is a C string, and the value null or `size` initialized bytes; both belong to
        // the list, which nobody changes.
        unsafe { Some((CStr::from_ptr(name).to_bytes(), bytes(value, size))) }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.count - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// # Safety
/// `data` is null or points to `len` initialized bytes that are alive and unchanged for `'c`.
unsafe fn bytes<'c>(data: *const std::ffi::c_void, len: usize) -> Option<&'c [u8]> {
    // SAFETY: as promised by the caller.
    (!data.is_null()).then(|| unsafe { slice::from_raw_parts(data.cast(), len) })
}

const _: () = assert!(size_of::<c::rd_kafka_resp_err_t>() == size_of::<c_int>());
