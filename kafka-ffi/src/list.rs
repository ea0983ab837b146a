//! A list of partitions as librdkafka passes it around, with offsets and metadata as bytes.
//!
//! `rdkafka` has one too; it reads metadata as text and panics where it is none, and everyone who may
//! commit to the group can write there.

use std::ffi::CStr;
use std::ptr::{self, NonNull};
use std::slice;

use rdkafka::bindings as c;

use crate::Error;
use crate::native::{read_code, topic_name};

/// An owned list.
pub(crate) struct PartitionList {
    list: NonNull<c::rd_kafka_topic_partition_list_t>,
}

impl PartitionList {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let capacity = i32::try_from(capacity).unwrap_or(i32::MAX);
        // SAFETY: no preconditions; allocates, and aborts where it cannot.
        let list = unsafe { c::rd_kafka_topic_partition_list_new(capacity) };
        let list = NonNull::new(list).expect("librdkafka aborts when out of memory");
        Self { list }
    }

    /// Adds a partition. `offset` may be one of the client's logical ones.
    pub(crate) fn push(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        metadata: Option<&[u8]>,
    ) -> Result<(), Error> {
        let topic = topic_name(topic)?;
        // SAFETY: the list is live and the name a C string, which is copied. The element returned is
        // valid until the next one is added; it is used up before.
        unsafe {
            let element = c::rd_kafka_topic_partition_list_add(self.as_ptr(), topic.as_ptr(), partition);
            (*element).offset = offset;
            if let Some(metadata) = metadata {
                // The list frees metadata with librdkafka's `free`, so it has to come from its
                // `malloc`, which never returns null. One more byte: a size of zero may give null.
                let copy = c::rd_kafka_mem_malloc(ptr::null_mut(), metadata.len() + 1);
                ptr::copy_nonoverlapping(metadata.as_ptr(), copy.cast(), metadata.len());
                (*element).metadata = copy;
                (*element).metadata_size = metadata.len();
            }
        }
        Ok(())
    }

    pub(crate) fn as_ptr(&self) -> *mut c::rd_kafka_topic_partition_list_t {
        self.list.as_ptr()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Partition<'_>> {
        // SAFETY: the list is live and not changed as long as `self` is borrowed.
        unsafe { elements(self.as_ptr()) }
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: the list is live, ours, and not used again.
        unsafe { c::rd_kafka_topic_partition_list_destroy(self.as_ptr()) };
    }
}

/// The elements of a list that may belong to somebody else.
///
/// # Safety
/// `list` is null or a list that stays alive and unchanged for `'l`.
pub(crate) unsafe fn elements<'l>(
    list: *const c::rd_kafka_topic_partition_list_t,
) -> impl Iterator<Item = Partition<'l>> {
    let (first, count) = if list.is_null() {
        (ptr::null(), 0)
    } else {
        // SAFETY: not null, so it is a live list.
        unsafe { ((*list).elems.cast_const(), usize::try_from((*list).cnt).unwrap_or(0)) }
    };
    (0..count).map(move |index| Partition {
        // SAFETY: `elems` points to `cnt` elements, alive and unchanged for `'l`.
        element: unsafe { first.add(index) },
        _list: std::marker::PhantomData,
    })
}

/// One element, borrowed from its list.
#[derive(Clone, Copy)]
pub(crate) struct Partition<'l> {
    /// Read field by field: a reference to the whole would vouch for its error code being one that the
    /// enum lists.
    element: *const c::rd_kafka_topic_partition_t,
    _list: std::marker::PhantomData<&'l ()>,
}

impl<'l> Partition<'l> {
    /// # Safety
    /// `element` is an element that stays alive and unchanged for `'l`.
    pub(crate) unsafe fn borrow(element: *const c::rd_kafka_topic_partition_t) -> Self {
        Self { element, _list: std::marker::PhantomData }
    }

    pub(crate) fn topic(self) -> String {
        // SAFETY: the element is live; its name is a C string that lives with it.
        unsafe { CStr::from_ptr((*self.element).topic) }.to_string_lossy().into_owned()
    }

    pub(crate) fn partition(self) -> i32 {
        // SAFETY: the element is live.
        unsafe { (*self.element).partition }
    }

    /// None where the client says "none", or means a logical position.
    pub(crate) fn offset(self) -> Option<i64> {
        // SAFETY: the element is live.
        let offset = unsafe { (*self.element).offset };
        (offset >= 0).then_some(offset)
    }

    /// None where there is none. Empty metadata is some: Kafka's brokers turn "none" into it.
    pub(crate) fn metadata(self) -> Option<&'l [u8]> {
        // SAFETY: the element is live and unchanged for `'l`; where metadata is not null it points to
        // `metadata_size` initialized bytes of the element's own.
        unsafe {
            let metadata = (*self.element).metadata;
            (!metadata.is_null())
                .then(|| slice::from_raw_parts(metadata.cast(), (*self.element).metadata_size))
        }
    }

    /// The partition's error code, zero for none.
    pub(crate) fn error(self) -> i32 {
        // SAFETY: the element is live.
        unsafe { read_code(&raw const (*self.element).err) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gives_back_what_was_put_in() {
        let mut list = PartitionList::with_capacity(0);
        list.push("orders", 3, 17, Some(&[0xff, 0, b'x'])).unwrap();
        list.push("orders", 4, -1001, Some(b"")).unwrap();
        list.push("", 5, 0, None).unwrap();
        let read: Vec<_> =
            list.iter().map(|p| (p.topic(), p.partition(), p.offset(), p.metadata(), p.error())).collect();
        assert_eq!(
            read,
            [
                ("orders".to_owned(), 3, Some(17), Some(&[0xff, 0, b'x'][..]), 0),
                ("orders".to_owned(), 4, None, Some(&b""[..]), 0),
                (String::new(), 5, Some(0), None, 0),
            ]
        );
    }

    #[test]
    fn a_name_with_a_zero_byte_is_refused() {
        let mut list = PartitionList::with_capacity(1);
        assert!(matches!(list.push("or\0ders", 0, 0, None), Err(Error::TopicName { .. })));
        assert_eq!(list.iter().count(), 0);
    }

    #[test]
    fn no_list_has_no_elements() {
        // SAFETY: null is allowed.
        assert_eq!(unsafe { elements(ptr::null()) }.count(), 0);
    }
}
