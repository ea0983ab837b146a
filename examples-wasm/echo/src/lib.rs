//! Emits every record unchanged: key, value, headers and timestamp as they came, a tombstone as a tombstone.
//!
//! The shortest useful handler, and the one to measure a host with: each byte crosses the border twice.

use sandmill_guest::{Failure, Outputs, Record};

/// Emits the record.
#[sandmill_guest::handler]
fn echo(record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
    out.forward(record);
    Ok(())
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::{self, Input, Output};

    #[test]
    fn a_record_comes_out_as_it_came_in() {
        let answer = testing::run(
            super::echo,
            [
                Input::new("value").key("key").header("a", "1").null_header("b").timestamp(1_431_857_103_000),
                Input::tombstone().key("gone"),
                Input::new(""),
            ],
        );
        let outputs: Vec<_> = answer.outputs().cloned().collect();
        assert_eq!(
            outputs,
            [
                Output {
                    key: Some(b"key".to_vec()),
                    value: Some(b"value".to_vec()),
                    headers: vec![(b"a".to_vec(), Some(b"1".to_vec())), (b"b".to_vec(), None)],
                    timestamp: Some(1_431_857_103_000),
                    ..Output::default()
                },
                Output { key: Some(b"gone".to_vec()), ..Output::default() },
                Output { value: Some(Vec::new()), ..Output::default() },
            ]
        );
    }
}
