//! The request that opens a WebSocket [RFC 6455 §4], and the answers to it and to any other request
//! that comes instead. From a slice to an answer: nothing is kept here.

use super::fault::Fault;
use crate::limits;
use base64ct::{Base64, Encoding};
use sha1::{Digest, Sha1};
use std::net::IpAddr;

/// What the key is joined with before it is hashed [RFC 6455 §1.3].
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The sub-protocols spoken, the best first [MQTT-6.0.0-3] [MQTT5-6.0.0-3].
const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// What a browser shows that was pointed at this port.
const PAGE: &str = "This is midge, an MQTT broker. On this port it speaks MQTT over WebSockets: \
                    point an MQTT client at it, with an address that begins with ws:// or wss://, \
                    and the sub-protocol mqtt. There is nothing here for a browser to show.\n";

/// A request that was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// Bytes of the request; what stands behind them are frames.
    pub request_bytes: usize,
    /// The answer.
    pub response: Vec<u8>,
    /// The client's address, as a proxy says.
    pub forwarded_for: Option<IpAddr>,
}

/// A request that was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub fault: Fault,
    /// The answer.
    pub response: Vec<u8>,
}

/// Answers the request at the front of `bytes`, from a page of one of `origins` if there are any.
/// `None`: its head is not whole yet.
///
/// # Errors
/// The request does not open a WebSocket, or not one for MQTT.
pub fn answer(bytes: &[u8], origins: &[String]) -> Result<Option<Upgrade>, Refused> {
    let mut headers = [httparse::EMPTY_HEADER; limits::HTTP_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let request_bytes = match request.parse(bytes) {
        Ok(httparse::Status::Complete(count)) if count <= limits::HTTP_HEAD_BYTES_MAX => count,
        Ok(httparse::Status::Partial) if bytes.len() < limits::HTTP_HEAD_BYTES_MAX => {
            return Ok(None);
        }
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            let status = "431 Request Header Fields Too Large";
            return Err(refuse(Fault::HttpTooLong, status, ""));
        }
        Err(_) => return Err(refuse(Fault::HttpMalformed, "400 Bad Request", "")),
    };
    let fields = Fields(request.headers);
    check(request.method.unwrap_or_default(), request.version, &fields)?;
    if !origins.is_empty()
        && !fields
            .all("origin")
            .any(|found| origins.iter().any(|o| o == found))
    {
        return Err(refuse(Fault::WebSocketOrigin, "403 Forbidden", ""));
    }
    let key = fields.one("sec-websocket-key").unwrap_or_default();
    let mut nonce = [0; 16];
    if !Base64::decode(key, &mut nonce).is_ok_and(|nonce| nonce.len() == 16) {
        return Err(refuse(Fault::HttpMalformed, "400 Bad Request", ""));
    }
    let protocol = protocol(&fields)?;
    Ok(Some(Upgrade {
        request_bytes,
        response: switch(key, protocol).into_bytes(),
        forwarded_for: forwarded_for(&fields),
    }))
}

/// Whether this is a request for a WebSocket at all, of the one version there is.
fn check(method: &str, version: Option<u8>, fields: &Fields<'_>) -> Result<(), Refused> {
    if !fields.has_token("upgrade", "websocket") || !fields.has_token("connection", "upgrade") {
        return Err(match method {
            "GET" => refuse(Fault::HttpOnly, "200 OK", PAGE),
            "HEAD" => refuse(Fault::HttpOnly, "200 OK", ""),
            _ => refuse(Fault::HttpOnly, "405 Method Not Allowed\r\nAllow: GET", ""),
        });
    }
    if method != "GET" || version != Some(1) {
        return Err(refuse(Fault::HttpMalformed, "400 Bad Request", ""));
    }
    if fields.one("sec-websocket-version") != Some("13") {
        let status = "426 Upgrade Required\r\nSec-WebSocket-Version: 13";
        return Err(refuse(Fault::WebSocketVersion, status, ""));
    }
    Ok(())
}

/// The sub-protocol to speak. `Choice:` a client that asks for none gets none, although it must ask
/// [MQTT-6.0.0-3] [MQTT5-6.0.0-3]: small ones do not.
fn protocol(fields: &Fields<'_>) -> Result<Option<&'static str>, Refused> {
    if fields.one("sec-websocket-protocol").is_none() {
        return Ok(None);
    }
    let known = |name: &&&str| fields.has_token("sec-websocket-protocol", name);
    match PROTOCOLS.iter().find(known) {
        Some(name) => Ok(Some(name)),
        None => Err(refuse(Fault::WebSocketProtocol, "400 Bad Request", "")),
    }
}

/// The answer that grants the request.
fn switch(key: &str, protocol: Option<&str>) -> String {
    let hash = Sha1::digest(format!("{key}{GUID}"));
    let accept = Base64::encode_string(&hash);
    let protocol = protocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{}\r\n",
        protocol.unwrap_or_default()
    )
}

fn refuse(fault: Fault, status: &str, page: &str) -> Refused {
    // Those who will never see the log are told as well.
    let sentence = match fault {
        Fault::HttpOnly => String::new(),
        _ => format!("{fault}.\n"),
    };
    let length = page.len() + sentence.len();
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\
         \r\nConnection: close\r\n\r\n{page}{sentence}"
    );
    Refused {
        fault,
        response: response.into_bytes(),
    }
}

/// The address that the proxy in front has seen: what it has put last into `X-Forwarded-For`, for
/// the client can have written anything before that, or else `X-Real-IP`.
fn forwarded_for(fields: &Fields<'_>) -> Option<IpAddr> {
    let list = fields.all("x-forwarded-for").last();
    let last = list.and_then(|list| list.rsplit(',').next());
    let found = last.or_else(|| fields.one("x-real-ip"))?;
    found.trim().parse().ok()
}

/// The header fields of a request.
struct Fields<'a>(&'a [httparse::Header<'a>]);

impl<'a> Fields<'a> {
    /// The values of all fields called `name`.
    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self
            .0
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name));
        named.filter_map(|field| std::str::from_utf8(field.value).ok().map(str::trim))
    }

    fn one(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// Whether `token` is in the lists that the fields called `name` hold.
    fn has_token(&self, name: &str, token: &str) -> bool {
        let mut tokens = self.all(name).flat_map(|list| list.split(','));
        tokens.any(|found| found.trim().eq_ignore_ascii_case(token))
    }
}
