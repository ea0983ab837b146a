//! Of the host's sandbox the part that is pure: the rules for answers.

#[path = "../../host/src/wasm/answer/mod.rs"]
pub mod answer;
// Not all of it has a user here.
#[allow(dead_code)]
#[path = "../../host/src/wasm/text.rs"]
pub(crate) mod text;
