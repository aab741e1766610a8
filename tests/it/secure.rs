//! Certificates that are made while the tests run, and a client that speaks TLS with them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// A test that waits longer than this has failed. Nothing waits for it otherwise.
const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS13, &rustls::version::TLS12];

/// A certificate and its key, in PEM.
pub(crate) struct Made {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Who signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A client that speaks TLS.
pub(crate) type Secure = StreamOwned<ClientConnection, TcpStream>;

/// What a client trusts, offers and brings.
pub(crate) struct Client<'a> {
    pub(crate) trusts: &'a str,
    pub(crate) versions: &'a [&'static SupportedProtocolVersion],
    pub(crate) protocols: &'a [&'a str],
    pub(crate) brings: Option<&'a Made>,
}

fn names() -> Vec<String> {
    vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
}

/// A certificate for this machine that vouches for itself.
pub(crate) fn self_signed() -> Made {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names()).unwrap().self_signed(&key).unwrap();
    Made { certificate: certificate.pem(), key: key.serialize_pem() }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for this machine.
    pub(crate) fn sign(&self) -> Made {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names()).unwrap().signed_by(&key, &self.0).unwrap();
        Made { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

impl<'a> Client<'a> {
    /// One that trusts whom this certificate vouches for.
    pub(crate) fn trusting(trusts: &'a str) -> Self {
        Self { trusts, versions: &VERSIONS, protocols: &[], brings: None }
    }

    /// A connection; whether the server goes along shows when something is read.
    pub(crate) fn connect(&self, address: SocketAddr) -> Secure {
        connect_by(&self.config(), address)
    }

    /// What connections are made by. Those that share it take up sessions of each other.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.trusts.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_protocol_versions(self.versions).unwrap().with_root_certificates(roots);
        let mut config = match self.brings {
            None => config.with_no_client_auth(),
            Some(made) => {
                let chain = CertificateDer::pem_slice_iter(made.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
                config.with_client_auth_cert(chain.collect::<Result<_, _>>().unwrap(), key).unwrap()
            }
        };
        config.alpn_protocols = self.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// The answer to one request on a connection of its own, or why there is none.
    pub(crate) fn get(&self, address: SocketAddr, path: &str) -> Result<String, String> {
        last(&mut self.connect(address), path)
    }
}

pub(crate) fn connect_by(config: &Arc<ClientConfig>, address: SocketAddr) -> Secure {
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), stream)
}

/// The answer to the last request of a connection, or why there is none.
pub(crate) fn last(stream: &mut Secure, path: &str) -> Result<String, String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    Ok(answer)
}

/// Asks on a connection that stays open. The answer is known by its end.
pub(crate) fn ask(stream: &mut Secure, path: &str, end: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(end.as_bytes()) {
        stream.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    String::from_utf8(answer).unwrap()
}

/// The certificate that the server has shown.
pub(crate) fn shown(stream: &Secure) -> Vec<u8> {
    stream
        .conn
        .peer_certificates()
        .and_then(|chain| chain.first())
        .map(|own| own.to_vec())
        .unwrap_or_default()
}

/// The certificate of a file in PEM.
pub(crate) fn first(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}
