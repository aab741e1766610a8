//! The least that a gate has to do for a request: hash its token, look the digest up, and walk a trie.

use hashbrown::HashTable;
use rolegate::request::{Credential, Request};
use rustc_hash::{FxBuildHasher, FxHasher};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::hash::Hasher as _;
use std::hint::black_box;

/// A hash map of digests, and the simplest trie: one node a segment, one rule a route, no methods, no roles.
pub(crate) struct Floor {
    pub(crate) tokens: HashMap<[u8; 32], usize, FxBuildHasher>,
    edges: HashTable<(usize, Box<str>, usize)>,
    nodes: Vec<FloorNode>,
}

#[derive(Default)]
struct FloorNode {
    any: Option<usize>,
    rule: Option<usize>,
}

impl Floor {
    pub(crate) fn new() -> Self {
        Self { tokens: HashMap::default(), edges: HashTable::new(), nodes: vec![FloorNode::default()] }
    }

    pub(crate) fn add(&mut self, pattern: &str, rule: usize) {
        let mut node = 0;
        for segment in pattern.split('/').skip(1) {
            let known =
                if segment.starts_with('{') { self.nodes[node].any } else { self.child(node, segment) };
            node = known.unwrap_or_else(|| {
                let child = self.nodes.len();
                self.nodes.push(FloorNode::default());
                if segment.starts_with('{') {
                    self.nodes[node].any = Some(child);
                } else {
                    let hasher = |edge: &(usize, Box<str>, usize)| hash(edge.0, &edge.1);
                    self.edges.insert_unique(hash(node, segment), (node, segment.into(), child), hasher);
                }
                child
            });
        }
        self.nodes[node].rule = Some(rule);
    }

    fn child(&self, node: usize, segment: &str) -> Option<usize> {
        let edge = self.edges.find(hash(node, segment), |edge| edge.0 == node && *edge.1 == *segment);
        edge.map(|edge| edge.2)
    }

    pub(crate) fn decide(&self, request: &Request) -> Option<usize> {
        let Credential::Token(secret, _) = request.credential() else { return None };
        let digest: [u8; 32] = Sha256::digest(secret.expose()).into();
        black_box(self.tokens.get(&digest)?);
        let mut node = 0;
        for segment in request.path().as_str().split('/').skip(1) {
            node = self.child(node, segment).or(self.nodes[node].any)?;
        }
        self.nodes[node].rule
    }
}

fn hash(parent: usize, text: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_usize(parent);
    hasher.write(text.as_bytes());
    hasher.finish()
}
