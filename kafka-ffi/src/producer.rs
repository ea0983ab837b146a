//! Records out, acknowledgements back, with as little as possible between the caller and the client.
//!
//! Any thread calls [`Producer::send`]; one thread calls [`Producer::serve`] in a loop. What this saves
//! against `rdkafka`'s producer, per record: the look-up of the topic by name under the client's one lock
//! and the C string for it, and, per acknowledgement, a message object with a counted reference. The
//! client copies key and value, so the caller's memory is free again when `send` returns.
//!
//! A record carries a number of the caller's, 64 bits, and it comes back with the acknowledgement: nothing
//! is allocated on this side of the client.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaType;

use crate::Error;
use crate::native::{Event, Queue, code, error_code, rd_kafka_last_error, read_code, timeout_ms, topic_name};

/// Stands for a partition that the partitioner chooses (`RD_KAFKA_PARTITION_UA`).
const UNASSIGNED: i32 = -1;
/// Events taken in one [`Producer::serve`] before it returns: each may hold thousands of acknowledgements.
const EVENTS: usize = 32;

/// A producer with the topics it may write to.
pub struct Producer<C: ClientContext> {
    /// Given back in `drop`, before the client that they came from.
    topics: Vec<NonNull<c::rd_kafka_topic_t>>,
    /// Declared before the client's own reference below; holds one itself.
    events: Queue<Arc<Client<C>>>,
    client: Arc<Client<C>>,
}

// SAFETY: librdkafka's topic handles are counted references that any thread may use; they are only read
// here, and given back once, by `drop`. Queue and client are `Send` and used through functions that take
// their own locks.
unsafe impl<C: ClientContext> Send for Producer<C> {}
// SAFETY: as above. `serve` may be called by several threads; each event goes to one of them.
unsafe impl<C: ClientContext> Sync for Producer<C> {}

/// A record to be written.
#[derive(Debug, Clone, Copy)]
pub struct OutRecord<'a> {
    /// Index of the topic in the list that the producer was made with.
    pub topic: usize,
    /// `None`: the client's partitioner decides.
    pub partition: Option<i32>,
    /// The key. An empty key is a key.
    pub key: Option<&'a [u8]>,
    /// The value, none for a tombstone.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since 1970; none, and 0: the time of sending.
    pub timestamp_ms: Option<i64>,
    /// Comes back with the acknowledgement.
    pub opaque: usize,
}

impl<C: ClientContext> Producer<C> {
    /// A producer that writes to `topics`, which need not exist yet.
    ///
    /// # Errors
    /// [`Error::Client`] if the client refuses its configuration, [`Error::TopicName`] and
    /// [`Error::Refused`] if it refuses a topic.
    pub fn new(config: &ClientConfig, context: C, topics: &[&str]) -> Result<Self, Error> {
        let native = config.create_native_config().map_err(Error::client("configure the producer"))?;
        let wanted = c::RD_KAFKA_EVENT_DR | c::RD_KAFKA_EVENT_ERROR | c::RD_KAFKA_EVENT_LOG;
        // SAFETY: the configuration is live; `Client::new` takes it over afterwards.
        unsafe { c::rd_kafka_conf_set_events(native.ptr(), wanted) };
        let client = Client::new(config, native, RDKafkaType::RD_KAFKA_PRODUCER, context);
        let client = Arc::new(client.map_err(Error::client("start the producer"))?);
        let events = Queue::main(Arc::clone(&client))
            .ok_or(Error::Refused { action: "serve the producer's queue", code: RDKafkaErrorCode::Fail })?;
        // From here on `drop` gives the topics back, also where one of them is refused.
        let mut producer = Self { topics: Vec::with_capacity(topics.len()), events, client };
        for topic in topics {
            let name = topic_name(topic)?;
            // SAFETY: the client is live, the name a C string, and a missing configuration means that of
            // the client.
            let handle = unsafe {
                c::rd_kafka_topic_new(producer.client.native_ptr(), name.as_ptr(), ptr::null_mut())
            };
            // SAFETY: reads the code that the last call of this thread left.
            let refused = || code(unsafe { rd_kafka_last_error() });
            let handle = NonNull::new(handle)
                .ok_or_else(|| Error::Refused { action: "write to a topic", code: refused() })?;
            producer.topics.push(handle);
        }
        Ok(producer)
    }

