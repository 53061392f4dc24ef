//! Why what carries a connection cannot go on: the PROXY header, TLS, or the WebSocket. Apart from
//! the stages because all of them speak through the same door: the core ends the connection, and
//! says these words in the log.

use std::fmt;

/// Whose fault it is not to come as far as MQTT, and which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection does not begin with a PROXY header.
    NoProxyHeader,
    /// It does, but with one of the other version.
    ProxyVersion,
    /// It does, but what stands in it makes no sense.
    ProxyMalformed,
    /// The PROXY header is longer than any needs to be.
    ProxyTooLong,
    /// The PROXY header says that the client came to the proxy without TLS.
    ProxyWithoutTls,
    /// The PROXY header says that the client showed the proxy no certificate that holds.
    ProxyWithoutCertificate,

    /// MQTT without TLS where TLS is spoken.
    PlainMqtt,
    /// HTTP without TLS where TLS is spoken.
    PlainHttp,
    /// Neither TLS nor anything that is known where TLS is spoken.
    NotTls,
    /// TLS where WebSockets without it are spoken.
    TlsOnPlain,
    /// MQTT without a WebSocket where WebSockets are spoken.
    BareMqtt,
    /// The client's versions of TLS are not those spoken here.
    NoCommonVersion,
    /// No cipher, group or signature is known to both.
    NoCommonCipher,
    /// The client asks by ALPN for another protocol.
    NoCommonProtocol,
    /// The client showed no certificate.
    NoCertificate,
    /// The client's certificate is past its end.
    CertificateExpired,
    /// The client's certificate has not begun yet.
    CertificateNotYetValid,
    /// The client's certificate stands in a revocation list.
    CertificateRevoked,
    /// No revocation list covers the client's certificate.
    CertificateStatusUnknown,
    /// The client's certificate comes from nobody in cafile or capath.
    CertificateIssuerUnknown,
    /// The client's certificate is not for clients.
    CertificatePurpose,
    /// The signature of the client's certificate, or of the client with its key, is wrong.
    CertificateSignature,
    /// The client's certificate is of a kind that cannot be checked here.
    CertificateUnsupported,
    /// The client's certificate makes no sense.
    CertificateMalformed,
    /// The client does not know the authority of the certificate here.
    RejectedAuthority,
    /// The client takes the certificate here for one that is out of date.
    RejectedExpired,
    /// The client says that the certificate here was revoked.
    RejectedRevoked,
    /// The client does not like the certificate here, in most cases because of its name.
    RejectedCertificate,
    /// The client gave the handshake up in some other way.
    RejectedHandshake,
    /// The client broke the rules of TLS, or what it sent was changed on its way.
    TlsBroken,
    /// The system has no chance left to give, or TLS failed here in some other way.
    TlsFailed,

    /// What should be a request of HTTP is none.
    HttpMalformed,
    /// The head of the request is longer than any needs to be.
    HttpTooLong,
    /// A request of HTTP that does not ask for a WebSocket; it was answered.
    HttpOnly,
    /// A WebSocket of another version.
    WebSocketVersion,
    /// A WebSocket for something that is not MQTT.
    WebSocketProtocol,
    /// A WebSocket that a page of another origin opens.
    WebSocketOrigin,
    /// A frame that breaks RFC 6455.
    FrameMalformed,
    /// A frame that its client has not masked.
    FrameUnmasked,
    /// A text frame, where MQTT comes in binary ones.
    FrameText,
    /// A frame that is longer than any packet.
    FrameTooLong,
}

impl Fault {
    /// Whether it is a matter of course: somebody looked at what is here, and got an answer.
    pub const fn is_harmless(self) -> bool {
        matches!(self, Self::HttpOnly)
    }

