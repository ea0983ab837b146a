//! The trait behind `#[handler]`.

use crate::config::Config;
use crate::failure::Failure;
use crate::outputs::{Answer, Outputs};
use crate::record::{Batch, Record};

/// Why an instance could not start: any error, or a text (`"no table".into()`, `format!(…).into()`).
pub type StartError = Box<dyn std::error::Error>;

/// A handler with state, or one that wants the whole batch.
///
/// ```
/// use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};
///
/// struct Above {
///     least: usize,
/// }
///
/// #[sandmill_guest::handler]
/// impl Handler for Above {
///     fn start(config: &Config) -> Result<Self, StartError> {
///         Ok(Self { least: config.parse_or("least", 1)? })
///     }
///
///     fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
///         if record.value().is_some_and(|value| value.len() >= self.least) {
///             out.forward(record);
///         }
///         Ok(())
///     }
/// }
/// ```
///
/// A value of the type lives as long as its instance: it sees records of many partitions, several instances
/// run at once, and any of them may vanish between two calls. State in it is a cache.
pub trait Handler: Sized {
    /// Called once for each instance, before its first batch, with the pipeline's `config`.
    ///
    /// # Errors
    /// Whatever keeps the handler from working, such as a missing key. The host shows the text, with the
    /// texts of its sources.
    fn start(config: &Config) -> Result<Self, StartError>;

    /// Handles one record. What it emits is published if it returns `Ok`.
    ///
    /// # Errors
    /// [`Failure`]: this record could not be handled. The others of its batch are not touched.
    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure>;

    /// Handles the records of one call, of one partition and oldest first: one after the other, unless the
    /// handler has a better way, such as one look-up for all of them.
    ///
    /// What happens to a record must not depend on its neighbours: the host chooses the batches, and runs
    /// them again in smaller ones when something goes wrong.
    fn handle_batch(&mut self, batch: &Batch, answer: &mut Answer) {
        for record in batch {
            answer.respond(record, |out| self.handle(record, out));
        }
    }
}
