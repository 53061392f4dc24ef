//! Bounds-checked big-endian reads from, and writes to, byte sequences: the only place where bytes
//! from outside are cut. Reading never panics and never allocates.

/// There were fewer bytes than the field needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBytes;

/// What is left of a byte sequence, read from the front.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A reader over all of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What has not been read yet, without reading it.
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`OutOfBytes`] if fewer are left; nothing is consumed then.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], OutOfBytes> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(OutOfBytes)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], OutOfBytes> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(OutOfBytes)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// A Byte.
    ///
    /// # Errors
    /// [`OutOfBytes`] if none is left.
    pub fn u8(&mut self) -> Result<u8, OutOfBytes> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// A Two Byte Integer [MQTT5 §1.5.2].
    ///
    /// # Errors
    /// [`OutOfBytes`] if fewer than two bytes are left.
    pub fn u16(&mut self) -> Result<u16, OutOfBytes> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// A Four Byte Integer [MQTT5 §1.5.3].
    ///
    /// # Errors
    /// [`OutOfBytes`] if fewer than four bytes are left.
    pub fn u32(&mut self) -> Result<u32, OutOfBytes> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Binary Data [MQTT5 §1.5.6]: a two-byte length and that many bytes.
    ///
    /// # Errors
    /// [`OutOfBytes`] if the length or the data is cut short.
    pub fn binary(&mut self) -> Result<&'a [u8], OutOfBytes> {
        let count = self.u16()?;
        self.take(usize::from(count))
    }
}

/// Appends a Two Byte Integer.
pub fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a Four Byte Integer.
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends Binary Data or a UTF-8 Encoded String: a two-byte length and the bytes. What is longer
/// than the length can say (65,535 bytes) is cut there; every caller bounds its input below that.
pub fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(bytes.len() <= usize::from(u16::MAX));
    let count = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    put_u16(out, count);
    out.extend_from_slice(bytes.get(..usize::from(count)).unwrap_or(bytes));
}

/// Appends a Variable Byte Integer [MQTT5 §1.5.5] in its shortest form [MQTT5-1.5.5-1]. `value` is
/// at most 268,435,455.
pub fn put_variable(out: &mut Vec<u8>, value: u32) {
    debug_assert!(value <= crate::limits::REMAINING_LENGTH_MAX);
    let mut rest = value;
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Bytes that [`put_variable`] appends for `value`: 1 to 4.
pub const fn variable_bytes(value: u32) -> u32 {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

/// The front of `text`: all of it, or as many whole characters as fit into `bytes_max` bytes.
pub fn cut_str(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut_str("abc", 3), "abc");
        assert_eq!(cut_str("abc", 2), "ab");
        assert_eq!(cut_str("aé", 2), "a");
        assert_eq!(cut_str("é", 1), "");
        assert_eq!(cut_str("", 5), "");
    }

    #[test]
    fn variable_byte_integers_take_as_many_bytes_as_said() {
        for value in [
            0,
            127,
            128,
            16_383,
            16_384,
            2_097_151,
            2_097_152,
            268_435_455,
        ] {
            let mut out = Vec::new();
            put_variable(&mut out, value);
            assert_eq!(out.len(), variable_bytes(value) as usize, "{value}");
        }
    }

    #[test]
    fn a_short_read_consumes_nothing() {
        let mut reader = Reader::new(&[0, 2, 7]);
        assert_eq!(reader.u32(), Err(OutOfBytes));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.take(2), Err(OutOfBytes));
        assert_eq!(reader.u8(), Ok(7));
        assert!(reader.is_empty());
    }
}
