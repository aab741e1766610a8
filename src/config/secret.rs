//! Secrets: said in a file, in a variable that it names, or in a file of their own.

use super::error::{Notice, Problem, Warning, shown};
use super::keys::find;
use super::node::Node;
use super::place::{Located, Origin};
use super::reader::{Reader, scalar};
use super::{SettingValue, value};
use crate::token::{Secret, SecretError, SecretKind};
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The largest file that holds a secret, in bytes.
pub const SECRET_FILE_MAX_BYTES: usize = 4096;
/// A secret below this estimate is warned about, in bits.
pub const SECRET_MIN_BITS: f64 = 128.0;
/// The token of `config/authentication.yaml` as it is shipped. Everybody can read it.
pub const PUBLISHED_TOKEN: &str = "example-bootstrap-token-change-me-before-use";

const TOKEN_HINT: &str = "write `token: ${VARIABLE}` or `token_file: FILE`, or take the whole block out";

/// A secret as it was found, and the key that said it.
struct Found {
    text: Zeroizing<String>,
    origin: Origin,
    path: String,
}

impl Reader<'_> {
    /// The secret of a block that says it by `token` or by `token_file`.
    pub(super) fn secret(
        &mut self,
        block: &Node,
        path: &str,
        file_key: &'static str,
    ) -> Option<Located<(Secret, SecretKind)>> {
        let found = match (block.get("token"), block.get("token_file")) {
            (Some(token), Some(file)) => {
                let (key, other) = (format!("{path}.token_file"), format!("{path}.token"));
                let at = token.key_place.clone();
                self.error(file.key_place.clone().into(), Problem::Both { key, other, at });
                None
            }
            (Some(token), None) => self.said_secret(&token.node, format!("{path}.token")),
            (None, Some(file)) => self.filed_secret(&file.node, format!("{path}.token_file"), file_key),
            (None, None) => {
                self.missing(&format!("{path}.token"), Some(block.place.clone().into()), TOKEN_HINT)
            }
        }?;
        match Secret::parse(&found.text) {
            Ok((secret, kind)) => {
                self.judge(&secret, &found);
                Some(Located { value: (secret, kind), origin: found.origin })
            }
            Err(wrong) => {
                let hint = match wrong {
                    // The chart's own values have it empty where there is to be no token.
                    SecretError::TooShort if found.text.is_empty() => {
                        ", and this has none; take the whole block out when there is to be no token"
                    }
                    SecretError::TooShort => "; `openssl rand -hex 24` makes one",
                    _ => "",
                };
                self.bad(&found.path, &found.origin, format!("{wrong}{hint}"));
                None
            }
        }
    }

    fn said_secret(&mut self, node: &Node, path: String) -> Option<Found> {
        let said = scalar(node)?;
        let origin = said.origin;
        let text = Zeroizing::new(said.value);
        if !text.contains("${") {
            if self.exposed.contains(&node.place.file) {
                self.warnings.push(Warning { at: whole(&node.place.file), notice: Notice::ReadableByOthers });
            }
            self.note(&path, SettingValue::Hidden, &origin);
            return Some(Found { text, origin, path });
        }
        let name =
            text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).filter(|name| is_name(name));
        let Some(name) = name else {
            self.bad(&path, &origin, "a variable is written `${NAME}`, with nothing before and after it");
            return None;
        };
        self.referred.insert(name.to_owned());
        match self.input.variables.get(name) {
            Ok(value) => {
                let text = Zeroizing::new(value.to_owned());
                let origin = Origin::Variable(name.into());
                self.note(&path, SettingValue::Hidden, &origin);
                Some(Found { text, origin, path })
            }
            Err(wrong) => {
                self.bad(&path, &origin, format!("the environment variable `{}` {wrong}", shown(name)));
                None
            }
        }
    }

    fn filed_secret(&mut self, node: &Node, path: String, key: &'static str) -> Option<Found> {
        let said = scalar(node)?;
        let file = match value::path(find(key)?, &said.value) {
            Ok(file) => file,
            Err(reason) => {
                self.bad(&path, &said.origin, reason);
                return None;
            }
        };
        let named: Arc<Path> = Arc::from(file);
        let shown_path = named.display();
        let contents = match (self.input.read)(&named, SECRET_FILE_MAX_BYTES) {
            Ok(contents) if contents.bytes.len() <= SECRET_FILE_MAX_BYTES => contents,
            Ok(_) => {
                let reason = format!(
                    "`{shown_path}` is larger than {SECRET_FILE_MAX_BYTES} bytes; it must hold the token alone"
                );
                self.bad(&path, &said.origin, reason);
                return None;
            }
            Err(wrong) => {
                self.bad(&path, &said.origin, format!("`{shown_path}` cannot be read: {wrong}"));
                return None;
            }
        };
        let Ok(text) = std::str::from_utf8(&contents.bytes) else {
            self.bad(&path, &said.origin, format!("`{shown_path}` is not UTF-8 text"));
            return None;
        };
        if contents.readable_by_others {
            self.warnings.push(Warning { at: whole(&named), notice: Notice::ReadableByOthers });
        }
        let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
        let text = Zeroizing::new(text.to_owned());
        self.note(&path, SettingValue::Text(said.value), &said.origin);
        Some(Found { text, origin: said.origin, path })
    }

    fn judge(&mut self, secret: &Secret, found: &Found) {
        let bits = secret.estimated_bits();
        let notice = if secret.expose() == PUBLISHED_TOKEN {
            Notice::Published(found.path.clone())
        } else if bits < SECRET_MIN_BITS {
            Notice::Weak { key: found.path.clone(), bits: floor(bits) }
        } else {
            return;
        };
        self.warnings.push(Warning { at: found.origin.clone(), notice });
    }
}

fn is_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    text.len() <= 256
        && text.bytes().next().is_some_and(letter)
        && text.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
}

/// The estimate as a whole number: the largest that is not above it.
fn floor(bits: f64) -> u32 {
    (0..=127_u32).rev().find(|whole| f64::from(*whole) <= bits).unwrap_or(0)
}

fn whole(file: &Arc<Path>) -> Origin {
    super::Place::whole(file).into()
}
