//! End-to-end tests: the built binary, real handlers, a real Apache Kafka.
//!
//! All tests share one broker and run at the same time; each has topics, groups and a home of its own.

mod admin;
mod asking;
mod backpressure;
mod bad_input;
mod bench;
mod broker_faults;
mod chaos;
mod circuit;
mod compiling;
mod corpus;
mod crash;
mod demo;
mod deploys;
mod failures;
mod fan_out;
mod harness;
mod leaking;
mod limits;
mod lost_positions;
mod main_job;
mod memory;
mod metadata;
mod metrics;
mod orderings;
mod rebalance;
mod registries;
mod releases;
mod sharing;
mod stuck;
mod trust;
mod waiting;
