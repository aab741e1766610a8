//! Random changes and questions, against a model that is a list of records.

use super::*;
use crate::token::NAME_MAX_BYTES;
use proptest::prelude::*;
use std::sync::LazyLock;

/// Secrets that are given to tokens, half of them generated.
static SECRETS: LazyLock<Vec<Credential>> = LazyLock::new(|| {
    let chosen = (0..4).map(|number| Credential::read(&format!("a-secret-that-was-chosen-{number}")));
    chosen.chain((0..4).map(|_| generated())).collect()
});

#[derive(Clone, Debug)]
enum Step {
    Insert { id: u64, secret: usize, expires: Option<i64>, origin: usize },
    Rotate { id: u64, secret: usize, grace: Option<i64> },
    Change { id: u64, expires: Option<i64>, is_disabled: bool, role: u8, name: usize },
    EndFormer { id: u64 },
    Remove { id: u64 },
    Ask { secret: usize, now: i64 },
    AskAgain { answer: usize, now: i64 },
}

fn steps() -> impl Strategy<Value = Step> {
    let (id, secret, now) = (0..4_u64, 0..8_usize, 0..100_i64);
    let expires = proptest::option::of(0..100_i64);
    prop_oneof![
        2 => (id.clone(), secret.clone(), expires.clone(), 0..3_usize)
            .prop_map(|(id, secret, expires, origin)| Step::Insert { id, secret, expires, origin }),
        3 => (id.clone(), secret.clone(), expires.clone())
            .prop_map(|(id, secret, grace)| Step::Rotate { id, secret, grace }),
        3 => (id.clone(), expires, any::<bool>(), 0..5_u8, 0..60_usize).prop_map(
            |(id, expires, is_disabled, role, name)| Step::Change { id, expires, is_disabled, role, name }
        ),
        1 => id.clone().prop_map(|id| Step::EndFormer { id }),
        1 => id.prop_map(|id| Step::Remove { id }),
        6 => (secret, now.clone()).prop_map(|(secret, now)| Step::Ask { secret, now }),
        4 => (0..50_usize, now).prop_map(|(answer, now)| Step::AskAgain { answer, now }),
    ]
}

#[derive(Default)]
struct Model {
    tokens: Vec<Known>,
    /// How often a digest came to a token.
    arrivals: BTreeMap<[u8; 32], usize>,
}

#[derive(Clone)]
struct Known {
    record: TokenRecord,
    was_expired: bool,
    was_former_expired: bool,
}

/// What a handle was given for: a digest, and which of its arrivals.
#[derive(Clone, Copy)]
struct Given(Handle, TokenDigest, usize);

impl Model {
    fn token(&self, id: u64) -> Option<usize> {
        self.tokens.iter().position(|known| known.record.id.get() == TokenId::MIN + id)
    }

    fn owner(&self, digest: &TokenDigest) -> Option<usize> {
        self.tokens.iter().position(|known| known.record.digests().any(|own| own == *digest))
    }

    fn arrive(&mut self, before: Option<&TokenRecord>, after: &TokenRecord) {
        for digest in after.digests() {
            if before.is_none_or(|before| before.digests().all(|had| had != digest)) {
                *self.arrivals.entry(*digest.as_bytes()).or_default() += 1;
            }
        }
    }

    fn arrivals(&self, digest: &TokenDigest) -> usize {
        self.arrivals.get(digest.as_bytes()).copied().unwrap_or_default()
    }

    fn has_chosen(&self) -> bool {
        let kinds = |record: &TokenRecord| [Some(record.kind), record.former.map(|former| former.kind)];
        self.tokens.iter().flat_map(|known| kinds(&known.record)).any(|kind| kind == Some(SecretKind::Chosen))
    }

    fn admit(&mut self, digest: &TokenDigest, now: i64) -> Result<Principal, Unauthenticated> {
        let at_place = self.owner(digest).ok_or(Unauthenticated::Unknown)?;
        let known = &mut self.tokens[at_place];
        let id = known.record.id;
        if let Some(former) = known.record.former.filter(|former| former.digest == *digest) {
            known.was_former_expired |= former.expires <= at(now);
            if known.was_former_expired {
                return Err(Unauthenticated::Rotated(id));
            }
        }
        known.was_expired |= known.record.is_expired(at(now));
        match known {
            Known { was_expired: true, .. } => Err(Unauthenticated::Expired(id)),
            Known { record: TokenRecord { disabled: Some(_), .. }, .. } => Err(Unauthenticated::Disabled(id)),
            Known { record, .. } => Ok(record.principal()),
        }
    }

