//! Where tokens are imported to: a running server, or the store of a configuration by way of an engine.

use super::super::Failure;
use super::super::server::Server;
use super::report::Told;
use crate::audit::file::FileAudit;
use crate::audit::{Audit, MemoryAudit};
use crate::backup::{TokenLine, hex};
use crate::config::Config;
use crate::engine::{Engine, Import, ImportOutcome, Imported};
use crate::policy::PolicySet;
use crate::server::wall_clock;
use crate::store::Store;
use crate::store::embedded::{EmbeddedStore, FILE_NAME, StoreView};
use crate::store::memory::MemoryStore;
use http::Method;
use serde::Deserialize;
use serde_json::json;

const PATH: &str = "/api/rolegate/tokens/import";
/// How many tokens a server is sent at once: even the largest ones fit into one body, and are written in time.
const SERVER_BATCH: usize = 50;

/// How many are written to the store at once. It commits more of them for the price of one when there are more.
const STORE_BATCH: usize = 5_000;

/// Where tokens are imported to.
pub(super) enum Target {
    Server(Box<Server>),
    Store(Box<Engine>),
}

#[derive(Deserialize)]
struct Answer {
    tokens: Vec<Told>,
    spent: Vec<Told>,
}

impl Target {
    /// The store of a configuration. Where nothing is to be changed, it is looked at, and nothing is audited.
    pub(super) fn store(config: &Config, policies: PolicySet, is_dry_run: bool) -> Result<Self, Failure> {
        let folder = &config.data_dir.value;
        let (store, audit): (Box<dyn Store>, Box<dyn Audit>) = if is_dry_run {
            let store: Box<dyn Store> = if folder.join(FILE_NAME).exists() {
                Box::new(StoreView::open(folder)?)
            } else {
                Box::new(MemoryStore::new())
            };
            (store, Box::new(MemoryAudit::new()))
        } else {
            let store = Box::new(EmbeddedStore::open(folder)?);
            let audit = FileAudit::open(&config.audit_file.value)?;
            (store, Box::new(audit.with_max_bytes(config.audit.max_bytes as u64)))
        };
        Ok(Self::Store(Box::new(Engine::open(store, audit, policies, wall_clock()())?)))
    }

    /// How many tokens are imported together.
    pub(super) const fn batch(&self) -> usize {
        match self {
            Self::Server(_) => SERVER_BATCH,
            Self::Store(_) => STORE_BATCH,
        }
    }

    /// Imports tokens, or spent digests.
    pub(super) fn import(&self, import: &Import) -> Result<Vec<Told>, Failure> {
        match self {
            Self::Store(engine) => {
                let Imported { tokens, spent } =
                    engine.restore(import, wall_clock()()).map_err(Failure::Import)?;
                Ok(spent.iter().chain(&tokens).map(told).collect())
            }
            Self::Server(server) => {
                let tokens: Vec<TokenLine> = import.tokens.iter().map(TokenLine::from).collect();
                let spent: Vec<String> = import.spent.iter().map(|digest| hex(digest.as_bytes())).collect();
                let path = format!("{PATH}?dryRun={}&replace={}", import.is_dry_run, import.replaces);
                let body = json!({ "tokens": tokens, "spent": spent });
                let answer = server.call(&Method::POST, &path, Some(&body))?;
                let odd = |what: &str| Failure::Server(format!("the answer of the server {what}"));
                let answer: Answer =
                    answer.json().map_err(|error| odd(&format!("cannot be read: {error}")))?;
                if (answer.tokens.len(), answer.spent.len()) != (tokens.len(), spent.len()) {
                    return Err(odd("does not tell of each token"));
                }
                Ok(answer.spent.into_iter().chain(answer.tokens).collect())
            }
        }
    }
}

fn told(outcome: &ImportOutcome) -> Told {
    let reason = match outcome {
        ImportOutcome::Conflict(conflict) => Some(conflict.to_string()),
        ImportOutcome::Created | ImportOutcome::Replaced | ImportOutcome::Unchanged => None,
    };
    Told { outcome: outcome.name().to_owned(), reason }
}
