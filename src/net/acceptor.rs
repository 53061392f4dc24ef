//! What TLS on one listener takes: certificate, key, authorities, revocation lists and ciphers, read
//! from their files and checked as a set. Reading them can fail, and must have failed before what
//! is in force is touched: a new set is built beside the old one and put in its place whole.

use super::certificate::Certificate;
use super::ciphers;
use super::client_verifier::ClientVerifier;
use super::disk::Disk;
use crate::config::{FileError, Files, Listener, Protocol, Tls};
use crate::limits;
use crate::time::Unix;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ServerConfig, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{Error, InconsistentKeys, KeyLog, RootCertStore, SupportedProtocolVersion};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::{fmt, io};

/// TLS on one listener, ready for connections.
#[derive(Clone)]
pub struct Acceptor {
    /// What every new connection begins with.
    pub config: Arc<ServerConfig>,
    /// The last second in which the certificate holds.
    pub not_after: Unix,
    /// Whether the certificates of clients are held to their dates.
    pub checks_dates: bool,
    /// All that was read, to be compared with what is read later.
    material: Material,
    key: Arc<dyn SigningKey>,
}

/// The files of one listener, taken apart, and what of its options decides over them.
#[derive(Clone, PartialEq, Eq)]
struct Material {
    tls: Tls,
    chain: Vec<CertificateDer<'static>>,
    authorities: Vec<CertificateDer<'static>>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    alpn: Vec<Vec<u8>>,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Acceptor").field(&self.material.tls).finish()
    }
}

impl Acceptor {
    /// Reads the files of `listener`; what `before` has is kept where nothing has changed, so that
    /// clients can come back with the tickets they have. `None`: it has no TLS.
    ///
    /// # Errors
    /// Everything that is wrong, in words: the option, the file, what to do.
    pub fn read(
        listener: &Listener,
        before: Option<&Self>,
        key_log: Option<&Arc<KeyLogFile>>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Self>, Vec<String>> {
        let tls = &listener.tls;
        let (Some(certfile), Some(keyfile)) = (&tls.certfile, &tls.keyfile) else {
            return Ok(None);
        };
        let mut errors = Vec::new();
        let chain = collect(certificates("certfile", certfile), &mut errors);
        let mut authorities = Vec::new();
        if let Some(cafile) = &tls.cafile {
            authorities = collect(certificates("cafile", cafile), &mut errors);
        }
        if let Some(capath) = &tls.capath {
            authorities.append(&mut collect(certificates_below(capath), &mut errors));
        }
        let revoked = tls.crlfile.as_ref().map(|path| revocation_lists(path));
        let material = Material {
            tls: tls.clone(),
            chain,
            authorities,
            revoked: revoked.map_or_else(Vec::new, |lists| collect(lists, &mut errors)),
            alpn: alpn(listener.spoken()),
        };
        let key = match key(keyfile, before) {
            Ok(key) => key,
            Err(error) => {
                errors.push(error);
                return Err(errors);
            }
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        if let Some(before) = before {
            if before.material == material && is_same_key(&before.key, &key) {
                return Ok(Some(before.clone()));
            }
        }
        Self::build(material, key, key_log, warnings)
            .map(Some)
            .map_err(|error| vec![error])
    }

    fn build(
        material: Material,
        key: Arc<dyn SigningKey>,
        key_log: Option<&Arc<KeyLogFile>>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, String> {
        let tls = &material.tls;
        let certified = CertifiedKey::new(material.chain.clone(), Arc::clone(&key));
        let certfile = tls.certfile.as_deref().unwrap_or_default();
        let own = material
            .chain
            .first()
            .and_then(|first| Certificate::read(first));
        let own = own
            .ok_or_else(|| format!("certfile {certfile}: its first certificate cannot be read."))?;
        if certified.keys_match() == Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) {
            let keyfile = tls.keyfile.as_deref().unwrap_or_default();
            return Err(format!(
                "certfile {certfile} and keyfile {keyfile} do not belong together: the first \
                 certificate of the one must be made for the key in the other."
            ));
        }
        let (versions, provider) = spoken(tls, warnings)?;
        let builder = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&versions)
            .map_err(|error| format!("tls_version and ciphers leave nothing to speak: {error}."))?
            .with_client_cert_verifier(verifier(&material)?);
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols.clone_from(&material.alpn);
        // Clients keep their sessions in tickets of their own; here nothing is kept of them. The
        // keys of the tickets are made anew with every set: what an old one let in, a new list of
        // authorities or revocations may not.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ring::Ticketer::new()
            .map_err(|error| format!("no keys can be made for session tickets: {error}."))?;
        config.send_tls13_tickets = limits::TLS_TICKETS;
        if !tls.ciphers_are_default() {
            config.ignore_client_order = true;
        }
        if let Some(key_log) = key_log {
            config.key_log = Arc::clone(key_log) as Arc<dyn KeyLog>;
        }
        Ok(Self {
            config: Arc::new(config),
            not_after: own.not_after,
            checks_dates: !tls.disable_client_cert_date_checks,
            material,
            key,
        })
    }
}

/// The results there are; what is wrong goes to `errors`.
fn collect<T>(found: Result<Vec<T>, String>, errors: &mut Vec<String>) -> Vec<T> {
    found.unwrap_or_else(|error| {
        errors.push(error);
        Vec::new()
    })
}

fn is_same_key(one: &Arc<dyn SigningKey>, other: &Arc<dyn SigningKey>) -> bool {
    Arc::ptr_eq(one, other)
        || matches!((one.public_key(), other.public_key()), (Some(one), Some(other)) if one == other)
}

/// What ALPN is answered with: `http/1.1` is what browsers ask for before they open a WebSocket.
fn alpn(protocol: Protocol) -> Vec<Vec<u8>> {
    let names: &[&str] = match protocol {
        Protocol::Websockets => &["http/1.1"],
        Protocol::Auto => &["mqtt", "http/1.1"],
        Protocol::Mqtt | Protocol::HttpApi => &["mqtt"],
    };
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}

// ---- files

fn read_file(option: &str, path: &str) -> Result<Vec<u8>, String> {
    let failed = |error: FileError| format!("{option} {path}: it cannot be read, {error}.");
    Disk.read(path).map_err(failed)
}

/// All certificates in a file.
fn certificates(option: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read_file(option, path)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!(
            "{option} {path}: there is no certificate in it; it must be in PEM form, which begins \
             with -----BEGIN CERTIFICATE-----."
        )),
        Err(error) => Err(format!("{option} {path}: it is not in PEM form, {error}.")),
    }
}

