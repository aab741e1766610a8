//! One change at a time of each token, so that the index learns of them in the order in which the store did.

use crate::token::TokenId;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeSet, HashSet};

/// The tokens that are being changed.
#[derive(Debug, Default)]
pub(super) struct Turns {
    taken: Mutex<HashSet<TokenId>>,
    given_back: Condvar,
}

/// The right to change one token. It ends with this value.
#[must_use]
pub(super) struct Turn<'t> {
    turns: &'t Turns,
    id: TokenId,
}

impl Turns {
    /// Waits until nobody else changes the token.
    pub(super) fn take(&self, id: TokenId) -> Turn<'_> {
        let mut taken = self.taken.lock();
        while !taken.insert(id) {
            self.given_back.wait(&mut taken);
        }
        Turn { turns: self, id }
    }

    /// The same for several tokens. Whoever waits for one of them holds only such that come before it, so that no two wait
    /// for each other.
    pub(super) fn take_all(&self, ids: impl Iterator<Item = TokenId>) -> Vec<Turn<'_>> {
        ids.collect::<BTreeSet<_>>().into_iter().map(|id| self.take(id)).collect()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.taken.lock().remove(&self.id);
        self.turns.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    #[test]
    fn each_token_is_changed_by_one_at_a_time_and_others_do_not_wait() {
        let (turns, inside) = (Turns::default(), AtomicUsize::new(0));
        let other = turns.take(TokenId::LEAST);
        let id = TokenId::new(TokenId::MIN + 1).unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let _turn = turns.take(id);
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        thread::scope(|scope| {
            for ids in [[0, 1, 2], [2, 1, 0], [1, 1, 0], [2, 0, 2]] {
                let ids = ids.map(|at| TokenId::new(TokenId::MIN + 1 + at).unwrap());
                let turns = &turns;
                scope.spawn(move || (0..500).for_each(|_| drop(turns.take_all(ids.into_iter()))));
            }
        });
        drop(other);
        assert!(turns.taken.lock().is_empty());
    }
}
