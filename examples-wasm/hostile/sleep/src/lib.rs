//! Waits for an hour on a marked record (`!…`); every other record comes out unchanged. The wait holds no core: the
//! deadline ends it all the same.

use std::thread;
use std::time::Duration;

use sandmill_guest::{Failure, Outputs, Record};

/// Longer than any deadline.
const LONG: Duration = Duration::from_secs(3_600);

#[sandmill_guest::handler]
fn sleep(record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
    if record.value().is_some_and(|value| value.starts_with(b"!")) {
        #[allow(clippy::disallowed_methods, reason = "to wait is what this handler is for")]
        thread::sleep(LONG);
    }
    out.forward(record);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_not_marked_comes_out_at_once() {
        let answer = sandmill_guest::testing::run(super::sleep, ["fine"]);
        assert_eq!(
            answer.outputs().next().and_then(|output| output.value.clone()).as_deref(),
            Some(&b"fine"[..])
        );
    }
}
