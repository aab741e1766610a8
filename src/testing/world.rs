//! A world: policies, tokens and a clock that stands still until it is moved.

use super::{Ask, Caller, Outcome, assert_outcome, fail};
use crate::audit::MemoryAudit;
use crate::authenticator::Authenticator;
use crate::engine::{Answer, Engine, Permit};
use crate::policy::explain::Refusal;
use crate::policy::{HostFunctions, PolicySet, RoleBindings, ScriptLimits, Source};
use crate::request::Request;
use crate::store::memory::MemoryStore;
use crate::store::{Insertion, Names, Store as _};
use crate::time::Timestamp;
use crate::token::{RoleName, Secret, SecretKind, TokenId, TokenOrigin, TokenRecord};
use crate::tokens::Unauthenticated;
use http::header::{HeaderName, HeaderValue};
use once_cell::sync::OnceCell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// When every world begins: 2025-01-01T09:00:00Z, a Wednesday.
const BEGINNING: Timestamp = Timestamp::from_millis(1_735_722_000_000);
/// So that a machine with other things to do decides nothing.
const PATIENCE: Duration = Duration::from_secs(60);
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// An engine with policies and tokens, in memory, for tests. It is set up first, and begins with the first question;
/// from then on its policies and tokens change as in any program, through [`World::engine`].
pub struct World {
    setup: Setup,
    begun: OnceCell<Begun>,
    now_ms: AtomicI64,
}

#[derive(Default)]
struct Setup {
    sources: Vec<Source>,
    bindings: RoleBindings,
    host: HostFunctions,
    tokens: Vec<Wanted>,
    authenticators: Vec<(&'static str, Arc<dyn Authenticator>)>,
}

struct Wanted {
    name: String,
    roles: Vec<RoleName>,
    lives: Option<Duration>,
}

struct Begun {
    engine: Arc<Engine>,
    audit: Arc<MemoryAudit>,
    policies: Arc<PolicySet>,
    secrets: BTreeMap<String, (TokenId, Secret)>,
}

impl World {
    /// A world without policies and tokens, where everything is denied. It is 2025-01-01T09:00:00Z, a Wednesday.
    pub fn new() -> Self {
        let now_ms = AtomicI64::new(BEGINNING.as_millis());
        Self { setup: Setup::default(), begun: OnceCell::new(), now_ms }
    }

    /// The same world with one more policy.
    #[must_use]
    #[track_caller]
    pub fn policy(self, text: impl Into<String>) -> Self {
        let name = match self.setup.sources.len() {
            0 => "policy.rhai".to_owned(),
            before => format!("policy-{}.rhai", before + 1),
        };
        self.with_source(&name, text.into())
    }

    /// The same world with the policy in this file; a relative path begins at the package that is tested.
    #[must_use]
    #[track_caller]
    pub fn policy_file(self, path: &str) -> Self {
        match fs::read(path).map(String::from_utf8) {
            Ok(Ok(text)) => self.with_source(path, text),
            Ok(Err(_)) => fail(&format!("the policy `{path}` is not UTF-8")),
            Err(error) => fail(&format!("cannot read the policy `{path}`: {error}")),
        }
    }

    /// The same world with these role bindings, as the configuration of a server has them.
    #[must_use]
    #[track_caller]
    pub fn bindings(mut self, bindings: RoleBindings) -> Self {
        self.setup().bindings = bindings;
        self
    }

    /// The same world with functions that conditions may call.
    #[must_use]
    #[track_caller]
    pub fn host(mut self, host: HostFunctions) -> Self {
        self.setup().host = host;
        self
    }

    /// The same world with a token of this name, which holds these roles.
    #[must_use]
    #[track_caller]
    pub fn token<'r>(self, name: &str, roles: impl IntoIterator<Item = &'r str>) -> Self {
        self.with_token(name, roles, None)
    }

