//! Real input: 10,000 lines of a web server's access log, with the answers known.

use std::io::Read;

use flate2::read::GzDecoder;

use crate::producer::Outgoing;

/// How many lines have each status; together 10,000.
pub const STATUSES: [(u16, usize); 8] =
    [(200, 9_126), (206, 45), (301, 164), (304, 445), (403, 2), (404, 213), (416, 2), (500, 3)];

static PACKED: &[u8] = include_bytes!("../../host/assets/apache_access.log.gz");

/// The lines, without their ends.
///
/// # Panics
/// When the packed file is damaged.
#[must_use]
pub fn lines() -> Vec<Vec<u8>> {
    let mut text = Vec::new();
    GzDecoder::new(PACKED).read_to_end(&mut text).expect("the packed log is whole");
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

/// The lines as records, keyed by client address: the first word.
#[must_use]
pub fn records() -> Vec<Outgoing> {
    lines()
        .into_iter()
        .map(|line| {
            let address = line.split(|byte| *byte == b' ').next().unwrap_or_default().to_vec();
            Outgoing::keyed(address, line)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_log_is_what_the_tests_expect_of_it() {
        let records = records();
        assert_eq!(records.len(), 10_000);
        assert_eq!(STATUSES.iter().map(|(_, count)| count).sum::<usize>(), 10_000);
        let keys: BTreeSet<_> = records.iter().map(|record| record.key.clone()).collect();
        assert_eq!(keys.len(), 1_753);
    }
}
