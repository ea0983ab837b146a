//! The last lines of what came in and what came out, for people.

use std::collections::VecDeque;

use crate::time::Time;

/// So many lines are kept.
const KEPT: usize = 40;

pub struct Story(Option<VecDeque<String>>);

impl Story {
    pub fn new(told: bool) -> Self {
        Story(told.then(VecDeque::new))
    }

    pub fn is_told(&self) -> bool {
        self.0.is_some()
    }

    pub fn tell(&mut self, now: Time, line: &str) {
        if let Some(lines) = &mut self.0 {
            if lines.len() == KEPT {
                lines.pop_front();
            }
            lines.push_back(format!("{:>12.3} ms  {line}", now.as_nanos() as f64 / 1e6));
        }
    }

    pub fn lines(self) -> Vec<String> {
        self.0.into_iter().flatten().collect()
    }
}
