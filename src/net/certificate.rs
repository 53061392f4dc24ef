//! What a certificate says of itself [RFC 5280 §4.1]: whose it is, and from when to when. Whether to
//! believe it is decided elsewhere, by rustls; here the fields are found and the extensions left alone.
//! Apart so that no parser of whole certificates has to be carried.
//!
//! ```text
//!   SEQUENCE {                          certificate
//!     SEQUENCE {                        the part that is signed
//!       [0] version OPTIONAL, INTEGER serial, SEQUENCE algorithm, SEQUENCE issuer,
//!       SEQUENCE { notBefore, notAfter },
//!       SEQUENCE of SET of SEQUENCE { OBJECT IDENTIFIER type, value }  subject,
//!       SEQUENCE { SEQUENCE algorithm, BIT STRING key }, … },
//!     SEQUENCE algorithm, BIT STRING signature }
//! ```

use crate::bytes::{OutOfBytes, Reader};
use crate::time::Unix;
use chrono::NaiveDate;
use std::fmt::Write;

/// What is malformed is just not a certificate, whatever is wrong with it.
type Found<T> = Result<T, OutOfBytes>;

const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const EXPLICIT_0: u8 = 0xa0;

/// NumericString, PrintableString, IA5String, VisibleString: all of them ASCII.
const ASCII_STRINGS: [u8; 4] = [0x12, 0x13, 0x16, 0x1a];

/// TeletexString, which is Latin-1 wherever it is found.
const TELETEX_STRING: u8 = 0x14;

/// `commonName`.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// What OpenSSL calls the parts of names, by their object identifiers.
const SHORT_NAMES: &[(&[u8], &str)] = &[
    (COMMON_NAME, "CN"),
    (&[0x55, 4, 4], "SN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "street"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 12], "title"),
    (&[0x55, 4, 13], "description"),
    (&[0x55, 4, 17], "postalCode"),
    (&[0x55, 4, 41], "name"),
    (&[0x55, 4, 42], "GN"),
    (&[0x55, 4, 43], "initials"),
    (&[0x55, 4, 46], "dnQualifier"),
    (&[0x55, 4, 65], "pseudonym"),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1],
        "UID",
    ),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25],
        "DC",
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1],
        "emailAddress",
    ),
];

/// The fields of a certificate that are wanted here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The first second in which it holds.
    pub not_before: Unix,
    /// The last one.
    pub not_after: Unix,
    /// The first common name, if it is text.
    pub common_name: Option<String>,
    /// The whole subject, as OpenSSL writes it by RFC 2253.
    pub subject: String,
}

/// A certificate taken apart, for whoever checks it.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Whether it has the form of version 1, without extensions: what `openssl x509 -req` made for
    /// many years unless it was told otherwise.
    pub is_version_1: bool,
    /// What is signed, as it stands there.
    pub signed: &'a [u8],
    /// Who has signed it: a name, as it stands there.
    pub issuer: &'a [u8],
    /// Whose it is: a name, as it stands there.
    pub subject: &'a [u8],
    validity: &'a [u8],
    /// The whole public key.
    pub public_key: &'a [u8],
    /// How it was signed: what stands in that sequence.
    pub signature_algorithm: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

/// One part of a name, such as `CN=sensor`.
struct Attribute<'a> {
    object_identifier: &'a [u8],
    tag: u8,
    value: &'a [u8],
    /// The value as it stands in the certificate, with its head.
    whole: &'a [u8],
}

impl Certificate {
    /// Reads a certificate in DER. `None`: it is none.
    pub fn read(der: &[u8]) -> Option<Self> {
        Parts::read(der).and_then(|parts| read(&parts).ok())
    }
}

impl<'a> Parts<'a> {
    /// Takes a certificate in DER apart. `None`: it is none.
    pub fn read(der: &'a [u8]) -> Option<Self> {
        take_apart(der).ok()
    }

    /// The algorithm of the public key, what stands in that sequence; and the key in numbers.
    pub fn key(&self) -> Option<(&'a [u8], &'a [u8])> {
        let mut key = Reader::new(self.public_key);
        let mut inside = Reader::new(expect(&mut key, SEQUENCE).ok()?);
        let algorithm = expect(&mut inside, SEQUENCE).ok()?;
        Some((algorithm, bits(&mut inside).ok()?))
    }
}

