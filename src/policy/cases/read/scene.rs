//! The requests of cases, and the circumstances in which they come.

use super::fields::{Fields, Reader};
use crate::policy::cases::{CaseRequest, DEFAULT_TIME};
use crate::request::{Credential, read_target};
use crate::time::Timestamp;
use crate::yaml::{self, Content, Node, Place};
use http::header::{HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use std::net::IpAddr;

/// The most headers of a request: as many as the server takes.
const HEADERS_MAX: usize = 64;

/// What is around a request.
pub(super) struct Scene {
    pub(super) time: Timestamp,
    headers: HeaderMap,
    headers_place: Place,
    client_ip: Option<IpAddr>,
}

impl Reader {
    /// The keys `time`, `client_ip` and `headers` of a case or a matrix.
    pub(super) fn scene(&mut self, fields: &Fields<'_>) -> Option<Scene> {
        let mut scene = Scene {
            time: DEFAULT_TIME,
            headers: HeaderMap::new(),
            headers_place: Place::default(),
            client_ip: None,
        };
        if let Some(node) = fields.get("time") {
            scene.time = time(self, node, "time")?;
        }
        if let Some(node) = fields.get("client_ip") {
            let text = self.text(node, "client_ip")?;
            scene.client_ip = text.parse().ok();
            if scene.client_ip.is_none() {
                let message = format!(
                    "`{}` is no address: write one such as `192.0.2.1` or `2001:db8::1`",
                    yaml::shown(text)
                );
                self.problem(node.place, message);
                return None;
            }
        }
        if let Some(node) = fields.get("headers") {
            scene.headers = self.headers(node)?;
            scene.headers_place = node.place;
        }
        if !scene.headers.contains_key(HOST) {
            scene.headers.insert(HOST, HeaderValue::from_static("localhost"));
        }
        Some(scene)
    }

    fn headers(&mut self, node: &Node) -> Option<HeaderMap> {
        let Content::Map(entries) = &node.content else {
            let message = format!("`headers` must be a map, and this is {}", node.content.what());
            self.problem(node.place, message);
            return None;
        };
        if entries.len() > HEADERS_MAX {
            self.problem(node.place, format!("a request has at most {HEADERS_MAX} headers"));
            return None;
        }
        let mut headers = HeaderMap::new();
        for (key, node) in entries {
            let Ok(name) = HeaderName::from_bytes(key.text.as_bytes()) else {
                self.problem(key.place, format!("`{}` is no header name", yaml::shown(&key.text)));
                return None;
            };
            let Ok(value) = HeaderValue::from_str(self.text(node, &key.text)?) else {
                self.problem(node.place, format!("the value of `{name}` cannot stand in a header"));
                return None;
            };
            headers.append(name, value);
        }
        Some(headers)
    }

    /// Reads `METHOD TARGET` as the gate would. That the gate refuses it is no problem of the file.
    pub(super) fn request(&mut self, text: &str, place: Place, scene: &Scene) -> Option<CaseRequest> {
        let parts = text.split_once(' ').map(|(method, target)| (method, target.trim_start_matches(' ')));
        let parts = parts.and_then(|(method, target)| Some((method.parse::<Method>().ok()?, target)));
        let Some((method, target)) = parts.filter(|(_, target)| !target.is_empty()) else {
            let message = format!(
                "`{}` is no request: write method and target, such as `GET /api/server/info`",
                yaml::shown(text)
            );
            self.problem(place, message);
            return None;
        };
        let read = read_target(method, target, scene.headers.clone(), scene.client_ip);
        let has_credential =
            read.as_ref().is_ok_and(|request| !matches!(request.credential(), Credential::Missing));
        if has_credential {
            let message = "a case carries no token: `principal` says whose request it is";
            self.problem(scene.headers_place, message);
            return None;
        }
        Some(CaseRequest { text: text.into(), read })
    }
}

/// A point in time as RFC 3339 writes it, in UTC.
pub(super) fn time(reader: &mut Reader, node: &Node, key: &str) -> Option<Timestamp> {
    let text = reader.text(node, key)?;
    match humantime::parse_rfc3339(text) {
        Ok(time) => Some(time.into()),
        Err(_) => {
            let message = format!(
                "`{}` is no time: write it in UTC, such as `2026-03-01T08:00:00Z`",
                yaml::shown(text)
            );
            reader.problem(node.place, message);
            None
        }
    }
}
