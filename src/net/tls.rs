//! The TLS stage: records from the client to bytes, bytes to records. rustls does it, without
//! buffers of its own: what has come of a record that is not whole is kept here, and nothing is kept
//! between two records. It touches no socket.

pub use super::acceptor::{Acceptor, KeyLogFile};

use super::certificate::Certificate;
use super::ciphers;
use super::fault::Fault;
use super::websocket::Heard;
use crate::broker::client::TlsPeer;
use crate::limits;
use crate::time::Unix;
use rustls::server::{ServerConfig, ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, WriteTraffic};
use rustls::{AlertDescription, CertificateError, Error, HandshakeKind, PeerIncompatible};
use rustls::{InvalidMessage, ProtocolVersion};
use std::fmt;
use std::sync::Arc;

/// The TLS of one connection.
pub struct Session {
    connection: UnbufferedServerConnection,
    /// The beginning of a record, or of a message of the handshake, whose end has not come yet.
    stash: Vec<u8>,
    /// Whether it has come to its end by an error: rustls must not be asked anything then.
    is_failed: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_handshaking() {
            "handshaking"
        } else {
            "open"
        };
        f.debug_tuple("Session").field(&state).finish()
    }
}

impl Session {
    /// Begins to wait for a client.
    ///
    /// # Errors
    /// When the system has no chance to give.
    pub fn new(config: &Arc<ServerConfig>) -> Result<Self, Fault> {
        let connection = UnbufferedServerConnection::new(Arc::clone(config));
        Ok(Self {
            connection: connection.map_err(|_| Fault::TlsFailed)?,
            stash: Vec::new(),
            is_failed: false,
        })
    }

    /// Whether the handshake is still under way.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Appends to `clear` what `wire`, the bytes that have come, says; and to `out` what must be
    /// answered. `wire` is scratched.
    ///
    /// # Errors
    /// Why it cannot go on; `out` holds the alert that tells the client.
    pub fn decode(
        &mut self,
        wire: &mut [u8],
        clear: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Heard, Fault> {
        if self.is_failed {
            return Err(Fault::TlsFailed);
        }
        if self.stash.is_empty() {
            let (used, heard) = self.process(wire, clear, out)?;
            self.stash = wire.get(used..).unwrap_or_default().to_vec();
            return Ok(heard);
        }
        let mut stash = std::mem::take(&mut self.stash);
        stash.extend_from_slice(wire);
        let (used, heard) = self.process(&mut stash, clear, out)?;
        if used < stash.len() {
            self.stash = stash.split_off(used);
        }
        match self.stash.len() > limits::TLS_STASH_BYTES_MAX {
            true => Err(Fault::TlsBroken),
            false => Ok(heard),
        }
    }

    /// Works off whole records at the front of `incoming`: how many bytes they had.
    fn process(
        &mut self,
        incoming: &mut [u8],
        clear: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(usize, Heard), Fault> {
        let (mut used, mut heard) = (0, Heard::Open);
        loop {
            let rest = incoming.get_mut(used..).unwrap_or_default();
            let status = self.connection.process_tls_records(rest);
            used += status.discard;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        used += record.discard;
                        clear.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode_handshake(&mut data, out)?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => heard = Heard::End,
                Ok(_) => return Ok((used, heard)),
                Err(error) => {
                    self.put_alert(out);
                    return Err(fault(&error));
                }
            }
        }
    }

    /// After an error: appends what rustls still has to say, which is why.
    fn put_alert(&mut self, out: &mut Vec<u8>) {
        self.is_failed = true;
        while self.connection.wants_write() {
            let status = self.connection.process_tls_records(&mut []);
            if let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state {
                if encode_handshake(&mut data, out).is_ok() {
                    continue;
                }
            }
            break;
        }
    }

    /// Appends to `out` the records that say `bytes`.
    ///
    /// # Errors
    /// When the handshake is not over, or no more can be said on this connection.
    pub fn encode(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        self.write(out, |traffic, out| {
            append(out, |space| {
                traffic
                    .encrypt(bytes, space)
                    .map_err(|error| needed(&error))
            })
        })
    }

    /// Appends to `out` that nothing more will be said.
    ///
    /// # Errors
    /// When nothing can be said at all.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.write(out, |traffic, out| {
            append(out, |space| {
                let written = traffic.queue_close_notify(space);
                written.map_err(|error| needed(&error))
            })
        })
    }

    /// Lets `write` append what it has to say, once that may be said.
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Traffic<'_>, &mut Vec<u8>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        while !self.is_failed {
            // What is in the stash is not whole, so that nothing but what waits to go out comes of it.
            let status = self.connection.process_tls_records(&mut self.stash);
            debug_assert_eq!(status.discard, 0, "a whole record was left");
            match status.state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode_handshake(&mut data, out)?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {}
                Ok(ConnectionState::WriteTraffic(mut traffic)) => return write(&mut traffic, out),
                Ok(_) | Err(_) => break,
            }
        }
        Err(Fault::TlsFailed)
    }

    /// What the handshake has told of the client, whose certificate is held to its dates if `now` is
    /// given. `None`: it is not over.
    ///
    /// # Errors
    /// When the client came back by a ticket, and its certificate has ended since it got that.
    pub fn peer(&self, now: Option<Unix>) -> Result<Option<TlsPeer>, Fault> {
        let (false, Some(suite)) = (
            self.is_handshaking(),
            self.connection.negotiated_cipher_suite(),
        ) else {
            return Ok(None);
        };
        let shown = self.connection.peer_certificates().and_then(<[_]>::first);
        let certificate = shown.and_then(|shown| Certificate::read(shown));
        let is_resumed = self.connection.handshake_kind() == Some(HandshakeKind::Resumed);
        if let (Some(shown), Some(now), true) = (&certificate, now, is_resumed) {
            if shown.not_after < now {
                return Err(Fault::CertificateExpired);
            }
        }
        let version = match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let (common_name, subject) = match certificate {
            Some(certificate) => (certificate.common_name, Some(certificate.subject)),
            None => (None, None),
        };
        Ok(Some(TlsPeer {
            version: version.into(),
            cipher: ciphers::name(suite).into(),
            common_name,
            subject,
        }))
    }
}

