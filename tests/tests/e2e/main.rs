//! End-to-end tests: the built binary, real handlers, a real Apache Kafka.
//!
//! All tests share one broker and run at the same time; each has topics, groups and a home of its own.

mod harness;
