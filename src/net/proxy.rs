//! The PROXY protocol, versions 1 and 2: the header with which a proxy says whom it speaks for. It
//! is read from a slice and nothing else; whether to believe it is the configuration's affair.
//!
//! ```text
//!   1:  PROXY TCP4 192.0.2.7 198.51.100.1 51234 8883\r\n
//!   2:  12 bytes of signature | version, command | family | length of the rest
//!       | addresses | type, length, value | type, length, value …
//! ```

use super::fault::Fault;
use crate::bytes::{OutOfBytes, Reader};
use crate::limits;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str;

const SIGNATURE_V1: &[u8] = b"PROXY ";
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of a header of version 2 before what its length counts.
const FIXED_BYTES_V2: usize = 16;

/// The type of the value that holds what is known of TLS.
const TYPE_SSL: u8 = 0x20;
const SUBTYPE_SSL_VERSION: u8 = 0x21;
const SUBTYPE_SSL_CN: u8 = 0x22;
const SUBTYPE_SSL_CIPHER: u8 = 0x23;

/// Bits of the first byte of that value: the client came with TLS; it showed a certificate on this
/// connection; it did so on this session, which may be an earlier connection.
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERT: u8 = 0x02 | 0x04;

/// Which version a header must be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary, with more to say.
    V2,
}

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Where the client is; `None`: the proxy speaks for itself, or does not know.
    pub address: Option<SocketAddr>,
    /// What is known of the TLS between client and proxy; `None`: there was none.
    pub tls: Option<ProxiedTls>,
    /// Whether the proxy speaks for itself: a health check.
    pub is_local: bool,
}

/// What a proxy says of the TLS that ends at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxiedTls {
    /// As in `TLSv1.3`.
    pub version: String,
    /// As OpenSSL calls it.
    pub cipher: String,
    /// Whether the client showed a certificate, and the proxy found it valid.
    pub is_verified: bool,
    /// The common name of that certificate.
    pub common_name: Option<String>,
}

impl Header {
    /// Reads the header at the front of `bytes`, and says how many bytes it has. `None`: it is not
    /// whole yet.
    ///
    /// # Errors
    /// There is none, it is of the other version, or it makes no sense.
    pub fn read(bytes: &[u8], version: Version) -> Result<Option<(Self, usize)>, Fault> {
        let (own, other) = match version {
            Version::V1 => (SIGNATURE_V1, SIGNATURE_V2),
            Version::V2 => (SIGNATURE_V2, SIGNATURE_V1),
        };
        if !begins(bytes, own) {
            let is_other = begins(bytes, other);
            return Err(if is_other {
                Fault::ProxyVersion
            } else {
                Fault::NoProxyHeader
            });
        }
        if bytes.len() < own.len() {
            return Ok(None);
        }
        match version {
            Version::V1 => read_v1(bytes),
            Version::V2 => read_v2(bytes),
        }
    }
}

/// Whether `bytes` are the beginning of what begins with `signature`.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(one, other)| one == other)
}

fn read_v1(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
    let line = bytes.get(..limits::PROXY_V1_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = line.windows(2).position(|two| two == b"\r\n") else {
        let is_full = line.len() == limits::PROXY_V1_BYTES_MAX;
        return if is_full {
            Err(Fault::ProxyTooLong)
        } else {
            Ok(None)
        };
    };
    let text = line.get(..end).and_then(|text| str::from_utf8(text).ok());
    let text = text.ok_or(Fault::ProxyMalformed)?;
    let mut header = Header::default();
    let words: Vec<&str> = text.split(' ').collect();
    match *words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => {}
        [
            "PROXY",
            family @ ("TCP4" | "TCP6"),
            source,
            destination,
            source_port,
            port,
        ] => {
            let source = address(family, source, source_port)?;
            address(family, destination, port)?;
            header.address = Some(source);
        }
        _ => return Err(Fault::ProxyMalformed),
    }
    Ok(Some((header, end + 2)))
}

