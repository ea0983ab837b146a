//! When a handler's file has changed, and can be read.
//!
//! Files are looked at, once in a while, and not waited for: a watch of the operating system tells nothing of what other
//! machines do on a network file system, follows a file that was replaced, and has to be set again on each folder of a
//! path of links, as Kubernetes makes of a ConfigMap. A look costs a few microseconds.
//!
//! A file that is being written has changed, too. So what is new has to stay as it is from one look to the next before it
//! is read, and to be the same after it was read. Nothing here does I/O: looks and reads are handed in.

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The file system and the file on it: a file that is put in another's place is another.
    pub file: (u64, u64),
    /// Bytes.
    pub size: u64,
    /// When its content changed, and when anything about it did, in nanoseconds since 1970: the first can be set back.
    pub changed: (i128, i128),
}

/// One file, as it was seen.
#[derive(Clone, Debug)]
pub struct Watch {
    /// What was read last; none: it was gone, or could not be read.
    read: Option<Stamp>,
    /// What was new at the last look.
    new: Option<Stamp>,
}

impl Watch {
    /// Of a file that was read when it was like this.
    pub fn new(read: Option<Stamp>) -> Self {
        Watch { read, new: None }
    }

    /// A look at the file, which is like `now`, or cannot be seen. True if it is to be read.
    ///
    /// A file that is gone is no change: what was read of it stays what it is.
    pub fn look(&mut self, now: Option<Stamp>) -> bool {
        let Some(now) = now.filter(|now| self.read != Some(*now)) else {
            self.new = None;
            return false;
        };
        self.new.replace(now) == Some(now)
    }

    /// It could not be read: it counts as new as long as it is there.
    pub fn forget(&mut self) {
        *self = Watch::new(None);
    }

    /// It was read, and is like `now` after that. True if what was read is its content as it is.
    pub fn was_read(&mut self, now: Option<Stamp>) -> bool {
        let is_whole = self.new.is_some() && self.new == now;
        if is_whole {
            self.read = self.new.take();
        }
        is_whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(inode: u64, size: u64, changed: i128) -> Option<Stamp> {
        Some(Stamp { file: (1, inode), size, changed: (5, changed) })
    }

    #[test]
    fn what_stays_as_it_was_is_not_read_again() {
        let mut watch = Watch::new(stamp(1, 10, 1));
        assert!(!watch.look(stamp(1, 10, 1)) && !watch.look(stamp(1, 10, 1)));
    }

    #[test]
    fn a_change_is_read_once_it_stays() {
        for changed in [stamp(2, 10, 1), stamp(1, 11, 1), stamp(1, 10, 2)] {
            let mut watch = Watch::new(stamp(1, 10, 1));
            assert!(!watch.look(changed), "it may be being written");
            assert!(watch.look(changed));
            assert!(watch.was_read(changed));
            assert!(!watch.look(changed) && !watch.look(changed));
        }
    }

    #[test]
    fn a_file_that_grows_is_left_alone_until_it_is_whole() {
        let mut watch = Watch::new(stamp(1, 10, 1));
        for size in 1..20 {
            assert!(!watch.look(stamp(2, size, 1)));
        }
        assert!(watch.look(stamp(2, 19, 1)));
        assert!(!watch.was_read(stamp(2, 20, 2)), "it grew while it was read");
        assert!(!watch.look(stamp(2, 20, 2)));
        assert!(watch.look(stamp(2, 20, 2)) && watch.was_read(stamp(2, 20, 2)));
    }

    #[test]
    fn a_file_that_is_gone_is_no_change_and_back_as_it_was_neither() {
        let mut watch = Watch::new(stamp(1, 10, 1));
        assert!(!watch.look(None) && !watch.look(None) && !watch.look(stamp(1, 10, 1)));
        // Gone between two looks at a new one: it has to stay again.
        assert!(!watch.look(stamp(2, 10, 1)) && !watch.look(None) && !watch.look(stamp(2, 10, 1)));
        assert!(watch.look(stamp(2, 10, 1)));
        assert!(!watch.was_read(None));
    }

    #[test]
    fn a_file_that_could_not_be_read_at_first_is_read_when_it_is_there() {
        let mut watch = Watch::new(None);
        assert!(!watch.look(None) && !watch.look(stamp(1, 1, 1)));
        assert!(watch.look(stamp(1, 1, 1)));
        watch.forget();
        assert!(!watch.look(stamp(1, 1, 1)));
        assert!(watch.look(stamp(1, 1, 1)) && watch.was_read(stamp(1, 1, 1)));
        assert!(!watch.look(stamp(1, 1, 1)) && !watch.look(stamp(1, 1, 1)));
    }
}