    /// The same, for a token that expires so long after the beginning of the world.
    #[must_use]
    #[track_caller]
    pub fn token_for<'r>(
        self,
        name: &str,
        roles: impl IntoIterator<Item = &'r str>,
        lives: Duration,
    ) -> Self {
        self.with_token(name, roles, Some(lives))
    }

    /// The same world with an authenticator; see [`Engine::with_authenticator`].
    #[must_use]
    #[track_caller]
    pub fn authenticator(mut self, realm: &'static str, authenticator: Arc<dyn Authenticator>) -> Self {
        self.setup().authenticators.push((realm, authenticator));
        self
    }

    /// The time, which stands still.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ms.load(Ordering::SeqCst))
    }

    /// Sets the clock, forth or back.
    pub fn set_now(&self, now: Timestamp) {
        self.now_ms.store(now.as_millis(), Ordering::SeqCst);
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.set_now(self.now().saturating_add(by));
    }

    /// The engine, for everything else.
    #[track_caller]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.begun().engine
    }

    /// What was recorded since the world began, its beginning included.
    #[track_caller]
    pub fn audit(&self) -> &MemoryAudit {
        &self.begun().audit
    }

    /// The secret of a token, for programs that are asked over the network.
    #[track_caller]
    pub fn secret(&self, token: &str) -> &Secret {
        &self.known(token).1
    }

    /// The id of a token.
    #[track_caller]
    pub fn token_id(&self, token: &str) -> TokenId {
        self.known(token).0
    }

    /// What becomes of a request.
    #[track_caller]
    pub fn check<'a>(&self, caller: impl Into<Caller<'a>>, ask: impl Into<Ask>) -> Outcome {
        match self.request(caller.into(), &ask.into()) {
            Err(_) => Outcome::Malformed,
            Ok(request) => match self.engine().check(&request, self.now()) {
                Answer::Permitted(_) => Outcome::Permitted,
                Answer::Forbidden(_) => Outcome::Denied,
                Answer::Unauthenticated(_) => Outcome::Unauthenticated,
            },
        }
    }

    /// The permit of a request, by which tokens are changed. A request that is not permitted fails the test.
    #[track_caller]
    pub fn permit<'a>(&self, caller: impl Into<Caller<'a>>, ask: impl Into<Ask>) -> Permit {
        let (caller, ask) = (caller.into(), ask.into());
        if let Ok(request) = self.request(caller, &ask)
            && let Answer::Permitted(permit) = self.engine().check(&request, self.now())
        {
            return permit;
        }
        assert_outcome(self, caller, ask, Outcome::Permitted);
        fail("the request is permitted at one time and not at another")
    }

    /// Why this becomes of a request, in the words of `rolegate policy explain`.
    #[track_caller]
    pub fn explain<'a>(&self, caller: impl Into<Caller<'a>>, ask: impl Into<Ask>) -> String {
        let ask = ask.into();
        let request = match self.request(caller.into(), &ask) {
            Ok(request) => request,
            Err(reason) => {
                return Refusal { method: ask.method(), target: ask.target(), reason: &reason }.to_string();
            }
        };
        let (engine, now) = (self.engine(), self.now());
        let policies = engine.policies();
        // Policies that took the place of the first ones have lines that this world does not know.
        let is_first = policies.version() == self.begun().policies.version();
        let sources = if is_first { self.setup.sources.as_slice() } else { &[] };
        let (principal, cause) = match engine.check(&request, now) {
            Answer::Permitted(permit) => (permit.principal().cloned(), permit.unauthenticated()),
            Answer::Forbidden(denied) => (Some(denied.principal), None),
            Answer::Unauthenticated(challenge) => (None, Some(challenge.cause)),
        };
        let told = policies.explain(principal.as_ref(), &request, now).with_sources(sources).to_string();
        match cause.filter(|cause| *cause != Unauthenticated::Missing) {
            Some(cause) => format!("{told}\n\n{cause}: the request is nobody's"),
            None => told,
        }
    }

    #[track_caller]
    fn with_source(mut self, name: &str, text: String) -> Self {
        self.setup().sources.push(Source { name: Arc::from(name), text });
        self
    }

    #[track_caller]
    fn with_token<'r>(
        mut self,
        name: &str,
        roles: impl IntoIterator<Item = &'r str>,
        lives: Option<Duration>,
    ) -> Self {
        let mut held = Vec::new();
        for role in roles {
            match RoleName::parse(role) {
                Ok(role) => held.push(role),
                Err(error) => fail(&format!("`{role}` is no role: {error}")),
            }
        }
        if self.setup.tokens.iter().any(|token| token.name == name) {
            fail(&format!("the world has a token `{name}` already"));
        }
        self.setup().tokens.push(Wanted { name: name.to_owned(), roles: held, lives });
        self
    }

    #[track_caller]
    fn setup(&mut self) -> &mut Setup {
        if self.begun.get().is_some() {
            fail("the world has begun: set it up before the first question, or change it through `engine`");
        }
        &mut self.setup
    }

    #[track_caller]
    fn begun(&self) -> &Begun {
        match self.begun.get_or_try_init(|| self.setup.begin(self.now())) {
            Ok(begun) => begun,
            Err(why) => fail(&why),
        }
    }

    #[track_caller]
    fn known(&self, token: &str) -> &(TokenId, Secret) {
        let secrets = &self.begun().secrets;
        let Some(known) = secrets.get(token) else {
            let names: Vec<&str> = secrets.keys().map(String::as_str).collect();
            fail(&format!("the world has no token `{token}`; its tokens are: {}", names.join(", ")));
        };
        known
    }

    #[track_caller]
    fn request(&self, caller: Caller<'_>, ask: &Ask) -> Result<Request, Arc<str>> {
        let credential = match caller {
            Caller::Nobody => None,
            Caller::Token(name) => HeaderValue::from_str(self.secret(name).expose()).ok(),
        };
        ask.read(credential.map(|value| (API_KEY, value)))
    }
}

