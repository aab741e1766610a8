//! Tokens that are made by their numbers: as many as are asked for, without keeping any.

use crate::measure::Outcome;
use rolegate::request::Credential;
use rolegate::store::page::{Page, PageQuery};
use rolegate::store::usage::{TokenUse, Usage};
use rolegate::store::{AfterDelete, Insertion, LentToken, Names, Spending, Store, StoreError, Update};
use rolegate::time::Timestamp;
use rolegate::token::{RoleName, Secret, SecretKind, TokenDigest, TokenId, TokenOrigin, TokenRecord};
use std::fmt::Write as _;

/// Every number but a multiple of this prime is prime to it: ids are spread as drawn ones are, and differ.
const ID_STEP: u64 = 89_999_981;
const ROLE_SETS: usize = 100;
const CREATED: i64 = 1_767_225_600_000;
const DAY: i64 = 86_400_000;

/// The digests of so many tokens; the rest of a token follows from its number. As a store it can be loaded.
#[derive(Debug)]
pub(crate) struct Made {
    digests: Vec<TokenDigest>,
    /// How many of them are loaded.
    loaded: usize,
    role_sets: Vec<Vec<RoleName>>,
    /// What is added to each name.
    tail: String,
}

impl Made {
    pub(crate) fn new(size: usize, tail: &str) -> Outcome<Self> {
        let digests = (0..size).map(|number| Ok(secret(number)?.0.digest())).collect::<Outcome<_>>()?;
        let set = |set: usize| {
            let names = (0..=set % 3).map(|role| RoleName::parse(&format!("role-{}", set + role)));
            Ok(names.collect::<Result<Vec<_>, _>>()?)
        };
        let role_sets = (0..ROLE_SETS).map(set).collect::<Outcome<_>>()?;
        Ok(Self { digests, loaded: size, role_sets, tail: tail.to_owned() })
    }

    /// Only the first so many are loaded.
    pub(crate) fn loading(self, loaded: usize) -> Self {
        Self { loaded, ..self }
    }

    pub(crate) fn digest(&self, number: usize) -> Option<TokenDigest> {
        self.digests.get(number).copied()
    }

    pub(crate) fn record(&self, number: usize) -> Outcome<TokenRecord> {
        let digest = self.digest(number).ok_or("no such number")?;
        let mut name = String::new();
        Ok(self.lent(number, digest, &mut name).ok_or("no such id")?.to_record())
    }

    /// The numbers of all that are loaded, in the order of their ids.
    pub(crate) fn by_id(&self) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..self.loaded).collect();
        numbers.sort_unstable_by_key(|number| id(*number));
        numbers
    }

    /// Each token expires on one of a thousand days, but every tenth never.
    fn lent<'a>(&'a self, number: usize, digest: TokenDigest, name: &'a mut String) -> Option<LentToken<'a>> {
        name.clear();
        write!(name, "token {number}{}", self.tail).ok()?;
        let millis = i64::try_from(number).ok()?;
        let created = Timestamp::from_millis(CREATED + millis);
        let expires = (!number.is_multiple_of(10)).then(|| CREATED + DAY * (1_000 + millis % 1_000));
        Some(LentToken {
            id: id(number)?,
            digest,
            kind: SecretKind::Chosen,
            origin: TokenOrigin::Api,
            name,
            description: None,
            roles: self.role_sets.get(number % ROLE_SETS)?,
            dedicated_subject: None,
            created,
            updated: created,
            expires: expires.map(Timestamp::from_millis),
            disabled: None,
            former: None,
        })
    }
}

/// A moment at which all of them are live.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(CREATED + 500 * DAY)
}

/// What a client with this token presents.
pub(crate) fn credential(number: usize) -> Outcome<Credential> {
    let (secret, kind) = secret(number)?;
    Ok(Credential::Token(secret, kind))
}

fn secret(number: usize) -> Outcome<(Secret, SecretKind)> {
    Ok(Secret::parse(&format!("the-secret-of-token-number-{number}"))?)
}

fn id(number: usize) -> Option<TokenId> {
    let span = TokenId::MAX - TokenId::MIN + 1;
    TokenId::new(TokenId::MIN + u64::try_from(number).ok()?.wrapping_mul(ID_STEP) % span)
}

fn only_loaded<T>() -> Result<T, StoreError> {
    Err(StoreError::Other("these tokens can only be loaded".into()))
}

impl Store for Made {
    fn load(&self, each: &mut dyn FnMut(LentToken<'_>)) -> Result<(), StoreError> {
        let mut name = String::new();
        for (number, digest) in self.digests.iter().take(self.loaded).enumerate() {
            self.lent(number, *digest, &mut name).into_iter().for_each(&mut *each);
        }
        Ok(())
    }

    fn insert(&self, _: &TokenRecord, _: Names) -> Result<Insertion, StoreError> {
        only_loaded()
    }

    fn update(&self, _: &TokenRecord, _: &TokenRecord, _: Names) -> Result<Update, StoreError> {
        only_loaded()
    }

    fn delete(&self, _: TokenId, _: AfterDelete) -> Result<bool, StoreError> {
        only_loaded()
    }

    fn get(&self, _: TokenId) -> Result<Option<TokenRecord>, StoreError> {
        only_loaded()
    }

    fn page(&self, _: &PageQuery) -> Result<Page, StoreError> {
        only_loaded()
    }

    fn record_uses(&self, _: &[TokenUse]) -> Result<(), StoreError> {
        only_loaded()
    }

    fn usage(&self, _: TokenId) -> Result<Option<Usage>, StoreError> {
        only_loaded()
    }

    fn is_spent(&self, _: &TokenDigest) -> Result<bool, StoreError> {
        only_loaded()
    }

    fn spent(&self, _: Option<&TokenDigest>, _: usize) -> Result<Vec<TokenDigest>, StoreError> {
        only_loaded()
    }

    fn spend(&self, _: &TokenDigest) -> Result<Spending, StoreError> {
        only_loaded()
    }
}
