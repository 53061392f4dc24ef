//! Input bytes as a source of choices. It is read from the front, never fails, and gives zeros once
//! it has run out, so that a shorter input is a simpler one.

use midge::codec::dialect::ProtocolVersion::{self, V5, V31, V311};
use midge::message::QoS;

/// All versions; the first is the one an input of zeros speaks.
pub const VERSIONS: [ProtocolVersion; 3] = [V5, V311, V31];

pub struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    /// A number below `end`, which is 1 to 256.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.u8()) % end
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A length byte, and at most that many bytes.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.u8()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    /// As [`Source::bytes`], up to the first byte that is no UTF-8.
    pub fn text(&mut self) -> &'a str {
        let bytes = self.bytes();
        std::str::from_utf8(bytes)
            .or_else(|error| std::str::from_utf8(&bytes[..error.valid_up_to()]))
            .unwrap_or_default()
    }

    pub fn version(&mut self) -> ProtocolVersion {
        self.pick(&VERSIONS)
    }

    pub fn qos(&mut self) -> QoS {
        QoS::from_bits(self.u8() % 3).unwrap_or_default()
    }
}
