//! Requests that are signed instead of carrying a token: `Authorization: Signed key=…, at=…, mac=…`, where `mac` is an
//! HMAC-SHA256 over method, target and time. A signature that is read on its way opens one route, for a minute.
//!
//! `cargo run --example custom_authenticator --no-default-features`

use http::header::AUTHORIZATION;
use rolegate::Timestamp;
use rolegate::authenticator::{Authentication, Authenticator, ForeignPrincipal};
use rolegate::request::Request;
use rolegate::testing::{Ask, NOBODY, World};
use rolegate::token::RoleName;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::io::{Write, stdout};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// A signature is good for so long, and clocks may differ by so much.
const LIFE_MS: u64 = 60_000;

/// Who may sign, each with a key and roles. Looked up in memory: an authenticator is asked for each request.
pub(crate) struct Signatures(HashMap<String, (Vec<u8>, Vec<RoleName>)>);

impl Authenticator for Signatures {
    fn authenticate(&self, request: &Request, now: Timestamp) -> Authentication {
        let field = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        // Another scheme is somebody else's business; one's own is refused if anything about it is wrong.
        let Some(parameters) = field.and_then(|field| field.strip_prefix("Signed ")) else {
            return Authentication::NotMine;
        };
        let of = |name| parameters.split(", ").find_map(|one| one.strip_prefix(name)?.strip_prefix('='));
        let (Some(name), Some(at), Some(mac)) = (of("key"), of("at"), of("mac")) else {
            return Authentication::Refused("the signature is incomplete");
        };
        // Unknown names cost as much as known ones, and are told the same.
        let known = self.0.get(name);
        let key = known.map_or(&[][..], |(key, _)| key);
        let is_signed: bool = sign(key, request, at).as_bytes().ct_eq(mac.as_bytes()).into();
        let Some((_, roles)) = known.filter(|_| is_signed) else {
            return Authentication::Refused("the signature is wrong");
        };
        // Looked at last, so that nobody is told whether a time is good who cannot sign it.
        let is_fresh = at.parse().is_ok_and(|at: i64| now.as_millis().abs_diff(at) <= LIFE_MS);
        if !is_fresh {
            return Authentication::Refused("the signature is too old, or of the future");
        }
        Authentication::Authenticated(ForeignPrincipal { subject: name.to_owned(), roles: roles.clone() })
    }
}

/// The signature of a request. It covers the path as the policies see it, whatever spelling was sent.
fn sign(key: &[u8], request: &Request, at: &str) -> String {
    let query = request.query().unwrap_or_default();
    let text = format!("{}\n{}\n{query}\n{at}", request.method(), request.path());
    hmac_sha256(key, text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 2104, written out so that this example needs no other crate; a program takes `hmac`.
pub(crate) fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; 64];
    let hashed = Sha256::digest(key);
    let key = if key.len() > block.len() { hashed.as_slice() } else { key };
    block.iter_mut().zip(key).for_each(|(byte, of_key)| *byte = *of_key);
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

// A signature is no secret, and a key is.
impl fmt::Debug for Signatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut stdout())
}

/// Asks a few things with good and bad signatures and writes what became of them.
pub(crate) fn run(out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let key = &b"a key of 32 bytes that both know"[..];
    let roles = vec![RoleName::parse("deployer")?];
    let signatures = Signatures([("ci".to_owned(), (key.to_vec(), roles))].into());
    // A program calls `Engine::with_authenticator` with the same two arguments.
    let world = World::new()
        .policy(r#"role("deployer").allow("POST /deploy/{team}");"#)
        .authenticator("signed", Arc::new(signatures));
    let now = world.now().as_millis();
    for (path, name, at, key) in [
        ("/deploy/red", "ci", now, key),
        ("/deploy/red", "ci", now - 61_000, key),
        ("/deploy/red", "ci", now, b"another key".as_slice()),
        ("/deploy/red", "nobody", now, b"".as_slice()),
        ("/teams/red", "ci", now, key),
    ] {
        let text = format!("POST\n{path}\n\n{at}");
        let mac: String =
            hmac_sha256(key, text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let ask = Ask::new(&format!("POST {path}"))
            .header("authorization", &format!("Signed key={name}, at={at}, mac={mac}"));
        writeln!(out, "{name:6} POST {path:11} {}", world.check(NOBODY, ask))?;
    }
    Ok(())
}
