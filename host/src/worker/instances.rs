//! Warm instances of one worker, by pipeline.

use std::collections::HashMap;

use crate::wasm::Instance;

/// Instances that wait for their next call. Owned by one worker's thread.
#[derive(Debug, Default)]
pub(super) struct Instances {
    idle: HashMap<usize, Vec<Instance>>,
}

impl Instances {
    /// The warmest instance of a pipeline.
    pub fn take(&mut self, pipeline: usize) -> Option<Instance> {
        self.idle.get_mut(&pipeline)?.pop()
    }

    /// Keeps an instance, unless `most` are kept already: then it goes.
    pub fn keep(&mut self, pipeline: usize, instance: Instance, most: usize) {
        let idle = self.idle.entry(pipeline).or_default();
        if idle.len() < most {
            idle.push(instance);
        }
    }
}
