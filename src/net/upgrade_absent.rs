//! What stands for `upgrade.rs` in a build without WebSockets: nobody gets one.

use super::fault::Fault;
use std::net::IpAddr;

/// A request that was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// Bytes of the request.
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

/// Refuses.
///
/// # Errors
/// Always.
pub fn answer(_bytes: &[u8], _origins: &[String]) -> Result<Option<Upgrade>, Refused> {
    Err(Refused {
        fault: Fault::HttpOnly,
        response: Vec::new(),
    })
}
