//! A sound handler for version 9.0.0 of the contract, which no host knows: refused at load, with both
//! versions named. If it ran, it would take every record and emit nothing.

mod bindings {
    // Generated code: the canonical ABI is a matter of raw pointers.
    #![allow(unsafe_code, missing_docs, clippy::all)]

    wit_bindgen::generate!({ world: "handler", generate_all });

    #[cfg(target_arch = "wasm32")]
    export!(OtherVersion with_types_in self);
    #[cfg(target_arch = "wasm32")]
    use super::OtherVersion;
}

use bindings::exports::sandmill::handler::process::{Answer, Batch, Guest};
use bindings::sandmill::handler::types::{HeaderColumns, Outputs};

struct OtherVersion;

impl Guest for OtherVersion {
    fn start(_: Vec<(String, String)>) -> Result<(), String> {
        Ok(())
    }

    fn handle(_: Batch) -> Answer {
        let headers = HeaderColumns {
            counts: Vec::new(),
            names: Vec::new(),
            name_ends: Vec::new(),
            values: Vec::new(),
            value_ends: Vec::new(),
            nulls: Vec::new(),
        };
        let outputs = Outputs {
            inputs: Vec::new(),
            destinations: Vec::new(),
            partitions: Vec::new(),
            keys: Vec::new(),
            key_ends: Vec::new(),
            values: Vec::new(),
            value_ends: Vec::new(),
            flags: Vec::new(),
            timestamps: Vec::new(),
            headers,
        };
        Answer { outputs, failures: Vec::new() }
    }
}