    fn update(&mut self, place: usize, after: &TokenRecord) {
        let known = self.tokens[place].clone();
        self.arrive(Some(&known.record), after);
        let former = after.former.map(|former| former.digest);
        let was_former_expired = if former == Some(known.record.digest) {
            known.was_expired
        } else {
            known.was_former_expired && former == known.record.former.map(|former| former.digest)
        };
        self.tokens[place] = Known { record: after.clone(), was_former_expired, ..known };
    }
}

/// What a step makes of a token; `None` where a store would refuse it.
fn change(model: &Model, step: &Step) -> Option<(usize, TokenRecord)> {
    match *step {
        Step::Rotate { id, secret, grace } => {
            let place = model.token(id)?;
            let before = &model.tokens[place].record;
            let after = rotated(before, &SECRETS[secret], grace);
            let is_free = model.owner(&after.digest).is_none_or(|owner| owner == place);
            (is_free && after.digest != before.digest).then_some((place, after))
        }
        Step::Change { id, expires, is_disabled, role, name } => {
            let place = model.token(id)?;
            let roles = (0..role).map(|role| RoleName::parse(&format!("role-{role}")).unwrap()).collect();
            let (disabled, name) = (is_disabled.then_some(at(0)), "n".repeat(name.min(NAME_MAX_BYTES)));
            let before = model.tokens[place].record.clone();
            Some((place, TokenRecord { expires: expires.map(at), disabled, roles, name, ..before }))
        }
        Step::EndFormer { id } => {
            let place = model.token(id)?;
            Some((place, TokenRecord { former: None, ..model.tokens[place].record.clone() }))
        }
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn index_answers_as_the_model_does(steps in proptest::collection::vec(steps(), 1..80)) {
        let (index, mut model, mut given) = (TokenIndex::new(), Model::default(), Vec::<Given>::new());
        for step in &steps {
            match *step {
                Step::Insert { id, secret, expires, origin } => {
                    let mut token = record(&SECRETS[secret], expires);
                    token.id = TokenId::new(TokenId::MIN + id).unwrap();
                    token.origin = [TokenOrigin::Api, TokenOrigin::Bootstrap, TokenOrigin::Declared][origin];
                    if model.token(id).is_none() && model.owner(&token.digest).is_none() {
                        index.insert(&token);
                        model.arrive(None, &token);
                        model.tokens.push(Known { record: token, was_expired: false, was_former_expired: false });
                    }
                }
                Step::Rotate { .. } | Step::Change { .. } | Step::EndFormer { .. } => {
                    if let Some((place, after)) = change(&model, step) {
                        prop_assert!(index.update(&model.tokens[place].record, &after));
                        model.update(place, &after);
                    }
                }
                Step::Remove { id } => if let Some(place) = model.token(id) {
                    prop_assert!(index.remove(&model.tokens.remove(place).record));
                },
                Step::Ask { secret, now } => {
                    let Credential::Token(text, kind) = &SECRETS[secret] else { panic!("no token") };
                    let digest = text.digest();
                    let is_passed_over = *kind == SecretKind::Chosen && !model.has_chosen();
                    let expected =
                        if is_passed_over { Err(Unauthenticated::Unknown) } else { model.admit(&digest, now) };
                    let told = index.authenticate(&SECRETS[secret], at(now));
                    prop_assert_eq!(&told.clone().map(|known| known.principal), &expected);
                    given.extend(told.map(|it| Given(it.handle, digest, model.arrivals(&digest))).ok());
                }
                Step::AskAgain { answer, now } => if !given.is_empty() {
                    let Given(handle, digest, arrival) = given[answer % given.len()];
                    let is_there = model.owner(&digest).is_some() && model.arrivals(&digest) == arrival;
                    let expected = is_there && model.admit(&digest, now).is_ok();
                    prop_assert_eq!(index.is_live(handle, at(now)), expected);
                },
            }
            prop_assert_eq!(index.len(), model.tokens.len());
            let is_configured = |known: &&Known| known.record.origin != TokenOrigin::Api;
            let mut ids: Vec<_> = model.tokens.iter().filter(is_configured).map(|it| it.record.id).collect();
            ids.sort_unstable();
            prop_assert_eq!(index.configured_ids(), ids);
        }
    }
}
