//! The promises of this crate against a cluster inside the test process.
//!
//! Every wait is a sleep on the waker under test: a wake-up that does not come fails the test.

mod asking;
mod closing;
mod commits;
mod consuming;
mod harness;
mod producing;
