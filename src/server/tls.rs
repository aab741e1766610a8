//! TLS for the server: certificates from PEM, put in force at once for new connections, while those that are open
//! go on by the ones they began with.

use super::metrics::Metrics;
use crate::time::Timestamp;
use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{Error as RustlsError, InconsistentKeys, RootCertStore, ServerConfig};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage};
use zeroize::Zeroizing;

/// The most certificates of one chain.
pub const CHAIN_MAX_CERTIFICATES: usize = 16;
/// The most certificate authorities that may vouch for clients.
pub const CLIENT_AUTHORITIES_MAX: usize = 256;
/// How many sessions are kept, so that clients that come back need not prove everything again.
const SESSIONS_MAX: usize = 1024;
const REPLACED: &str = "replaced";
const REFUSED: &str = "refused";
const HTTP_2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// Whether clients have to bring a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They may; one that they bring must be good.
    Optional,
    /// They must.
    Required,
}

/// What TLS is made of, as it stands in files: everything in PEM.
pub struct TlsMaterial {
    /// The certificate, and those that lead from it to an authority.
    pub certificate: Vec<u8>,
    /// The private key of the certificate.
    pub key: Zeroizing<Vec<u8>>,
    /// The authorities that may vouch for clients, where clients are asked for certificates.
    pub clients: Option<(ClientCertificates, Vec<u8>)>,
    /// Whether HTTP/2 is offered beside HTTP/1.1.
    pub offers_http2: bool,
}

/// Which part of the material is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPart {
    /// The certificate and its chain.
    Certificate,
    /// The private key.
    Key,
    /// The authorities for clients.
    ClientAuthorities,
}

/// Why there can be no TLS with this material. The text fits after the name of the file.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct TlsError {
    /// The part that is wrong.
    pub part: TlsPart,
    /// What is wrong with it.
    #[source]
    pub problem: TlsProblem,
}

/// What is wrong with a part of the material.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsProblem {
    /// No PEM, or damaged.
    #[error("is not PEM: {0}")]
    NotPem(PemError),
    /// PEM without any certificate.
    #[error("holds no certificate; it must have a section `-----BEGIN CERTIFICATE-----`")]
    NoCertificate,
    /// PEM without any private key.
    #[error("holds no private key; it must have a section `-----BEGIN PRIVATE KEY-----`")]
    NoKey,
    /// A key that nobody can read without a password.
    #[error("holds a private key with a password; `openssl pkey -in FILE -out FILE` takes it away")]
    EncryptedKey,
    /// More certificates than are read.
    #[error("holds more than {0} certificates")]
    TooMany(usize),
    /// A key of a kind that is not supported.
    #[error("holds a private key that cannot be used: {0}")]
    BadKey(RustlsError),
    /// A certificate that is damaged, or of a kind that is not supported.
    #[error("holds a certificate that cannot be read: {0}")]
    BadCertificate(RustlsError),
    /// A certificate for another key.
    #[error(
        "does not hold the key of the certificate; the first certificate of the file must be the server's own"
    )]
    KeyMismatch,
    /// A certificate that is no longer valid.
    #[error("holds a certificate that expired at {0}")]
    Expired(Timestamp),
    /// A certificate that is not valid yet.
    #[error("holds a certificate that is not valid before {0}")]
    NotYetValid(Timestamp),
}

/// The certificates in force. They can be replaced while a server runs.
pub struct Tls {
    current: ArcSwap<InForce>,
    replacements: Family<[(&'static str, &'static str); 1], Counter>,
    expiry: Gauge,
}

/// The certificates, ready for use.
struct InForce {
    config: Arc<ServerConfig>,
    asks_clients: bool,
    expires: Timestamp,
}

impl Tls {
    /// TLS with this material.
    ///
    /// # Errors
    /// When it does not fit together, or is not valid at this time.
    pub fn new(material: &TlsMaterial, now: Timestamp) -> Result<Self, TlsError> {
        let current = InForce::read(material, now)?;
        let (replacements, expiry) = (Family::default(), Gauge::default());
        for outcome in [REPLACED, REFUSED] {
            drop(replacements.get_or_create(&[("outcome", outcome)]));
        }
        expiry.set(current.expires.as_millis() / 1000);
        Ok(Self { current: ArcSwap::from_pointee(current), replacements, expiry })
    }

