//! Who a client is by its certificate. rustls decides; two things that mosquitto's users rely on and
//! that it has no settings for are added: certificates whose dates do not count
//! (`disable_client_cert_date_checks`), and those of X.509 version 1, which is what mosquitto's own
//! instructions have made with OpenSSL for many years.

use super::certificate::{Certificate, Parts};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    SignatureScheme,
};
use std::sync::Arc;
use std::time::Duration;

/// Checks the certificates of one listener's clients.
#[derive(Debug)]
pub struct ClientVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    authorities: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
    checks_dates: bool,
    /// Whether version 1 will do: not where revocation counts, which is asked of rustls alone.
    takes_version_1: bool,
}

impl ClientVerifier {
    /// One that asks `inner`, and knows the same `authorities`.
    pub fn new(
        inner: Arc<dyn ClientCertVerifier>,
        authorities: Vec<CertificateDer<'static>>,
        checks_dates: bool,
        takes_version_1: bool,
    ) -> Self {
        Self {
            inner,
            authorities,
            algorithms: ring::default_provider().signature_verification_algorithms,
            checks_dates,
            takes_version_1,
        }
    }

    /// The day on which the certificates are looked at: today, or, where dates do not count, the
    /// nearest on which all of them held.
    fn day(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        today: UnixTime,
    ) -> UnixTime {
        if self.checks_dates {
            return today;
        }
        let chain = std::iter::once(end_entity).chain(intermediates);
        let dates: Vec<_> = chain.filter_map(|one| Certificate::read(one)).collect();
        let first = dates.iter().map(|one| one.not_before.0).max().unwrap_or(0);
        let last = dates.iter().map(|one| one.not_after.0).min();
        let day_s = today.as_secs().max(first).min(last.unwrap_or(u64::MAX));
        UnixTime::since_unix_epoch(Duration::from_secs(day_s))
    }

    /// The parts of a certificate of version 1, if it is one and that will do.
    fn version_1<'a>(&self, certificate: &'a CertificateDer<'_>) -> Option<Parts<'a>> {
        let parts = Parts::read(certificate);
        parts.filter(|parts| parts.is_version_1 && self.takes_version_1)
    }

    /// Whether an authority has signed it itself, and it holds on this day. It has no extensions, so
    /// that nothing in it says what it is not for.
    fn verify_version_1(
        &self,
        certificate: &CertificateDer<'_>,
        parts: &Parts<'_>,
        day: UnixTime,
    ) -> Result<ClientCertVerified, CertificateError> {
        let dates = Certificate::read(certificate).ok_or(CertificateError::BadEncoding)?;
        let known = self.authorities.iter().filter_map(|one| Parts::read(one));
        let mut issuers = known.filter(|one| one.subject == parts.issuer).peekable();
        if issuers.peek().is_none() {
            return Err(CertificateError::UnknownIssuer);
        }
        if !issuers.any(|issuer| self.has_signed(&issuer, parts)) {
            return Err(CertificateError::BadSignature);
        }
        match day.as_secs() {
            day if day < dates.not_before.0 => Err(CertificateError::NotValidYet),
            day if day > dates.not_after.0 => Err(CertificateError::Expired),
            _ => Ok(ClientCertVerified::assertion()),
        }
    }

    fn has_signed(&self, issuer: &Parts<'_>, signed: &Parts<'_>) -> bool {
        let Some((key_algorithm, key)) = issuer.key() else {
            return false;
        };
        let fitting = self.algorithms.all.iter().filter(|algorithm| {
            algorithm.public_key_alg_id().as_ref() == key_algorithm
                && algorithm.signature_alg_id().as_ref() == signed.signature_algorithm
        });
        let mut results = fitting
            .map(|algorithm| algorithm.verify_signature(key, signed.signed, signed.signature));
        results.any(|result| result.is_ok())
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let day = self.day(end_entity, intermediates, now);
        match self.version_1(end_entity) {
            None => self
                .inner
                .verify_client_cert(end_entity, intermediates, day),
            Some(parts) => {
                let verified = self.verify_version_1(end_entity, &parts, day);
                verified.map_err(Error::InvalidCertificate)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(parts) = self.version_1(certificate) else {
            let inner = &self.inner;
            return inner.verify_tls12_signature(message, certificate, signature);
        };
        let row = |row: &&(SignatureScheme, _)| row.0 == signature.scheme;
        let Some((_, fitting)) = self.algorithms.mapping.iter().find(row) else {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        };
        let (algorithm, key) = parts.key().ok_or(CertificateError::BadEncoding)?;
        let mut fitting = fitting.iter();
        let is_signed = fitting.any(|one| {
            one.public_key_alg_id().as_ref() == algorithm
                && one
                    .verify_signature(key, message, signature.signature())
                    .is_ok()
        });
        match is_signed {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(parts) = self.version_1(certificate) else {
            let inner = &self.inner;
            return inner.verify_tls13_signature(message, certificate, signature);
        };
        let key = SubjectPublicKeyInfoDer::from(parts.public_key);
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