fn address(family: &str, ip: &str, port: &str) -> Result<SocketAddr, Fault> {
    let ip = match family {
        "TCP4" => ip.parse::<Ipv4Addr>().map(IpAddr::V4),
        _ => ip.parse::<Ipv6Addr>().map(IpAddr::V6),
    };
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse::<u16>().ok().filter(|_| is_number);
    match (ip, port) {
        (Ok(ip), Some(port)) => Ok((ip, port).into()),
        _ => Err(Fault::ProxyMalformed),
    }
}

fn read_v2(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
    let mut reader = Reader::new(bytes);
    let Ok((command, family, length)) = fixed_part(&mut reader) else {
        return Ok(None);
    };
    if command >> 4 != 2 {
        return Err(Fault::ProxyMalformed);
    }
    let length = usize::from(length);
    if length > limits::PROXY_V2_BYTES_MAX {
        return Err(Fault::ProxyTooLong);
    }
    let Ok(body) = reader.take(length) else {
        return Ok(None);
    };
    let header = match command & 0x0f {
        0 => Header {
            is_local: true,
            ..Header::default()
        },
        1 => read_body(body, family).map_err(|OutOfBytes| Fault::ProxyMalformed)?,
        _ => return Err(Fault::ProxyMalformed),
    };
    Ok(Some((header, FIXED_BYTES_V2 + length)))
}

/// Version and command, family and transport, length of the rest.
fn fixed_part(reader: &mut Reader<'_>) -> Result<(u8, u8, u16), OutOfBytes> {
    reader.take(SIGNATURE_V2.len())?;
    Ok((reader.u8()?, reader.u8()?, reader.u16()?))
}

fn read_body(body: &[u8], family: u8) -> Result<Header, OutOfBytes> {
    let mut reader = Reader::new(body);
    let address = match family >> 4 {
        1 => {
            let source = Ipv4Addr::from(reader.u32()?);
            reader.take(4)?;
            Some((IpAddr::V4(source), ports(&mut reader)?).into())
        }
        2 => {
            let source = reader.take(16)?;
            let source = <[u8; 16]>::try_from(source).map_err(|_| OutOfBytes)?;
            reader.take(16)?;
            Some((IpAddr::V6(source.into()), ports(&mut reader)?).into())
        }
        3 => {
            reader.take(2 * 108)?;
            None
        }
        _ => None,
    };
    let mut tls = None;
    // Where the family is unknown, so is where the values begin.
    while matches!(family >> 4, 1..=3) && !reader.is_empty() {
        let (kind, value) = (reader.u8()?, reader.binary()?);
        if kind == TYPE_SSL {
            tls = read_tls(value)?;
        }
    }
    Ok(Header {
        address,
        tls,
        is_local: false,
    })
}

/// The client's port; the proxy's stands behind it.
fn ports(reader: &mut Reader<'_>) -> Result<u16, OutOfBytes> {
    let port = reader.u16()?;
    reader.u16()?;
    Ok(port)
}

fn read_tls(value: &[u8]) -> Result<Option<ProxiedTls>, OutOfBytes> {
    let mut reader = Reader::new(value);
    let (client, verify) = (reader.u8()?, reader.u32()?);
    let mut tls = ProxiedTls {
        is_verified: client & CLIENT_CERT != 0 && verify == 0,
        ..ProxiedTls::default()
    };
    while !reader.is_empty() {
        let (kind, value) = (reader.u8()?, reader.binary()?);
        let text = String::from_utf8_lossy(value).into_owned();
        match kind {
            SUBTYPE_SSL_VERSION => tls.version = text,
            SUBTYPE_SSL_CIPHER => tls.cipher = text,
            // Only text is a name; only a certificate that holds gives one.
            SUBTYPE_SSL_CN if tls.is_verified => {
                tls.common_name = str::from_utf8(value).ok().map(str::to_owned);
            }
            _ => {}
        }
    }
    Ok((client & CLIENT_SSL != 0).then_some(tls))
}
