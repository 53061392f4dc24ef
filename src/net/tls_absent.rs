//! What stands for `tls.rs` and `acceptor.rs` in a build without TLS: no listener has any, so that
//! no session can come to be.

use super::fault::Fault;
use super::websocket::Heard;
use crate::broker::client::TlsPeer;
use crate::config::Listener;
use crate::time::Unix;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Nothing.
#[derive(Debug)]
pub enum Session {}

/// Nothing.
#[derive(Clone, Debug)]
pub enum ServerConfig {}

/// Nothing.
#[derive(Clone, Debug)]
pub struct Acceptor {
    /// Nothing.
    pub config: Arc<ServerConfig>,
    /// Nothing.
    pub not_after: Unix,
    /// Nothing.
    pub checks_dates: bool,
}

/// Nothing.
#[derive(Debug)]
pub enum KeyLogFile {}

impl KeyLogFile {
    /// # Errors
    /// Always.
    pub fn open(_path: &Path) -> io::Result<Self> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "there is no TLS in this build",
        ))
    }
}

impl Acceptor {
    /// Nothing is there to be read.
    ///
    /// # Errors
    /// None.
    pub fn read(
        _listener: &Listener,
        _before: Option<&Self>,
        _key_log: Option<&Arc<KeyLogFile>>,
        _warnings: &mut Vec<String>,
    ) -> Result<Option<Self>, Vec<String>> {
        Ok(None)
    }
}

impl Session {
    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    pub fn new(config: &Arc<ServerConfig>) -> Result<Self, Fault> {
        match **config {}
    }

    /// Cannot be called.
    pub fn is_handshaking(&self) -> bool {
        match *self {}
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    pub fn decode(
        &mut self,
        _: &mut [u8],
        _: &mut Vec<u8>,
        _: &mut Vec<u8>,
    ) -> Result<Heard, Fault> {
        match *self {}
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    pub fn encode(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result<(), Fault> {
        match *self {}
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    pub fn end(&mut self, _: &mut Vec<u8>) -> Result<(), Fault> {
        match *self {}
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    pub fn peer(&self, _: Option<Unix>) -> Result<Option<TlsPeer>, Fault> {
        match *self {}
    }
}
