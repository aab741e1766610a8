//! What the configuration says of connections below HTTP: TLS, HTTP/2, and load balancers that hand them on.

use super::error::{Notice, Warning};
use super::keys::{KEYS, find};
use super::place::{Located, Origin, Place};
use super::reader::Reader;
use super::{TlsFiles, value};
use crate::network::{Network, Networks};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest file of certificates, or of a key, in bytes.
pub const TLS_FILE_MAX_BYTES: usize = 1024 * 1024;

const BLOCK: &str = "rolegate.tls";
const CERTIFICATE: &str = "rolegate.tls.certificate";
const KEY: &str = "rolegate.tls.key";
const CLIENT_CA: &str = "rolegate.tls.client_ca";
const CLIENT_CERTIFICATES: &str = "rolegate.tls.client_certificates";
const PEERS: &str = "rolegate.proxy_protocol.peers";
const CERTIFICATE_HINT: &str = "name the file with the certificate and its chain, in PEM";
const KEY_HINT: &str = "name the file with the private key, in PEM";
const CLIENT_CA_HINT: &str = "name the file with the authorities that vouch for clients, in PEM";
const UNUSED_CLIENT_CA: &str = "clients are asked for no certificate; take it out, or set `client_certificates` to `optional` or `required`";
const PEERS_HINT: &str = "list the networks of the load balancers, such as `[10.0.0.0/8]`";

impl Reader<'_> {
    /// The files of TLS: `Some(None)` when none is spoken.
    pub(super) fn tls(&mut self) -> Option<Option<TlsFiles>> {
        let is_block_said = self.root.at(BLOCK).is_some();
        if !is_block_said && !KEYS.iter().any(|key| key.parent() == BLOCK && self.is_said(key)) {
            return Some(None);
        }
        let certificate = self.required_path(CERTIFICATE, CERTIFICATE_HINT);
        let key = self.required_path(KEY, KEY_HINT);
        if let Some(key) = &key {
            self.warn_of_readers(&key.value);
        }
        let clients = self.clients();
        Some(Some(TlsFiles { certificate: certificate?, key: key?, clients: clients? }))
    }

    /// Who vouches for clients, and whether they must bring a certificate; `Some(None)` when nobody asks for one.
    fn clients(&mut self) -> Option<Option<(&'static str, Located<PathBuf>)>> {
        let authorities = find(CLIENT_CA).filter(|key| self.is_said(key));
        let wanted = find(CLIENT_CERTIFICATES)?;
        let wanted =
            if self.is_said(wanted) { Some(self.setting(wanted.path, value::choice)?) } else { None };
        match (authorities, wanted) {
            (None, None) => Some(None),
            (None, Some(wanted)) if wanted.value == "none" => Some(None),
            (None, Some(wanted)) => self.missing(CLIENT_CA, Some(wanted.origin), CLIENT_CA_HINT),
            (Some(_), wanted) => {
                let file = self.setting(CLIENT_CA, value::path)?;
                match wanted {
                    Some(wanted) if wanted.value == "none" => {
                        self.bad(CLIENT_CA, &file.origin, UNUSED_CLIENT_CA);
                        None
                    }
                    Some(wanted) => Some(Some((wanted.value, file))),
                    // Whoever names authorities wants nobody else in.
                    None => Some(Some(("required", file))),
                }
            }
        }
    }

    fn required_path(&mut self, path: &'static str, hint: &'static str) -> Option<Located<PathBuf>> {
        let key = find(path)?;
        if self.is_said(key) { self.setting(path, value::path) } else { self.missing(path, None, hint) }
    }

    /// A file that cannot be read is told where it is used.
    fn warn_of_readers(&mut self, file: &Path) {
        if (self.input.read)(file, TLS_FILE_MAX_BYTES).is_ok_and(|contents| contents.readable_by_others) {
            let at = Origin::from(Place::whole(&Arc::from(file)));
            self.warnings.push(Warning { at, notice: Notice::ReadableByOthers });
        }
    }

    /// The load balancers that tell whose connection they hand on. Nobody does, unless it is said.
    pub(super) fn proxy_protocol(&mut self) -> Option<Networks> {
        let is_block_said = self.root.at("rolegate.proxy_protocol").is_some();
        let peers: Vec<Network> = self.names(PEERS, value::peer)?;
        if peers.is_empty() && is_block_said {
            return self.missing(PEERS, None, PEERS_HINT);
        }
        // The list has its limit already.
        Networks::new(peers).ok()
    }
}
