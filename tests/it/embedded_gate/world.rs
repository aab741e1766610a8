//! An engine with a token for each role, and what its gate was asked.

use parking_lot::Mutex;
use rolegate::audit::MemoryAudit;
use rolegate::engine::{Answer, Engine};
#[cfg(not(feature = "tower"))]
use rolegate::filters::Observe;
use rolegate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::request::{Malformed, Request};
use rolegate::store::memory::MemoryStore;
use rolegate::store::{Insertion, Names, Store as _};
use rolegate::time::Timestamp;
use rolegate::token::{RoleName, Secret, SecretKind, TokenId, TokenRecord};
#[cfg(feature = "tower")]
use rolegate::tower::Observe;
use std::sync::Arc;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

const POLICY: &str = r#"
    role("reader").allow("GET /files/{name}").except("GET /files/secret").allow("PUT /files/{name}");
    role("local").allow("GET /files/{name}").when(|request| request.client_ip == "127.0.0.1");
    open("GET /health");
"#;

/// An engine whose tokens are known.
pub(super) struct World {
    pub(super) engine: Arc<Engine>,
    pub(super) reader: String,
    pub(super) expired: String,
    pub(super) local: String,
}

/// What was decided and what was refused, in words.
#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<Vec<String>>);

impl World {
    pub(super) fn new() -> Self {
        let store = MemoryStore::new();
        let add = |role: &str, expires| {
            let secret = Secret::generate().unwrap();
            let id = TokenId::generate().unwrap();
            let record = TokenRecord {
                name: format!("token of {role}"),
                roles: vec![RoleName::parse(role).unwrap()],
                expires,
                ..crate::store::bare(id, secret.digest(), SecretKind::Generated)
            };
            assert_eq!(store.insert(&record, Names::MayRepeat).unwrap(), Insertion::Inserted);
            secret.expose().to_owned()
        };
        let (reader, expired, local) = (add("reader", None), add("reader", Some(NOW)), add("local", None));
        let source = Source { name: Arc::from("gate.rhai"), text: POLICY.to_owned() };
        let policies =
            PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default()).unwrap();
        let engine = Engine::open(Box::new(store), Box::new(MemoryAudit::new()), policies, NOW).unwrap();
        Self { engine: Arc::new(engine), reader, expired, local }
    }
}

impl Journal {
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Observe for Journal {
    fn decided(&self, request: &Request, answer: &Answer, _: &Arc<PolicySet>) {
        let answer = match answer {
            Answer::Permitted(_) => "permitted",
            Answer::Forbidden(_) => "forbidden",
            Answer::Unauthenticated(_) => "unauthenticated",
        };
        self.0.lock().push(format!("{answer} {} {}", request.method(), request.path()));
    }

    fn refused(&self, cause: &Malformed) {
        self.0.lock().push(format!("malformed: {cause}"));
    }
}
