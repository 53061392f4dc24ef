//! The text of one topic level, as a node of the tree keeps it.
//!
//! ```text
//!   Inline   [ tag | length | 14 bytes of text ]      16 bytes, no allocation
//!   Heap     [ tag |  …     | pointer to the text ]
//! ```
//!
//! It is apart because a tree of a million nodes is mostly this: a `Box<str>` would cost 16 bytes
//! here and another 32 in the heap for a level such as `kitchen`. It must never be longer than
//! 16 bytes, and never be asked for UTF-8 where bytes will do.

/// Bytes of a level's text that need no allocation.
pub(super) const INLINE_BYTES: usize = 14;

/// One level's text, never changed once made.
pub(super) enum Level {
    /// Up to [`INLINE_BYTES`]; the rest of `bytes` is zero.
    Inline {
        length: u8,
        bytes: [u8; INLINE_BYTES],
    },
    /// Anything longer. Boxed twice, so that the pointer has no length beside it.
    Heap(Box<Box<str>>),
}

impl Level {
    /// The empty text.
    pub(super) const EMPTY: Self = Self::Inline {
        length: 0,
        bytes: [0; INLINE_BYTES],
    };

    /// Copies `text`.
    pub(super) fn new(text: &str) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(room), Ok(length)) => {
                room.copy_from_slice(text.as_bytes());
                Self::Inline { length, bytes }
            }
            _ => Self::Heap(Box::new(text.into())),
        }
    }

    /// The text as bytes: cheap, and enough to hash and compare.
    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Heap(text) => text.as_bytes(),
        }
    }

    /// Whether this is the text.
    #[inline]
    pub(super) fn is(&self, text: &[u8]) -> bool {
        self.as_bytes() == text
    }

    /// The text.
    pub(super) fn as_str(&self) -> &str {
        match self {
            // Never invalid: `new` copied a whole `str`.
            Self::Inline { .. } => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Self::Heap(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back() {
        let rows = [
            "",
            "a",
            "+",
            "kitchen",
            "fourteen bytes",
            "fifteen bytes !",
            "чай чай чай чай чай",
        ];
        for text in rows {
            let level = Level::new(text);
            assert_eq!(level.as_str(), text);
            assert_eq!(level.as_bytes(), text.as_bytes());
            assert_eq!(
                matches!(level, Level::Inline { .. }),
                text.len() <= INLINE_BYTES
            );
        }
        assert_eq!(Level::EMPTY.as_str(), "");
    }

    #[test]
    fn sixteen_bytes() {
        assert_eq!(size_of::<Level>(), 16);
    }
}
