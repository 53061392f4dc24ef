//! UTF-8 Encoded Strings [MQTT §1.5.3] [MQTT5 §1.5.4]: the one place that decides which bytes may
//! stand where the specification says "string". It knows nothing of topics; a string it lets pass
//! may still be no Topic Name.

use super::error::{DecodeError, Malformed};
use crate::bytes::Reader;

/// Reads a two-byte length and a string of that many bytes.
///
/// # Errors
/// `Malformed::Truncated`, or what [`check`] says.
pub fn read<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    Ok(check(reader.binary()?)?)
}

/// The string in `bytes`, if it is one that may be sent.
///
/// # Errors
/// `Malformed::Utf8` for ill-formed UTF-8, surrogates among it; `NullCharacter` for U+0000;
/// `DisallowedCharacter` for a control character or a non-character. U+FEFF is kept.
pub fn check(bytes: &[u8]) -> Result<&str, Malformed> {
    // [MQTT-1.5.3-1] [MQTT5-1.5.4-1] Rust's own check refuses surrogates, too.
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed::Utf8)?;
    if is_printable_ascii(bytes) {
        return Ok(text);
    }
    // [MQTT-1.5.3-3] [MQTT5-1.5.4-3] U+FEFF is an ordinary character here and is never stripped.
    for character in text.chars() {
        match character {
            // [MQTT-1.5.3-2] [MQTT5-1.5.4-2]
            '\0' => return Err(Malformed::NullCharacter),
            _ if is_disallowed(character) => return Err(Malformed::DisallowedCharacter),
            _ => {}
        }
    }
    Ok(text)
}

/// Whether every byte is one of U+0020 to U+007E. No early exit: this way the compiler checks many
/// bytes at once, and nearly every topic there is passes.
fn is_printable_ascii(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .fold(true, |all, byte| all & (byte.wrapping_sub(0x20) < 0x5f))
}

/// Choice: the specification lets a receiver refuse control characters and non-characters
/// [MQTT §1.5.3] [MQTT5 §1.5.4]. mosquitto refuses all of them in every string, and so do we: its
/// clients and access lists already live with that, and log lines stay whole.
fn is_disallowed(character: char) -> bool {
    let code = u32::from(character);
    character.is_control() || (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_that_may_be_sent() {
        for text in [
            "",
            "a",
            "tea/green ~",
            "é",
            "\u{a0}",
            "\u{feff}x",
            "日本",
            "🍵",
            "\u{fdcf}\u{fdf0}\u{fffd}",
        ] {
            assert_eq!(check(text.as_bytes()), Ok(text));
        }
    }

    #[test]
    fn ill_formed_utf8() {
        let overlong_slash: &[u8] = b"\xc0\xaf";
        let surrogate = b"a\xed\xa0\x80";
        let surrogate_pair = b"\xed\xa0\x80\xed\xb0\x80";
        let above_10ffff = b"\xf4\x90\x80\x80";
        for bytes in [
            overlong_slash,
            surrogate,
            surrogate_pair,
            above_10ffff,
            b"\x80",
            b"a\xe2\x82",
            b"\xff",
        ] {
            assert_eq!(check(bytes), Err(Malformed::Utf8), "{bytes:x?}");
        }
    }

    #[test]
    fn characters_that_may_not_be_sent() {
        assert_eq!(check(b"a\0b"), Err(Malformed::NullCharacter));
        for code in (1..=0x1f).chain(0x7f..=0x9f).chain(0xfdd0..=0xfdef) {
            let text = format!("tea/{}", char::from_u32(code).unwrap());
            assert_eq!(
                check(text.as_bytes()),
                Err(Malformed::DisallowedCharacter),
                "{code:x}"
            );
        }
        for plane in 0..=0x10 {
            for last in [0xfffe, 0xffff] {
                let text = char::from_u32(plane << 16 | last).unwrap().to_string();
                assert_eq!(check(text.as_bytes()), Err(Malformed::DisallowedCharacter));
            }
        }
    }
}