impl Setup {
    fn begin(&self, now: Timestamp) -> Result<Begun, String> {
        let mut limits = ScriptLimits { host: self.host.clone(), ..ScriptLimits::default() };
        limits.load.time = PATIENCE;
        limits.condition.time = PATIENCE;
        let policies = PolicySet::load(&self.sources, &self.bindings, &limits)
            .map_err(|errors| format!("the policies of the world do not load\n\n{errors}\n"))?;
        let (store, mut secrets) = (MemoryStore::new(), BTreeMap::new());
        for (wanted, number) in self.tokens.iter().zip(TokenId::MIN..) {
            let (record, secret) = wanted.make(number, &policies, now)?;
            if !matches!(store.insert(&record, Names::Unique), Ok(Insertion::Inserted)) {
                return Err(format!("the token `{}` cannot be kept", wanted.name));
            }
            secrets.insert(wanted.name.clone(), (record.id, secret));
        }
        let audit = Arc::new(MemoryAudit::new());
        let engine = Engine::open(Box::new(store), Box::new(Arc::clone(&audit)), policies, now);
        let mut engine = engine.map_err(|error| error.to_string())?;
        for (realm, authenticator) in &self.authenticators {
            let added = engine.with_authenticator(realm, Box::new(Arc::clone(authenticator)));
            engine = added.map_err(|error| error.to_string())?;
        }
        let policies = engine.policies();
        Ok(Begun { engine: Arc::new(engine), audit, policies, secrets })
    }
}

impl Wanted {
    fn make(
        &self,
        number: u64,
        policies: &PolicySet,
        now: Timestamp,
    ) -> Result<(TokenRecord, Secret), String> {
        let name = &self.name;
        if let Some(role) = self.roles.iter().find(|role| !policies.has_role(role.as_str())) {
            let mut known: Vec<&str> = policies.roles().iter().map(RoleName::as_str).collect();
            known.sort_unstable();
            let known = known.join(", ");
            return Err(format!(
                "the token `{name}` has the role `{role}`, which no policy defines; the roles are: {known}"
            ));
        }
        let secret = Secret::generate().map_err(|error| error.to_string())?;
        let record = TokenRecord {
            id: TokenId::new(number).ok_or("there are more tokens than ids")?,
            digest: secret.digest(),
            kind: SecretKind::Generated,
            origin: TokenOrigin::Api,
            name: name.clone(),
            description: None,
            roles: self.roles.clone(),
            dedicated_subject: None,
            created: now,
            updated: now,
            expires: self.lives.map(|lives| now.saturating_add(lives)),
            disabled: None,
            former: None,
        };
        Ok((record, secret))
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens: Vec<&str> = self.setup.tokens.iter().map(|token| token.name.as_str()).collect();
        f.debug_struct("World").field("now", &self.now()).field("tokens", &tokens).finish_non_exhaustive()
    }
}