/// All certificates in the files of a directory. `Choice:` OpenSSL looks only at names that
/// `c_rehash` makes; here every file with certificates counts, and others do not hurt.
fn certificates_below(directory: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let listed = Disk.list(directory);
    let mut names =
        listed.map_err(|error| format!("capath {directory}: it cannot be listed, {error}."))?;
    names.sort();
    let mut found: Vec<CertificateDer<'static>> = Vec::new();
    for name in names {
        let path = Path::new(directory).join(name);
        let inside = certificates("capath", &path.to_string_lossy());
        for certificate in inside.unwrap_or_default() {
            if !found.contains(&certificate) {
                found.push(certificate);
            }
        }
    }
    match found.is_empty() {
        true => Err(format!(
            "capath {directory}: no file in it holds a certificate in PEM form."
        )),
        false => Ok(found),
    }
}

fn revocation_lists(path: &str) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let text = read_file("crlfile", path)?;
    let found: Result<Vec<_>, pem::Error> =
        CertificateRevocationListDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!(
            "crlfile {path}: there is no revocation list in it; it must be in PEM form, which \
             begins with -----BEGIN X509 CRL-----."
        )),
    }
}

/// The key in a file. One that can no longer be read, because the rights to were given up after
/// the start, is the one there was.
fn key(path: &str, before: Option<&Acceptor>) -> Result<Arc<dyn SigningKey>, String> {
    let before = before.filter(|before| before.material.tls.keyfile.as_deref() == Some(path));
    let text = match (Disk.read(path), before) {
        (Ok(text), _) => text,
        (Err(FileError::NotPermitted), Some(before)) => return Ok(Arc::clone(&before.key)),
        (Err(error), _) => return Err(format!("keyfile {path}: it cannot be read, {error}.")),
    };
    let is_encrypted = [
        &b"BEGIN ENCRYPTED PRIVATE KEY"[..],
        b"Proc-Type: 4,ENCRYPTED",
    ]
    .iter()
    .any(|mark| text.windows(mark.len()).any(|window| window == *mark));
    if is_encrypted {
        return Err(format!(
            "keyfile {path}: the key is encrypted, and nobody is there to type its password; \
             store it without one (openssl pkey -in {path} -out NEW), readable for root alone."
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        format!(
            "keyfile {path}: there is no private key in it; it must be in PEM form, which begins \
             with -----BEGIN PRIVATE KEY----- or the like."
        )
    })?;
    ring::sign::any_supported_type(&key).map_err(|_| {
        format!(
            "keyfile {path}: the key is of a kind that is not supported; RSA from 2048 to 8192 \
             bits, ECDSA on P-256 or P-384, and Ed25519 are."
        )
    })
}

// ---- what is spoken, and with whom

/// Versions and ciphers.
fn spoken(
    tls: &Tls,
    warnings: &mut Vec<String>,
) -> Result<(Vec<&'static SupportedProtocolVersion>, CryptoProvider), String> {
    let lists = [
        ("ciphers", ciphers::up_to_1_2(tls.ciphers.as_deref())),
        (
            "ciphers_tls1.3",
            ciphers::of_1_3(tls.ciphers_tls13.as_deref()),
        ),
    ];
    for (option, chosen) in &lists {
        if !chosen.unknown.is_empty() {
            warnings.push(format!(
                "{option}: {} cannot be spoken here; the rest of the list holds.",
                chosen.unknown.join(", ")
            ));
        }
    }
    let [(_, old), (_, new)] = lists;
    let is_new_only = match tls.tls_version.as_deref() {
        None | Some("tlsv1.2") => false,
        Some("tlsv1.3") => true,
        Some("tlsv1.1" | "tlsv1") => {
            warnings.push(String::from(
                "tls_version: versions below 1.2 are not spoken here, nor by mosquitto 2.1.",
            ));
            false
        }
        Some(other) => {
            return Err(format!("tls_version {other}: it takes tlsv1.2 or tlsv1.3."));
        }
    };
    let mut versions = Vec::new();
    if !new.suites.is_empty() {
        versions.push(&TLS13);
    }
    if !is_new_only && !old.suites.is_empty() {
        versions.push(&TLS12);
    }
    let suites = new.suites.into_iter().chain(old.suites);
    let suites = suites.filter(|suite| {
        versions
            .iter()
            .any(|one| one.version == suite.version().version)
    });
    let provider = CryptoProvider {
        cipher_suites: suites.collect(),
        ..ring::default_provider()
    };
    if versions.is_empty() {
        return Err(String::from(
            "ciphers, ciphers_tls1.3 and tls_version leave no cipher to speak; take one of them away.",
        ));
    }
    Ok((versions, provider))
}

/// Who checks the certificates of clients.
fn verifier(material: &Material) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let tls = &material.tls;
    if !tls.require_certificate {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    for authority in &material.authorities {
        roots.add(authority.clone()).map_err(|error| {
            format!("cafile or capath: a certificate in it cannot be an authority's, {error}.")
        })?;
    }
    // Like mosquitto, which asks for the status of the client's own certificate alone.
    let verifier = WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::new(ring::default_provider()),
    )
    .with_crls(material.revoked.iter().cloned())
    .only_check_end_entity_revocation()
    .build()
    .map_err(|error| format!("require_certificate cannot be kept: {error}."))?;
    Ok(Arc::new(ClientVerifier::new(
        verifier,
        material.authorities.clone(),
        !tls.disable_client_cert_date_checks,
        material.revoked.is_empty(),
    )))
}

// ---- the keys of connections, for whoever debugs them

/// A file that the keys of every connection are written to, for Wireshark (`--tls-keylog`).
#[derive(Debug)]
pub struct KeyLogFile(Mutex<File>);

impl KeyLogFile {
    /// Opens the file, for its owner alone, to write behind what is in it.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(path)?;
        Ok(Self(Mutex::new(file)))
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        // Who debugs sees that lines are missing; connections must not fail for it.
        if let Ok(mut file) = self.0.lock() {
            let _ = file.write_all(line.as_bytes());
        }
    }
}
