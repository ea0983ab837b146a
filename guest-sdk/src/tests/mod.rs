//! The columns both ways against naive models, and the promises of the public surface.

mod inputs;
mod outputs;
mod surface;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Name and value.
type OwnedHeader = (Vec<u8>, Option<Vec<u8>>);

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..6)
}

fn headers() -> impl Strategy<Value = Vec<OwnedHeader>> {
    vec((bytes(), option::of(bytes())), 0..4)
}