type Traffic<'c> = WriteTraffic<'c, ServerConnectionData>;

/// Appends a record of the handshake, or an alert.
fn encode_handshake(
    data: &mut EncodeTlsData<'_, ServerConnectionData>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    append(out, |space| {
        data.encode(space).map_err(|error| match error {
            EncodeError::InsufficientSize(size) => Some(size.required_size),
            EncodeError::AlreadyEncoded => None,
        })
    })
}

/// Bytes that a record needs; `None`: no more can be encrypted.
fn needed(error: &EncryptError) -> Option<usize> {
    match error {
        EncryptError::InsufficientSize(size) => Some(size.required_size),
        EncryptError::EncryptExhausted => None,
    }
}

/// Appends what `write` writes, which is asked first how much that will be.
fn append(
    out: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Result<(), Fault> {
    let size = match write(&mut []) {
        Err(Some(size)) => size,
        Ok(_) => return Ok(()),
        Err(None) => return Err(Fault::TlsFailed),
    };
    let before = out.len();
    out.resize(before + size, 0);
    let written = out.get_mut(before..).map(write);
    out.truncate(before + written.and_then(Result::ok).ok_or(Fault::TlsFailed)?);
    Ok(())
}

/// Whose fault it is, and which.
fn fault(error: &Error) -> Fault {
    match error {
        Error::AlertReceived(alert) => alert_fault(*alert),
        Error::InvalidCertificate(why) => certificate_fault(why),
        Error::NoCertificatesPresented => Fault::NoCertificate,
        Error::NoApplicationProtocol => Fault::NoCommonProtocol,
        Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => Fault::NoCommonVersion,
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            // Which versions below 1.2 do not have.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
        ) => Fault::NoCommonVersion,
        Error::PeerIncompatible(_) => Fault::NoCommonCipher,
        Error::FailedToGetCurrentTime | Error::FailedToGetRandomBytes | Error::General(_) => {
            Fault::TlsFailed
        }
        _ => Fault::TlsBroken,
    }
}

/// What the client said before it gave up.
fn alert_fault(alert: AlertDescription) -> Fault {
    match alert {
        AlertDescription::UnknownCA => Fault::RejectedAuthority,
        AlertDescription::CertificateExpired => Fault::RejectedExpired,
        AlertDescription::CertificateRevoked => Fault::RejectedRevoked,
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => Fault::RejectedCertificate,
        AlertDescription::ProtocolVersion => Fault::NoCommonVersion,
        _ => Fault::RejectedHandshake,
    }
}

fn certificate_fault(why: &CertificateError) -> Fault {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Fault::CertificateExpired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Fault::CertificateNotYetValid
        }
        CertificateError::Revoked => Fault::CertificateRevoked,
        CertificateError::UnknownRevocationStatus => Fault::CertificateStatusUnknown,
        CertificateError::UnknownIssuer => Fault::CertificateIssuerUnknown,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Fault::CertificatePurpose
        }
        CertificateError::BadSignature => Fault::CertificateSignature,
        CertificateError::BadEncoding => Fault::CertificateMalformed,
        _ => Fault::CertificateUnsupported,
    }
}
