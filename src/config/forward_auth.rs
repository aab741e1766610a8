//! What `rolegate.forward_auth` says: where proxies ask, and which ones are believed.

use super::error::shown;
use super::keys::find;
use super::reader::Reader;
use super::{ForwardAuth, KEYS, Key, value};
use crate::network::Networks;
use crate::path::CanonicalPath;

/// The longest path of the endpoint, in bytes.
pub const FORWARD_AUTH_PATH_MAX_BYTES: usize = 256;
const BLOCK: &str = "rolegate.forward_auth";
const PEERS: &str = "rolegate.forward_auth.peers";
const PEERS_HINT: &str = "list the proxies that are believed, such as `[10.0.0.1]`";
/// Clients act upon these: they would send another credential, or come back later.
const ACTED_UPON: [usize; 3] = [401, 407, 429];
/// Where rolegate's own routes are. What begins with the path of the endpoint is no route any more.
const OWN_PLACES: [&str; 8] = [
    "/.well-known/",
    "/access/",
    "/api/rolegate/",
    "/api/security/tokens",
    "/api/server/",
    "/api/user/",
    "/health",
    "/metrics",
];

impl Reader<'_> {
    /// The endpoint: `Some(None)` when nobody asks for one.
    pub(super) fn forward_auth(&mut self) -> Option<Option<ForwardAuth>> {
        if !KEYS.iter().any(|key| key.parent() == BLOCK && self.is_said(key)) {
            return Some(None);
        }
        let path = self.setting("rolegate.forward_auth.path", path);
        let peers =
            if self.is_said(find(PEERS)?) { self.names(PEERS, value::peer) } else { Some(Vec::new()) };
        let malformed_status = self.setting("rolegate.forward_auth.malformed_status", status);
        let peers = match peers {
            Some(peers) if peers.is_empty() => self.missing(PEERS, None, PEERS_HINT),
            peers => peers.and_then(|peers| Networks::new(peers).ok()),
        };
        Some(Some(ForwardAuth {
            path: path?.value,
            peers: peers?,
            malformed_status: malformed_status?.value,
        }))
    }
}

fn path(_: &Key, text: &str) -> Result<String, String> {
    let refused = |reason: &str| Err(format!("`{}`: {reason}", shown(text)));
    if text.len() > FORWARD_AUTH_PATH_MAX_BYTES {
        return Err(format!("the path has at most {FORWARD_AUTH_PATH_MAX_BYTES} bytes"));
    }
    match CanonicalPath::parse(text) {
        Err(wrong) => return refused(&wrong.to_string()),
        Ok(path) if path.as_str() != text => return refused(&format!("write it as `{path}`")),
        Ok(_) if text.ends_with('/') => return refused("the path needs a name, and no slash at its end"),
        Ok(_) => {}
    }
    match OWN_PLACES.iter().find(|place| place.starts_with(text)) {
        Some(place) => {
            refused(&format!("all that begins with it is the endpoint's, and `{place}` is in use"))
        }
        None => Ok(text.to_owned()),
    }
}

fn status(key: &Key, text: &str) -> Result<u16, String> {
    let status = value::count(key, text)?;
    if ACTED_UPON.contains(&status) {
        return Err(format!(
            "`{status}`: clients act upon this status; take 403, or 400 where it is handed on"
        ));
    }
    u16::try_from(status).map_err(|_| format!("`{status}` is no status"))
}
