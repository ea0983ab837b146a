//! A case, read out of bytes: never too few of them, so that every input is one.

use crate::TAG;
use crate::ids::Offset;
use crate::plain;

/// What is left of the input.
#[derive(Clone, Debug)]
pub struct Input<'d>(pub &'d [u8]);

impl<'d> Input<'d> {
    /// The next byte; zero behind the end.
    pub fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    /// A number of any size, small ones in few bytes: the first says how many more there are.
    pub fn number(&mut self) -> u64 {
        let first = u64::from(self.byte());
        match first {
            0..=0xef => first,
            _ => (0..first - 0xee).take(8).fold(0, |number, _| number << 8 | u64::from(self.byte())),
        }
    }

    /// Up to `most` bytes.
    pub fn bytes(&mut self, most: usize) -> &'d [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A committed offset: small, with the largest offsets just above it, or any that a log can have.
    pub fn base(&mut self) -> Offset {
        match self.byte() % 4 {
            0 => Offset(0),
            1 => Offset(1_000),
            2 => Offset(i64::MAX - 5_000),
            _ => Offset(self.number() as i64 & i64::MAX),
        }
    }

    /// Metadata for a commit at `base`: any bytes; behind the prefix; under a valid check sum; or with a header
    /// that is right but for what the input chooses. With or without a bit that flipped on the way.
    pub fn metadata(&mut self, base: Offset, most: usize) -> Vec<u8> {
        let how = self.byte();
        let flipped = (how >= 0xc0).then(|| usize::from(self.byte()));
        let mut text = match how % 4 {
            0 => self.bytes(most).to_vec(),
            1 => [b"sm1", self.bytes(most)].concat(),
            2 => plain::sealed(self.bytes(most)),
            _ => {
                // The form's highest bits: of another topic, of another commit.
                let (form, span) = (self.byte(), self.number());
                let tag = TAG + u32::from(form >> 6 & 1);
                let base = Offset(base.0.wrapping_sub(i64::from(form >> 7)));
                plain::sealed(&plain::body(form & 0x3f, tag, base, span, self.bytes(most)))
            }
        };
        if let (Some(flipped), false) = (flipped, text.is_empty()) {
            let at = flipped % text.len();
            text[at] ^= 1;
        }
        text
    }

    /// Whether anything is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
