//! Values that the pipeline's operator keeps for the handler: `[pipeline.secrets]`.
//!
//! The host takes them out of log lines and failure messages, where it finds them as they are. What a handler puts into
//! outputs is its own affair.

/// Reads one secret; `None` if the pipeline names none so. A host call: keep what is needed for every record.
///
/// Outside of Wasm this reads what [`testing::set_secrets`](crate::testing::set_secrets) was given.
pub fn get(name: &str) -> Option<String> {
    #[cfg(target_arch = "wasm32")]
    return {
        use crate::abi::{List, Maybe};
        #[link(wasm_import_module = "sandmill:handler/secrets@0.1.0")]
        unsafe extern "C" {
            #[link_name = "get"]
            fn get(name: *const u8, len: usize, value: *mut Maybe<List<u8>>);
        }
        // SAFETY: `get` reads a text and writes an option of one.
        unsafe { crate::exports::ask_text(get, name) }
    };
    #[cfg(not(target_arch = "wasm32"))]
    return crate::testing::host::secret(name);
}
