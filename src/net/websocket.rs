//! The frames of a WebSocket, the server's side [RFC 6455 §5]: payloads out of frames, in place, and
//! bytes into frames. Apart from the request that opens it (`upgrade.rs`), which is HTTP.
//!
//! ```text
//!   client:  fin, opcode | masked, length | 0, 2 or 8 bytes more of it | mask | payload ^ mask
//!   server:  fin, opcode | length         | 0, 2 or 8 bytes more of it | payload
//! ```
//!
//! A frame of data is never kept: what has come of its payload goes on at once, so that a
//! connection costs the fourteen bytes of a head and no more, however long a frame is. MQTT packets
//! stand anywhere in the frames [MQTT-6.0.0-2] [MQTT5-6.0.0-2].

use super::fault::Fault;
use crate::limits;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Bytes of the longest head that a client can send.
const HEAD_BYTES_MAX: usize = 14;

/// Bytes of the payload of a control frame at most [RFC 6455 §5.5].
const CONTROL_BYTES_MAX: u64 = 125;

/// Status codes [RFC 6455 §7.4.1].
pub const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const UNSUPPORTED_DATA: u16 = 1003;
const TOO_BIG: u16 = 1009;

/// Whether more is to be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The other end may say more.
    Open,
    /// It has said that it will not.
    End,
}

/// What is known of the frames of one connection between two reads.
#[derive(Debug, Default)]
pub struct Frames {
    head: [u8; HEAD_BYTES_MAX],
    /// Bytes of `head` that have come.
    head_bytes: u8,
    /// Whether the head is whole, and its payload is coming.
    in_payload: bool,
    /// Whether a fragmented message is open [RFC 6455 §5.4].
    in_message: bool,
    /// Bytes of the payload still to come.
    left: u64,
    /// The mask, turned so that its first byte is for the next byte of the payload.
    mask: [u8; 4],
    /// The payload of a control frame, as far as it has come.
    control: Vec<u8>,
    /// What the last ping that was not answered yet had in it [RFC 6455 §5.5.3].
    ping: Option<Box<[u8]>>,
    /// The status that the client closed with; it is answered with the same.
    closed_with: Option<u16>,
}

impl Frames {
    /// Replaces `bytes`, which follow those of the last call, by the payload in them.
    ///
    /// # Errors
    /// The frame that must not be; `bytes` holds the payload before it.
    pub fn decode(&mut self, bytes: &mut Vec<u8>) -> Result<Heard, Fault> {
        let (mut at, mut kept) = (0, 0);
        let mut heard = Ok(Heard::Open);
        while at < bytes.len() && heard == Ok(Heard::Open) {
            if self.in_payload {
                let count = self.left.min((bytes.len() - at) as u64) as usize;
                if let Some(payload) = bytes.get_mut(at..at + count) {
                    self.unmask(payload);
                }
                if self.is_control() {
                    self.control
                        .extend_from_slice(bytes.get(at..at + count).unwrap_or_default());
                } else {
                    bytes.copy_within(at..at + count, kept);
                    kept += count;
                }
                at += count;
                self.left -= count as u64;
            } else if let Some(byte) = bytes.get(at) {
                at += 1;
                heard = self.take_head(*byte).map(|()| Heard::Open);
            }
            if heard.is_ok() && self.in_payload && self.left == 0 {
                self.in_payload = false;
                heard = self.end_frame();
            }
        }
        bytes.truncate(kept);
        heard
    }

    fn opcode(&self) -> u8 {
        self.head[0] & 0x0f
    }

    fn is_control(&self) -> bool {
        self.opcode() >= CLOSE
    }