fn take_apart(der: &[u8]) -> Found<Parts<'_>> {
    let mut certificate = Reader::new(expect(&mut Reader::new(der), SEQUENCE)?);
    let signed = whole(&mut certificate)?;
    let signature_algorithm = expect(&mut certificate, SEQUENCE)?;
    let signature = bits(&mut certificate)?;
    let mut fields = Reader::new(expect(&mut Reader::new(signed), SEQUENCE)?);
    let is_version_1 = fields.rest().first() != Some(&EXPLICIT_0);
    if !is_version_1 {
        element(&mut fields)?;
    }
    let (_serial, _algorithm) = (element(&mut fields)?, element(&mut fields)?);
    Ok(Parts {
        is_version_1,
        signed,
        issuer: whole(&mut fields)?,
        validity: expect(&mut fields, SEQUENCE)?,
        subject: whole(&mut fields)?,
        public_key: whole(&mut fields)?,
        signature_algorithm,
        signature,
    })
}

fn read(parts: &Parts<'_>) -> Found<Certificate> {
    let mut validity = Reader::new(parts.validity);
    let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
    let names = name(expect(&mut Reader::new(parts.subject), SEQUENCE)?)?;
    let mut all = names.iter().flatten();
    let common_name = all.find(|part| part.object_identifier == COMMON_NAME);
    Ok(Certificate {
        not_before,
        not_after,
        common_name: common_name.and_then(Attribute::text).filter(|name| {
            // A name with a NUL in it has fooled others.
            !name.is_empty() && !name.contains(char::is_control)
        }),
        subject: subject(&names),
    })
}

/// The next element with its head.
fn whole<'a>(reader: &mut Reader<'a>) -> Found<&'a [u8]> {
    let before = reader.rest();
    element(reader)?;
    let bytes = before.len() - reader.rest().len();
    Reader::new(before).take(bytes)
}

/// The next element, whole bytes in a BIT STRING.
fn bits<'a>(reader: &mut Reader<'a>) -> Found<&'a [u8]> {
    let mut inside = Reader::new(expect(reader, BIT_STRING)?);
    match inside.u8()? {
        0 => Ok(inside.rest()),
        _ => Err(OutOfBytes),
    }
}

/// The next element: its tag and what is in it.
fn element<'a>(reader: &mut Reader<'a>) -> Found<(u8, &'a [u8])> {
    let (tag, first) = (reader.u8()?, reader.u8()?);
    // A tag of several bytes does not occur here; a length of more than two does not fit a file.
    let length = match first {
        0..=0x7f => usize::from(first),
        0x81 => usize::from(reader.u8()?),
        0x82 => usize::from(reader.u16()?),
        _ => return Err(OutOfBytes),
    };
    Ok((tag, reader.take(length)?))
}

fn expect<'a>(reader: &mut Reader<'a>, tag: u8) -> Found<&'a [u8]> {
    match element(reader)? {
        (found, inside) if found == tag => Ok(inside),
        _ => Err(OutOfBytes),
    }
}

/// `YYMMDDHHMMSSZ` before 2050, `YYYYMMDDHHMMSSZ` from then on [RFC 5280 §4.1.2.5].
fn time(reader: &mut Reader<'_>) -> Found<Unix> {
    let (tag, digits) = element(reader)?;
    let text = std::str::from_utf8(digits).map_err(|_| OutOfBytes)?;
    let century = match (tag, text.as_bytes().first()) {
        (UTC_TIME, Some(b'0'..=b'4')) => "20",
        (UTC_TIME, _) => "19",
        (GENERALIZED_TIME, _) => "",
        _ => return Err(OutOfBytes),
    };
    let text = format!("{century}{text}");
    let number = |from: usize, to: usize| -> Found<u32> {
        let digits = text.get(from..to).ok_or(OutOfBytes)?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| is_number).ok_or(OutOfBytes)
    };
    let year = i32::try_from(number(0, 4)?).map_err(|_| OutOfBytes)?;
    let day = NaiveDate::from_ymd_opt(year, number(4, 6)?, number(6, 8)?);
    let moment = match (day, number(8, 10)?, number(10, 12)?, number(12, 14)?) {
        (Some(day), hour, minute, second) => day.and_hms_opt(hour, minute, second),
        (None, ..) => None,
    };
    // What lies before 1970 lies before everything.
    let seconds = moment.ok_or(OutOfBytes)?.and_utc().timestamp();
    Ok(Unix(u64::try_from(seconds).unwrap_or(0)))
}