    /// It in words, for the log.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NoProxyHeader => {
                "no PROXY header came; let the proxy send one (send-proxy or send-proxy-v2), or \
                 take enable_proxy_protocol away"
            }
            Self::ProxyVersion => {
                "the PROXY header is of the other version; make enable_proxy_protocol agree with \
                 what the proxy sends"
            }
            Self::ProxyMalformed => "the PROXY header makes no sense",
            Self::ProxyTooLong => "the PROXY header is too long",
            Self::ProxyWithoutTls => {
                "the client came to the proxy without TLS, which proxy_protocol_v2_require_tls \
                 asks for"
            }
            Self::ProxyWithoutCertificate => {
                "the client showed the proxy no valid certificate, which require_certificate asks \
                 for"
            }
            Self::PlainMqtt => {
                "this looks like MQTT without TLS; a plain client on the TLS port, which must be \
                 given the authority's certificate (cafile) or another port"
            }
            Self::PlainHttp => {
                "this looks like HTTP without TLS; its address must begin with https or wss"
            }
            Self::NotTls => "this is not TLS, which is spoken here",
            Self::TlsOnPlain => {
                "this looks like TLS; a TLS client on the plain port, where its address must begin \
                 with ws"
            }
            Self::BareMqtt => {
                "this looks like MQTT without a WebSocket, which is what this port is for"
            }
            Self::NoCommonVersion => {
                "the client speaks no version of TLS that is spoken here; 1.2 is the lowest there \
                 is, unless tls_version says 1.3"
            }
            Self::NoCommonCipher => "the client knows no cipher of TLS that is known here",
            Self::NoCommonProtocol => "the client asks TLS for other protocols than mqtt, by ALPN",
            Self::NoCertificate => {
                "the client showed no certificate, which require_certificate asks for"
            }
            Self::CertificateExpired => {
                "the client's certificate has expired; give it a new one, or check this machine's \
                 clock"
            }
            Self::CertificateNotYetValid => {
                "the client's certificate is not valid yet; check this machine's clock"
            }
            Self::CertificateRevoked => "the client's certificate has been revoked",
            Self::CertificateStatusUnknown => {
                "no list in crlfile is of the authority that the client's certificate comes from"
            }
            Self::CertificateIssuerUnknown => {
                "the client's certificate comes from an unknown authority, none of those in cafile \
                 or capath"
            }
            Self::CertificatePurpose => {
                "the client's certificate is not for clients; its extended key usage must hold \
                 clientAuth, or be left out"
            }
            Self::CertificateSignature => "the signature of the client's certificate is wrong",
            Self::CertificateUnsupported => {
                "the client's certificate cannot be checked here: it has a kind of key, signature \
                 or extension that is unknown, is an authority's own, or is of X.509 version 1 \
                 where there is a crlfile; make it anew as a client's, of version 3"
            }
            Self::CertificateMalformed => "the client's certificate makes no sense",
            Self::RejectedAuthority => {
                "the client does not know the authority of this broker's certificate; give it the \
                 authority's certificate"
            }
            Self::RejectedExpired => {
                "the client says that this broker's certificate has expired; renew it, or check \
                 the client's clock"
            }
            Self::RejectedRevoked => {
                "the client says that this broker's certificate has been revoked"
            }
            Self::RejectedCertificate => {
                "the client rejects this broker's certificate; it was most likely told to connect \
                 to a name that does not stand in it"
            }
            Self::RejectedHandshake => "the client gave the TLS handshake up",
            Self::TlsBroken => "the client broke the rules of TLS",
            Self::TlsFailed => "TLS failed here",
            Self::HttpMalformed => "this is not HTTP, which a WebSocket begins with",
            Self::HttpTooLong => "the head of the HTTP request is too long",
            Self::HttpOnly => "an HTTP request that asks for no WebSocket, answered with a page",
            Self::WebSocketVersion => "the WebSocket is not of version 13",
            Self::WebSocketProtocol => {
                "the WebSocket asks for other sub-protocols than mqtt and mqttv3.1"
            }
            Self::WebSocketOrigin => {
                "the WebSocket comes from a page whose origin is not among websockets_origin"
            }
            Self::FrameMalformed => "a WebSocket frame breaks RFC 6455",
            Self::FrameUnmasked => "a WebSocket frame is not masked",
            Self::FrameText => "MQTT came in a WebSocket's text frame; it goes in binary ones",
            Self::FrameTooLong => "a WebSocket frame is longer than any packet",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}