    /// Takes the next byte of a head; `in_payload` says whether it was the last one.
    fn take_head(&mut self, byte: u8) -> Result<(), Fault> {
        let at = usize::from(self.head_bytes);
        if let Some(place) = self.head.get_mut(at) {
            *place = byte;
        }
        self.head_bytes += 1;
        match at {
            0 => return self.check_first(byte),
            1 if byte & MASKED == 0 => return Err(Fault::FrameUnmasked),
            1 if self.is_control() && u64::from(byte & !MASKED) > CONTROL_BYTES_MAX => {
                return Err(Fault::FrameMalformed);
            }
            _ => {}
        }
        let more = match self.head[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if at + 1 < 2 + more + 4 {
            return Ok(());
        }
        self.begin_payload(more)
    }

    fn check_first(&mut self, byte: u8) -> Result<(), Fault> {
        let is_final = byte & FIN != 0;
        if byte & RESERVED != 0 {
            return Err(Fault::FrameMalformed);
        }
        match self.opcode() {
            CONTINUATION if self.in_message => self.in_message = !is_final,
            BINARY if !self.in_message => self.in_message = !is_final,
            TEXT if !self.in_message => return Err(Fault::FrameText), // [MQTT-6.0.0-1] [MQTT5-6.0.0-1]
            CLOSE | PING | PONG if is_final => {}
            _ => return Err(Fault::FrameMalformed),
        }
        Ok(())
    }

    /// The head is whole: `more` bytes of length stand in it behind the second one.
    fn begin_payload(&mut self, more: usize) -> Result<(), Fault> {
        let long = self.head.get(2..2 + more).unwrap_or_default();
        let (least, left) = match more {
            0 => (0, u64::from(self.head[1] & !MASKED)),
            2 => (126, fold(long)),
            _ => (1 << 16, fold(long)),
        };
        if left < least {
            return Err(Fault::FrameMalformed); // [RFC 6455 §5.2]: in as few bytes as it takes
        }
        if left > limits::WEBSOCKET_FRAME_BYTES_MAX {
            return Err(Fault::FrameTooLong);
        }
        let mask = self
            .head
            .get(2 + more..)
            .and_then(|rest| rest.first_chunk::<4>());
        self.mask = mask.copied().unwrap_or_default();
        self.left = left;
        self.head_bytes = 0;
        self.in_payload = true;
        Ok(())
    }

    fn unmask(&mut self, payload: &mut [u8]) {
        let mask = self.mask;
        let mut chunks = payload.chunks_exact_mut(4);
        for chunk in chunks.by_ref() {
            for (byte, mask) in chunk.iter_mut().zip(mask) {
                *byte ^= mask;
            }
        }
        let rest = chunks.into_remainder();
        for (byte, mask) in rest.iter_mut().zip(mask) {
            *byte ^= mask;
        }
        self.mask.rotate_left(rest.len());
    }

    /// A frame is whole.
    fn end_frame(&mut self) -> Result<Heard, Fault> {
        if !self.is_control() {
            return Ok(Heard::Open);
        }
        let payload = std::mem::take(&mut self.control);
        match self.opcode() {
            PING => self.ping = Some(payload.into()),
            CLOSE => {
                self.closed_with = match *payload.as_slice() {
                    [] => None,
                    [high, low, ..] => Some(u16::from_be_bytes([high, low])),
                    [_] => return Err(Fault::FrameMalformed),
                };
                return match self.closed_with {
                    None | Some(1000..=1003 | 1007..=1014 | 3000..=4999) => Ok(Heard::End),
                    Some(_) => Err(Fault::FrameMalformed), // [RFC 6455 §7.4]
                };
            }
            _ => {}
        }
        Ok(Heard::Open)
    }

    /// Whether a ping waits for its answer.
    pub fn owes_pong(&self) -> bool {
        self.ping.is_some()
    }

    /// Appends the answer to the last ping, if it has none yet.
    pub fn put_pong(&mut self, out: &mut Vec<u8>) {
        if let Some(payload) = self.ping.take() {
            put_head(PONG, payload.len(), out);
            out.extend_from_slice(&payload);
        }
    }

    /// Appends the last frame: with the status that the client gave, or else the one for `fault`.
    pub fn put_close(&self, fault: Option<Fault>, out: &mut Vec<u8>) {
        let code = match fault {
            None => self.closed_with.unwrap_or(NORMAL),
            Some(Fault::FrameText) => UNSUPPORTED_DATA,
            Some(Fault::FrameTooLong) => TOO_BIG,
            Some(_) => PROTOCOL_ERROR,
        };
        put_head(CLOSE, 2, out);
        out.extend_from_slice(&code.to_be_bytes());
    }
}

/// Appends `bytes` as one binary frame [MQTT-6.0.0-1] [MQTT5-6.0.0-1].
pub fn put_binary(bytes: &[u8], out: &mut Vec<u8>) {
    put_head(BINARY, bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// Appends the head of a whole frame with `length` bytes of payload.
fn put_head(opcode: u8, length: usize, out: &mut Vec<u8>) {
    out.push(FIN | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => out.push(short),
        (_, Ok(length)) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Big-endian bytes, eight at most, as a number.
fn fold(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