/// A name's parts; those of one set stand for the same level.
fn name(inside: &[u8]) -> Found<Vec<Vec<Attribute<'_>>>> {
    let mut sets = Reader::new(inside);
    let mut parts = Vec::new();
    while !sets.is_empty() {
        let mut set = Reader::new(expect(&mut sets, SET)?);
        let mut level = Vec::new();
        while !set.is_empty() {
            let mut pair = Reader::new(expect(&mut set, SEQUENCE)?);
            let object_identifier = expect(&mut pair, OBJECT_IDENTIFIER)?;
            let whole = pair.rest();
            let (tag, value) = element(&mut pair)?;
            level.push(Attribute {
                object_identifier,
                tag,
                value,
                whole,
            });
        }
        parts.push(level);
    }
    Ok(parts)
}

/// The last level first, as in `CN=sensor,O=Acme`.
fn subject(parts: &[Vec<Attribute<'_>>]) -> String {
    let levels = parts.iter().rev().map(|level| {
        let words: Vec<String> = level.iter().rev().map(Attribute::words).collect();
        words.join("+")
    });
    levels.collect::<Vec<_>>().join(",")
}

impl Attribute<'_> {
    /// The value, if it is text of a kind that is known.
    fn text(&self) -> Option<String> {
        match self.tag {
            UTF8_STRING => std::str::from_utf8(self.value).ok().map(str::to_owned),
            tag if ASCII_STRINGS.contains(&tag) && self.value.is_ascii() => {
                std::str::from_utf8(self.value).ok().map(str::to_owned)
            }
            TELETEX_STRING => Some(self.value.iter().map(|byte| char::from(*byte)).collect()),
            BMP_STRING if self.value.len() % 2 == 0 => {
                let units = self.value.chunks_exact(2).map(|pair| match pair {
                    [high, low] => u16::from_be_bytes([*high, *low]),
                    _ => 0,
                });
                char::decode_utf16(units).collect::<Result<_, _>>().ok()
            }
            _ => None,
        }
    }

    /// As OpenSSL writes it: `type=value`; both in numbers where either is not known.
    fn words(&self) -> String {
        let known = SHORT_NAMES
            .iter()
            .find(|row| row.0 == self.object_identifier);
        match (known, self.text()) {
            (Some((_, name)), Some(text)) => format!("{name}={}", escape(&text)),
            (Some((_, name)), None) => format!("{name}=#{}", hex(self.whole)),
            (None, _) => format!("{}=#{}", dotted(self.object_identifier), hex(self.whole)),
        }
    }
}

/// Text with what could be mistaken put behind backslashes [RFC 2253 §2.4].
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        let is_outer_space = byte == b' ' && (at == 0 || at == last);
        let is_special = b",+\"\\<>;".contains(&byte) || (byte == b'#' && at == 0);
        // Writing to a String does not fail.
        let _ = match byte {
            _ if is_special || is_outer_space => write!(out, "\\{}", char::from(byte)),
            b' '..=b'~' => write!(out, "{}", char::from(byte)),
            _ => write!(out, "\\{byte:02X}"),
        };
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// An object identifier in its usual form, as in `2.5.4.3`.
fn dotted(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut number = 0_u64;
    for byte in bytes {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        let _ = match out.is_empty() {
            true => write!(
                out,
                "{}.{}",
                (number / 40).min(2),
                number - (number / 40).min(2) * 40
            ),
            false => write!(out, ".{number}"),
        };
        number = 0;
    }
    out
}