    /// Takes other material for all connections that begin from now on.
    ///
    /// # Errors
    /// When it does not fit together, or is not valid at this time. Then everything stays as it was.
    pub fn replace(&self, material: &TlsMaterial, now: Timestamp) -> Result<(), TlsError> {
        let read = InForce::read(material, now).inspect_err(|_| self.not_replaced())?;
        self.expiry.set(read.expires.as_millis() / 1000);
        self.current.store(Arc::new(read));
        self.replacements.get_or_create(&[("outcome", REPLACED)]).inc();
        Ok(())
    }

    /// There was to be other material, and it could not be read.
    pub(crate) fn not_replaced(&self) {
        self.replacements.get_or_create(&[("outcome", REFUSED)]).inc();
    }

    /// Counts replacements in these metrics, and tells there when the certificate expires.
    pub fn count_in(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            let help = "Certificates that were to be replaced, by outcome";
            registry.register("tls_reloads", help, self.replacements.clone());
            let help = "When the certificate in force expires";
            registry.register("tls_certificate_expiry_timestamp_seconds", help, self.expiry.clone());
        });
    }

    /// When the certificate in force expires.
    pub fn expires(&self) -> Timestamp {
        self.current.load().expires
    }

    /// What a new connection begins with, and whether its client is asked for a certificate.
    pub(super) fn begin(&self) -> (Arc<ServerConfig>, bool) {
        let current = self.current.load();
        (Arc::clone(&current.config), current.asks_clients)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("expires", &self.expires()).finish_non_exhaustive()
    }
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsMaterial").field("offers_http2", &self.offers_http2).finish_non_exhaustive()
    }
}

impl InForce {
    fn read(material: &TlsMaterial, now: Timestamp) -> Result<Self, TlsError> {
        let wrong = |part| move |problem| TlsError { part, problem };
        let chain = certificates(&material.certificate, CHAIN_MAX_CERTIFICATES)
            .map_err(wrong(TlsPart::Certificate))?;
        let expires = valid_until(&chain, now).map_err(wrong(TlsPart::Certificate))?;
        let key = private_key(&material.key).map_err(wrong(TlsPart::Key))?;

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError { part: TlsPart::Key, problem: TlsProblem::KeyMismatch }
            }
            RustlsError::InvalidCertificate(_) => {
                TlsError { part: TlsPart::Certificate, problem: TlsProblem::BadCertificate(error) }
            }
            error => TlsError { part: TlsPart::Key, problem: TlsProblem::BadKey(error) },
        })?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| TlsError { part: TlsPart::Key, problem: TlsProblem::BadKey(error) })?;
        let builder = match &material.clients {
            None => builder.with_no_client_auth(),
            Some((wanted, authorities)) => {
                let roots = authorities_of(authorities).map_err(wrong(TlsPart::ClientAuthorities))?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match wanted {
                    ClientCertificates::Optional => verifier.allow_unauthenticated(),
                    ClientCertificates::Required => verifier,
                };
                let verifier = verifier.build().map_err(|error| TlsError {
                    part: TlsPart::ClientAuthorities,
                    problem: TlsProblem::BadCertificate(RustlsError::General(error.to_string())),
                })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = if material.offers_http2 {
            vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()]
        } else {
            vec![HTTP_1_1.to_vec()]
        };
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        Ok(Self { config: Arc::new(config), asks_clients: material.clients.is_some(), expires })
    }
}

/// Whether both sides agreed on HTTP/2.
pub(super) fn is_http2(protocol: Option<&[u8]>) -> bool {
    protocol == Some(HTTP_2)
}

fn certificates(pem: &[u8], most: usize) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        if chain.len() == most {
            return Err(TlsProblem::TooMany(most));
        }
        chain.push(certificate.map_err(TlsProblem::NotPem)?);
    }
    if chain.is_empty() { Err(TlsProblem::NoCertificate) } else { Ok(chain) }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsProblem> {
    const ENCRYPTED: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];
    if ENCRYPTED.iter().any(|mark| pem.windows(mark.len()).any(|found| found == *mark)) {
        return Err(TlsProblem::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        PemError::NoItemsFound => TlsProblem::NoKey,
        error => TlsProblem::NotPem(error),
    })
}

