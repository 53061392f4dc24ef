//! A certificate authority made for one test, the files that a broker wants of it, and a client that
//! speaks TLS.
#![allow(dead_code)]

use midge::codec::dialect::ProtocolVersion;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub type Issuer = CertifiedIssuer<'static, KeyPair>;
pub type Secure = StreamOwned<ClientConnection, TcpStream>;

/// An authority with a directory of its own, which goes with it.
pub struct Authority {
    pub dir: PathBuf,
    pub root: Issuer,
}

/// A certificate with its key, both in PEM.
#[derive(Clone)]
pub struct Pair {
    pub chain: String,
    pub key: String,
    pub serial: u64,
}

pub fn authority(name: &str, by: Option<&Issuer>) -> Issuer {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    match by {
        None => CertifiedIssuer::self_signed(params, key).unwrap(),
        Some(by) => CertifiedIssuer::signed_by(params, key, by).unwrap(),
    }
}

impl Authority {
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("midge-authority-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        let root = authority(&format!("Root {number}"), None);
        let own = Self { dir, root };
        own.writes("ca.crt", &own.root.pem());
        own.installs(&own.server(|_| {}));
        own
    }

    /// Where a file of this name is.
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    pub fn writes(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Makes this the broker's certificate.
    pub fn installs(&self, pair: &Pair) {
        self.writes("server.crt", &pair.chain);
        self.writes("server.key", &pair.key);
    }

    pub fn server(&self, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        issue(&self.root, |params| {
            let localhost = "localhost".try_into().unwrap();
            params.subject_alt_names = vec![rcgen::SanType::DnsName(localhost)];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params
                .distinguished_name
                .push(DnType::CommonName, "localhost");
            change(params);
        })
    }

    pub fn client(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        client_of(&self.root, name, change)
    }

    /// A list of this authority that takes back one certificate.
    pub fn revokes(&self, serial: u64) -> String {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: date_time_ymd(2020, 1, 2),
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.root).unwrap().pem().unwrap()
    }

    /// Settings of a client that knows this authority.
    pub fn knows(&self) -> Settings {
        Settings {
            roots: vec![self.root.der().clone()],
            pair: None,
            versions: rustls::ALL_VERSIONS.to_vec(),
        }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub fn issue(by: &Issuer, change: impl FnOnce(&mut CertificateParams)) -> Pair {
    static SERIAL: AtomicU64 = AtomicU64::new(1000);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.serial_number = Some(SerialNumber::from(serial));
    params.distinguished_name = DistinguishedName::new();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    Pair {
        chain: params.signed_by(&key, by).unwrap().pem(),
        key: key.serialize_pem(),
        serial,
    }
}

pub fn client_of(by: &Issuer, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
    issue(by, |params| {
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Acme, Inc.");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(params);
    })
}

/// What a client of TLS is set to.
#[derive(Clone)]
pub struct Settings {
    pub roots: Vec<CertificateDer<'static>>,
    pub pair: Option<Pair>,
    pub versions: Vec<&'static rustls::SupportedProtocolVersion>,
}

impl Settings {
    pub fn with(mut self, pair: &Pair) -> Self {
        self.pair = Some(pair.clone());
        self
    }

    pub fn speaking(mut self, version: &'static rustls::SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    pub fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for root in &self.roots {
            roots.add(root.clone()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match &self.pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes());
                let chain = chain.collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                // Not checked to belong together: a thief would not, either.
                let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
                let pair = rustls::sign::CertifiedKey::new(chain, key);
                let resolver = rustls::sign::SingleCertAndKey::from(pair);
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
        })
    }

    pub fn opens(&self, port: u16) -> Secure {
        secure(self.config(), "localhost", port)
    }
}

/// A connection to the broker at `port` that expects a certificate for `name`.
pub fn secure(config: Arc<ClientConfig>, name: &str, port: u16) -> Secure {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(config, name).unwrap(), stream)
}

/// Every version of MQTT over this.
pub const ANY: [ProtocolVersion; 3] = [
    ProtocolVersion::V31,
    ProtocolVersion::V311,
    ProtocolVersion::V5,
];