    /// Hands a record to the client, which copies it. Never waits.
    ///
    /// # Errors
    /// `QueueFull` while too much is waiting for acknowledgement; anything else is for good, such as
    /// `MessageSizeTooLarge` or `UnknownPartition`. Nothing is acknowledged then.
    ///
    /// # Panics
    /// If the producer has no topic of that index.
    pub fn send<'a>(
        &self,
        record: &OutRecord<'_>,
        headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), RDKafkaErrorCode> {
        use c::rd_kafka_vtype_t as Type;
        use c::{rd_kafka_vu_s__bindgen_ty_1 as Value, rd_kafka_vu_t as Argument};
        let headers = HeaderList::of(headers);
        let topic = self.topics[record.topic].as_ptr();
        let arguments = [
            Argument { vtype: Type::RD_KAFKA_VTYPE_RKT, u: Value { rkt: topic } },
            Argument {
                vtype: Type::RD_KAFKA_VTYPE_PARTITION,
                u: Value { i32_: record.partition.unwrap_or(UNASSIGNED) },
            },
            Argument {
                vtype: Type::RD_KAFKA_VTYPE_MSGFLAGS,
                u: Value { i: c::RD_KAFKA_MSG_F_COPY as c_int },
            },
            Argument { vtype: Type::RD_KAFKA_VTYPE_KEY, u: Value { mem: memory(record.key) } },
            Argument { vtype: Type::RD_KAFKA_VTYPE_VALUE, u: Value { mem: memory(record.value) } },
            Argument {
                vtype: Type::RD_KAFKA_VTYPE_TIMESTAMP,
                u: Value { i64_: record.timestamp_ms.unwrap_or(0) },
            },
            Argument {
                vtype: Type::RD_KAFKA_VTYPE_OPAQUE,
                u: Value { ptr: ptr::without_provenance_mut(record.opaque) },
            },
            Argument { vtype: Type::RD_KAFKA_VTYPE_HEADERS, u: Value { headers: headers.0 } },
        ];
        // The client takes no empty list of headers.
        let count = if headers.0.is_null() { arguments.len() - 1 } else { arguments.len() };
        // SAFETY: the client is live, and so is the topic, which is its own. Key and value are readable for
        // their lengths during the call, which copies them (that is what the flag says). The headers are a
        // live list that the client owns if the call succeeds.
        let error = unsafe { c::rd_kafka_produceva(self.client.native_ptr(), arguments.as_ptr(), count) };
        if error.is_null() {
            std::mem::forget(headers);
            return Ok(());
        }
        // SAFETY: the error is live and ours to destroy.
        let number = unsafe {
            let number = error_code(error);
            c::rd_kafka_error_destroy(error);
            number
        };
        Err(code(number))
    }

    /// Waits at most `timeout` for something to come from the client, then takes what is there:
    /// acknowledgements go to `acknowledged` with the record's number, log lines and errors to the context.
    ///
    /// Acknowledgements of one partition come in the order of its records. Returns whether anything came.
    pub fn serve(
        &self,
        timeout: Duration,
        mut acknowledged: impl FnMut(usize, Result<(), RDKafkaErrorCode>),
    ) -> bool {
        let mut wait = timeout;
        for taken in 0..EVENTS {
            let Some(event) = self.events.poll(wait) else { return taken > 0 };
            wait = Duration::ZERO;
            match event.kind() {
                c::RD_KAFKA_EVENT_DR => {
                    loop {
                        // SAFETY: the event is live; the messages that it hands out live with it.
                        let message = unsafe { c::rd_kafka_event_message_next(event.as_ptr()) };
                        if message.is_null() {
                            break;
                        }
                        // SAFETY: both fields lie in a live message. No reference to it is made, because its
                        // code may be a number that the enum does not know.
                        let (number, opaque) = unsafe {
                            (read_code(&raw const (*message).err), (&raw const (*message)._private).read())
                        };
                        let outcome = if number == 0 { Ok(()) } else { Err(code(number)) };
                        acknowledged(opaque.addr(), outcome);
                    }
                }
                c::RD_KAFKA_EVENT_LOG => self.log(&event),
                c::RD_KAFKA_EVENT_ERROR => {
                    // SAFETY: the event is live and an error, whose text is a C string or null.
                    let text = unsafe { text(c::rd_kafka_event_error_string(event.as_ptr())) };
                    self.client.context().error(KafkaError::Global(code(event.error())), &text);
                }
                _ => {}
            }
        }
        true
    }

    fn log(&self, event: &Event<'_>) {
        let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the event is live; on success both strings live with it.
        let failed = unsafe {
            c::rd_kafka_event_log(event.as_ptr(), &raw mut facility, &raw mut line, &raw mut level)
        };
        if failed == 0 {
            // SAFETY: as above.
            let (facility, line) = unsafe { (text(facility), text(line)) };
            self.client.context().log(log_level(level), &facility, &line);
        }
    }

    /// Sends what lingers at once instead of waiting for more, until nothing waits for acknowledgement any
    /// more, at most `timeout`. Somebody else has to [`serve`](Producer::serve) meanwhile. Returns whether
    /// everything is acknowledged.
    pub fn flush(&self, timeout: Duration) -> bool {
        // SAFETY: the client is live.
        let code = unsafe { c::rd_kafka_flush(self.client.native_ptr(), timeout_ms(timeout)) };
        code == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
    }

    /// Why the producer can never send again, if so.
    #[must_use]
    pub fn fatal_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.client.fatal_error()
    }
}