fn authorities_of(pem: &[u8]) -> Result<RootCertStore, TlsProblem> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(pem, CLIENT_AUTHORITIES_MAX)? {
        roots.add(authority).map_err(TlsProblem::BadCertificate)?;
    }
    Ok(roots)
}

/// When the first of these certificates expires, of which the first is the server's own. Those after it may be sent
/// without need, so that their time is not looked at.
fn valid_until(chain: &[CertificateDer<'static>], now: Timestamp) -> Result<Timestamp, TlsProblem> {
    let unreadable = |what: String| TlsProblem::BadCertificate(RustlsError::General(what));
    let own = chain.first().ok_or(TlsProblem::NoCertificate)?;
    let own = EndEntityCert::try_from(own).map_err(|error| unreadable(error.to_string()))?;
    // Asked about a time that no certificate covers, the verifier tells where that time ends.
    let verify = |seconds| {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        own.verify_for_usage(&[], &[], &[], time, KeyUsage::server_auth(), None, None).err()
    };
    match verify(u64::MAX) {
        Some(webpki::Error::CertExpired { not_after, .. }) => {
            let not_after = timestamp(not_after);
            if not_after < now {
                return Err(TlsProblem::Expired(not_after));
            }
            match verify(seconds_of(now)) {
                Some(webpki::Error::CertNotValidYet { not_before, .. }) => {
                    Err(TlsProblem::NotYetValid(timestamp(not_before)))
                }
                _ => Ok(not_after),
            }
        }
        Some(error) => Err(unreadable(error.to_string())),
        None => Err(unreadable("it never expires".to_owned())),
    }
}

fn seconds_of(time: Timestamp) -> u64 {
    u64::try_from(time.as_millis() / 1000).unwrap_or(0)
}

fn timestamp(time: UnixTime) -> Timestamp {
    Timestamp::from_millis(i64::try_from(time.as_secs()).unwrap_or(i64::MAX).saturating_mul(1000))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
        date_time_ymd,
    };

    /// Long after anything that tests make begins to be valid, and long before it expires.
    pub(in crate::server) const NOW: Timestamp = Timestamp::from_millis(1_900_000_000_000);

    /// A certificate and its key, in PEM.
    pub(in crate::server) struct Made {
        pub(in crate::server) certificate: String,
        pub(in crate::server) key: String,
    }

    fn key_pair() -> KeyPair {
        KeyPair::generate().unwrap()
    }

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Made {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        change(&mut params);
        let key = key_pair();
        Made { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    pub(in crate::server) fn self_signed() -> Made {
        made(|_| {})
    }

    pub(in crate::server) fn material(made: &Made) -> TlsMaterial {
        TlsMaterial {
            certificate: made.certificate.clone().into_bytes(),
            key: Zeroizing::new(made.key.clone().into_bytes()),
            clients: None,
            offers_http2: true,
        }
    }

    fn refused(material: &TlsMaterial) -> (TlsPart, String) {
        let wrong = Tls::new(material, NOW).unwrap_err();
        (wrong.part, wrong.to_string())
    }

    #[test]
    fn certificate_with_its_key_and_chain_is_taken() {
        let made = self_signed();
        let other = self_signed();
        Tls::new(&material(&made), NOW).unwrap();
        let chain =
            format!("a remark\n{}{}", made.certificate, other.certificate.repeat(CHAIN_MAX_CERTIFICATES - 1));
        let tls = Tls::new(&material(&Made { certificate: chain, key: made.key }), NOW).unwrap();
        assert!(tls.expires() > NOW);
    }

    #[test]
    fn material_that_does_not_fit_is_refused_by_its_part() {
        use TlsPart::{Certificate, ClientAuthorities, Key};
        let (made, other) = (self_signed(), self_signed());
        let with = |certificate: &str, key: &str| {
            refused(&material(&Made { certificate: certificate.to_owned(), key: key.to_owned() }))
        };
        let (certificate, key) = (made.certificate.as_str(), made.key.as_str());
        let long = certificate.repeat(CHAIN_MAX_CERTIFICATES + 1);
        let cut = certificate.get(..200).unwrap();
        let damaged = certificate.replacen("MI", "AA", 1);
        let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let empty_key = "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n";
        let swapped = format!("{}{certificate}", other.certificate);
        for ((part, reason), expected, hint) in [
            (with("", key), Certificate, "holds no certificate"),
            (with("not pem", key), Certificate, "holds no certificate"),
            (with(key, key), Certificate, "holds no certificate"),
            (with(cut, key), Certificate, "is not PEM"),
            (with(&long, key), Certificate, "more than 16"),
            (with(&damaged, key), Certificate, "cannot be read"),
            (with(certificate, ""), Key, "holds no private key"),
            (with(certificate, certificate), Key, "holds no private key"),
            (with(certificate, locked), Key, "openssl pkey"),
            (with(certificate, empty_key), Key, "cannot be used"),
            (with(certificate, &other.key), Key, "does not hold the key"),
            (with(&swapped, key), Key, "the first certificate"),
        ] {
            assert_eq!(part, expected, "{reason}");
            assert!(reason.contains(hint), "{hint}: {reason}");
        }
        let authorities = |pem: &str| {
            let clients = Some((ClientCertificates::Required, pem.as_bytes().to_vec()));
            refused(&TlsMaterial { clients, ..material(&made) })
        };
        for (pem, hint) in [("", "holds no certificate"), (damaged.as_str(), "cannot be read")] {
            let (part, reason) = authorities(pem);
            assert!(part == ClientAuthorities && reason.contains(hint), "{reason}");
        }
        let clients = Some((ClientCertificates::Optional, other.certificate.into_bytes()));
        assert!(Tls::new(&TlsMaterial { clients, ..material(&made) }, NOW).is_ok());
    }

    #[test]
    fn certificate_is_refused_before_and_after_its_time_and_taken_at_its_ends() {
        let made = made(|params| {
            params.not_before = date_time_ymd(2029, 1, 1);
            params.not_after = date_time_ymd(2031, 1, 1);
        });
        let (begins, ends) = (1_861_920_000, 1_924_992_000);
        let at = |seconds: i64| {
            Tls::new(&material(&made), Timestamp::from_millis(seconds * 1000))
                .map_err(|wrong| wrong.to_string())
        };
        assert!(at(begins - 1).unwrap_err().contains("not valid before 2029-01-01T00:00:00"));
        assert_eq!(at(begins).unwrap().expires(), Timestamp::from_millis(ends * 1000));
        assert!(at(ends).is_ok());
        assert!(at(ends + 1).unwrap_err().contains("expired at 2031-01-01T00:00:00"));
    }

    #[test]
    fn certificate_of_an_authority_for_servers_is_read_too() {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, key_pair()).unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = key_pair();
        let certificate = params.signed_by(&key, &authority).unwrap().pem() + authority.pem().as_str();
        Tls::new(&material(&Made { certificate, key: key.serialize_pem() }), NOW).unwrap();
    }

    #[test]
    fn replacement_that_is_refused_changes_nothing() {
        let (made, other) = (self_signed(), self_signed());
        let metrics = Metrics::new();
        let tls = Tls::new(&material(&made), NOW).unwrap();
        tls.count_in(&metrics);
        let before = tls.begin().0;
        let mixed = Made { certificate: made.certificate, key: other.key.clone() };
        tls.replace(&material(&mixed), NOW).unwrap_err();
        assert!(Arc::ptr_eq(&before, &tls.begin().0));
        tls.replace(&material(&other), NOW).unwrap();
        assert!(!Arc::ptr_eq(&before, &tls.begin().0));
        let status = crate::server::PolicyStatus::loaded(crate::decision::PolicyVersion(1), NOW);
        let text = metrics.text(&status);
        for line in ["tls_reloads_total{outcome=\"replaced\"} 1", "tls_reloads_total{outcome=\"refused\"} 1"]
        {
            assert!(text.contains(line), "{text}");
        }
        assert!(text.contains("rolegate_tls_certificate_expiry_timestamp_seconds 6"), "{text}");
    }

    #[test]
    fn nothing_of_a_key_is_printed() {
        let made = self_signed();
        assert_eq!(format!("{:?}", material(&made)), "TlsMaterial { offers_http2: true, .. }");
    }
}
