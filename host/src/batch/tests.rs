use proptest::prelude::*;

use super::*;

type OwnedHeaders = Vec<(Vec<u8>, Option<Vec<u8>>)>;
type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>, OwnedHeaders, u32);

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..12)
}

fn owned() -> impl Strategy<Value = Owned> {
    let headers = prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec((bytes(), prop::option::of(bytes())), 0..4),
    ];
    (-1i64..1000, prop::option::of(bytes()), prop::option::of(bytes()), headers, 0u32..300)
}

fn with_record<R>(offset: usize, owned: &Owned, use_it: impl FnOnce(&Record<'_>) -> R) -> R {
    let list: Vec<(&[u8], Option<&[u8]>)> =
        owned.3.iter().map(|(n, v)| (n.as_slice(), v.as_deref())).collect();
    use_it(&Record {
        offset: Offset(offset as i64),
        timestamp: owned.0,
        key: owned.1.as_deref(),
        value: owned.2.as_deref(),
        headers: Headers::List(&list),
    })
}

fn fill(records: &[Owned]) -> Batch {
    let mut batch = Batch::new();
    for (offset, record) in records.iter().enumerate() {
        with_record(offset, record, |r| batch.push(r, offset as u64 * 7, record.4));
    }
    batch
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(records in prop::collection::vec(owned(), 0..20)) {
        let mut batch = fill(&records);
        for round in 0..2 {
            prop_assert_eq!(batch.len(), records.len());
            let mut weight = 0;
            for (offset, record) in records.iter().enumerate() {
                with_record(offset, record, |r| {
                    assert_eq!(batch.record(offset), *r);
                    weight += r.weight();
                });
            }
            prop_assert_eq!(batch.weight(), weight);
            // A cleared batch is as good as a new one.
            if round == 0 {
                batch.clear();
                prop_assert!(batch.is_empty() && batch.weight() == 0);
                for (offset, record) in records.iter().enumerate() {
                    with_record(offset, record, |r| batch.push(r, offset as u64 * 7, record.4));
                }
            }
        }
    }

    #[test]
    fn columns_that_say_nothing_are_empty(records in prop::collection::vec(owned(), 0..20)) {
        let batch = fill(&records);
        let flagged = records.iter().any(|r| r.1.is_none() || r.2.is_none());
        prop_assert_eq!(batch.flags().is_empty(), !flagged);
        prop_assert_eq!(batch.attempts().is_empty(), records.iter().all(|r| r.4 == 0));
        let any_header = records.iter().any(|r| !r.3.is_empty());
        prop_assert_eq!(batch.headers().counts().is_empty(), !any_header);
        if any_header {
            prop_assert_eq!(batch.headers().counts().len(), records.len());
        }
    }

    #[test]
    fn a_parked_record_is_the_same_record(records in prop::collection::vec(owned(), 1..6)) {
        let batch = fill(&records);
        for index in 0..batch.len() {
            let parked = Parked::from_batch(&batch, index, 3);
            prop_assert_eq!(parked.record(), batch.record(index));
            prop_assert_eq!(parked.hash, batch.hashes()[index]);
            // And again into a batch.
            let mut again = Batch::new();
            again.push(&parked.record(), parked.hash, parked.attempts);
            prop_assert_eq!(again.record(0), batch.record(index));
            prop_assert_eq!(again.attempts(), &[3]);
        }
    }

    #[test]
    fn a_copied_part_keeps_order_hash_and_attempts(records in prop::collection::vec(owned(), 1..10), from in 0usize..10) {
        let batch = fill(&records);
        let from = from.min(batch.len());
        let mut part = Batch::new();
        batch.copy_to(from..batch.len(), &mut part);
        prop_assert_eq!(part.len(), batch.len() - from);
        for index in 0..part.len() {
            prop_assert_eq!(part.record(index), batch.record(from + index));
            prop_assert_eq!(part.hashes()[index], batch.hashes()[from + index]);
        }
    }
}
