//! A PROXY header: what is read of it does not depend on what has come behind it, and nothing is read
//! of one that is not whole.
//!
//! ```text
//!   [ version ][ bytes ]
//! ```

use super::source::Source;
use midge::net::proxy::{Header, Version};

pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let version = match source.below(2) {
        0 => Version::V1,
        _ => Version::V2,
    };
    let bytes = source.rest();
    let whole = Header::read(bytes, version);
    if let Ok(Some((header, count))) = &whole {
        assert!(*count <= bytes.len());
        let tls = header.tls.as_ref();
        assert!(tls.is_none_or(|tls| tls.is_verified || tls.common_name.is_none()));
    }
    for end in 0..bytes.len().min(1000) {
        let part = Header::read(&bytes[..end], version);
        // Which mistake it is can look otherwise while less of it is here.
        let are_both_wrong = part.is_err() && whole.is_err();
        assert!(
            part == Ok(None) || part == whole || are_both_wrong,
            "{end}: {part:?}, not {whole:?}"
        );
        if let Ok(Some((_, count))) = part {
            assert!(count <= end);
        }
    }
}