impl<C: ClientContext> Drop for Producer<C> {
    fn drop(&mut self) {
        let everything = (c::RD_KAFKA_PURGE_F_QUEUE | c::RD_KAFKA_PURGE_F_INFLIGHT) as c_int;
        // SAFETY: the client is live. What is still waiting would otherwise hold the client's end up.
        unsafe { c::rd_kafka_purge(self.client.native_ptr(), everything) };
        for topic in &self.topics {
            // SAFETY: the handle is live, ours, and not used again; the client still lives.
            unsafe { c::rd_kafka_topic_destroy(topic.as_ptr()) };
        }
    }
}

impl<C: ClientContext> std::fmt::Debug for Producer<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("topics", &self.topics.len()).finish_non_exhaustive()
    }
}

/// Headers on their way to the client; null if there are none. Destroyed unless the client took them.
struct HeaderList(*mut c::rd_kafka_headers_t);

impl HeaderList {
    fn of<'a>(headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Self {
        let mut list = Self(ptr::null_mut());
        for (name, value) in headers {
            if list.0.is_null() {
                // SAFETY: allocates a list (and aborts where it cannot); it grows as needed.
                list.0 = unsafe { c::rd_kafka_headers_new(4) };
            }
            let value = memory(value);
            // SAFETY: the list is live; name and value are readable for their lengths during the call,
            // which copies them. It fails for read-only lists alone.
            unsafe {
                c::rd_kafka_header_add(
                    list.0,
                    name.as_ptr().cast(),
                    isize::try_from(name.len()).expect("no slice is longer"),
                    value.ptr,
                    isize::try_from(value.size).expect("no slice is longer"),
                )
            };
        }
        list
    }
}

impl Drop for HeaderList {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the list is live and still ours.
            unsafe { c::rd_kafka_headers_destroy(self.0) };
        }
    }
}

/// Bytes as the client takes them: null stands for none, and an empty slice is not null.
fn memory(bytes: Option<&[u8]>) -> c::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
    let (pointer, size) = bytes.map_or((ptr::null(), 0), |bytes| (bytes.as_ptr(), bytes.len()));
    c::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: pointer.cast::<c_void>().cast_mut(), size }
}

/// # Safety
/// `text` is null or a C string that lives for `'t`.
unsafe fn text<'t>(text: *const c_char) -> std::borrow::Cow<'t, str> {
    if text.is_null() {
        return "".into();
    }
    // SAFETY: as promised by the caller.
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}

/// The levels of syslog.
fn log_level(level: c_int) -> RDKafkaLogLevel {
    match level {
        ..=0 => RDKafkaLogLevel::Emerg,
        1 => RDKafkaLogLevel::Alert,
        2 => RDKafkaLogLevel::Critical,
        3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 => RDKafkaLogLevel::Notice,
        6 => RDKafkaLogLevel::Info,
        _ => RDKafkaLogLevel::Debug,
    }
}
