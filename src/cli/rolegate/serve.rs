//! `serve`: brings configuration, policies, store, audit log and engine together, and serves until told to stop.

mod server;

use super::console::Console;
use super::log::LogQueue;
use super::policies::{self, Configured, LoadError, counted};
use super::reload::{Disk, Reloading, hear};
use super::service;
use super::settings::{ConfigArguments, Surroundings};
use super::shadow::ShadowLoader;
use super::tls::{self, TlsLoader};
use super::{DONE, EXIT_CODES, FAILED, STOPPED_TWICE};
use crate::audit::file::FileAudit;
use crate::audit::{Audit, AuditError, BestEffort, Loss};
use crate::config::{Config, ConfigErrors, Located, Log, Origin, SampledRule};
use crate::engine::{Engine, OpenError, ProvisionError, Provisioned};
use crate::policy::{PolicySet, Source};
use crate::server::decision_log::{DecisionLogError, DecisionLogOptions, Sampled};
use crate::server::{
    ClockError, DecisionLog, Metrics, ReloadGuard, Reloader, Server, SteadyClock, WentBack, stopwatch,
    wall_clock,
};
use crate::store::StoreError;
use crate::store::embedded::EmbeddedStore;
use crate::token::RoleName;
use clap::Args;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::Level;

/// How long work that was dropped may go on before the process ends.
const ABANDONED: Duration = Duration::from_millis(100);
/// So many networks of proxies are named at the start.
const PEERS_SHOWN: usize = 3;

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct ServeArguments {
    #[command(flatten)]
    config: ConfigArguments,
}

/// What to do about a store that is damaged.
const DAMAGED_ADVICE: &str =
    "`rolegate store check` tells what is wrong with it, and what a repair would lose";

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("cannot listen on `{address}` ({by}): {source}{}", advice(source))]
    Listen { address: SocketAddr, by: Origin, source: io::Error },
    #[error(transparent)]
    Clock(#[from] ClockError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Decisions(#[from] DecisionLogError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    #[error("the operating system refuses what a server needs: {0}")]
    System(io::Error),
}

/// A server that is ready to serve.
struct Ready {
    address: SocketAddr,
    listener: TcpListener,
    server: Server,
    reloading: Reloading,
    steady: SteadyClock,
    decision_log: Option<DecisionLog>,
    signals: Signals,
}

/// The signals that end a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// What may take long to load.
struct Loaded {
    engine: Engine,
    steady: SteadyClock,
    went_back: Option<WentBack>,
    decision_log: Option<DecisionLog>,
    /// The file of an older format that was taken over.
    kept: Option<PathBuf>,
    provisioned: Vec<Provisioned>,
}

pub(super) fn run(arguments: &ServeArguments, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    match start(arguments, surroundings, console) {
        Ok(code) => code,
        Err(failure) => {
            match failure {
                Failure::Config(errors) => errors.iter().for_each(|error| console.error(error)),
                // These come with their label, and with the lines they are about.
                Failure::Load(LoadError::Policy(errors)) => console.remark(errors),
                other => {
                    console.error(&other);
                    if let Failure::Store(StoreError::Corrupt { .. })
                    | Failure::Open(OpenError::Store(StoreError::Corrupt { .. })) = other
                    {
                        console.remark(DAMAGED_ADVICE);
                    }
                }
            }
            FAILED
        }
    }
}

fn start(
    arguments: &ServeArguments,
    surroundings: &Surroundings,
    console: &mut Console<'_>,
) -> Result<u8, Failure> {
    let config = Arc::new(arguments.config.load(surroundings)?);
    let log = log_to_standard_error(&config.log, console.colours).map_err(Failure::System)?;
    for warning in &config.warnings {
        if logs_json(&config) {
            tracing::warn!(at = %warning.at, "{}", warning.notice);
        } else {
            console.warning(warning);
        }
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::System)?;
    let code = runtime.block_on(async {
        let Some(ready) = prepare(&config, console).await? else {
            tracing::info!("told to stop before anything was served");
            return Ok(DONE);
        };
        let decision_log = ready.decision_log.clone();
        let steady = ready.steady.clone();
        let looking = tokio::spawn(steady.clone().run());
        let code = ready.serve().await;
        looking.abort();
        steady.finish();
        if let Some(log) = decision_log {
            log.flush();
        }
        Ok(code)
    });
    // A request that was dropped may still wait for the disk; the process does not wait for it.
    runtime.shutdown_timeout(ABANDONED);
    log.flush();
    code
}

/// Everything up to the moment at which the server could answer; `None` when a signal ends it before. The address comes
/// before the store, so that a second server by mistake changes nothing.
async fn prepare(config: &Arc<Config>, console: &mut Console<'_>) -> Result<Option<Ready>, Failure> {
    // First of all: without it the signal ends the program, or does nothing where that is the first of its container,
    // and loading much may take long.
    let hang_up = signal(SignalKind::hangup()).map_err(Failure::System)?;
    let mut signals = Signals::new().map_err(Failure::System)?;
    let configured = Configured::of(config);
    let sources = configured.read()?;
    let policies = configured.compile(&sources, hear).map_err(LoadError::from)?;
    // Looked at before anything is created; loaded by the clock of the server, which is not there yet.
    tls::check(config, wall_clock()())?;
    let listener = listen(&config.listen).await?;
    let metrics = Arc::new(Metrics::new());
    let told = policies::summary(&policies);
    let loading = tokio::task::spawn_blocking({
        let (config, metrics) = (Arc::clone(config), Arc::clone(&metrics));
        move || load(&config, policies, &metrics)
    });
    let loaded = tokio::select! {
        biased;
        () = signals.next() => return Ok(None),
        loaded = loading => loaded.unwrap_or_else(|ended| resume_unwind(ended.into_panic()))?,
    };
    let Loaded { engine, steady, went_back, decision_log, kept, provisioned } = loaded;
    let clock = steady.clock();
    tell_clock(config, went_back, console);

    console.line(format_args!("rolegate {}", env!("CARGO_PKG_VERSION")));
    console.line(format_args!("policies   {} ({told})", names(&sources)));
    tell_store(&config.data_dir.value, engine.token_count(), kept, console);
    let (audit, mode) = (config.audit_file.value.display(), config.audit.mode.value);
    console.line(format_args!("audit      {audit} ({mode})"));
    if let Some(log) = &config.decision_log {
        console.line(format_args!("decisions  {}", log.file.value.display()));
    }
    if let Some(endpoint) = &config.forward_auth {
        let peers: Vec<String> = endpoint.peers.iter().take(PEERS_SHOWN).map(ToString::to_string).collect();
        let more = if endpoint.peers.iter().len() > PEERS_SHOWN { ", …" } else { "" };
        console.line(format_args!("proxies    {} for {}{more}", endpoint.path, peers.join(", ")));
    }
    tell_unknown_samples(decision_log.as_ref(), &engine.policies(), console);
    for report in provisioned {
        console.line(format_args!("tokens     {report}"));
    }
    tell_undefined_roles(&engine.undefined_roles(clock()), console);
    let engine = Arc::new(engine);
    let watched = config.watch_policies.value.then(|| configured.paths());
    let source = Box::new(Disk(configured));
    let reloader =
        Reloader::new(Arc::clone(&engine), source, &sources, Arc::clone(&clock), Arc::clone(&metrics));
    let reloader = Arc::new(reloader.with_guard(reload_guard(config)));
    let shadow = ShadowLoader::start(config).map_err(Failure::System)?;
    let reloading =
        Reloading::start(Arc::clone(&reloader), shadow.clone(), hang_up, watched).map_err(Failure::System)?;
    let tls = TlsLoader::load(config, Arc::clone(&clock), &metrics)?;
    let reloading = reloading.with_audit(Arc::clone(&engine), Arc::clone(&clock)).with_tls(tls.clone());
    let reloading = reloading.map_err(Failure::System)?;
    if let Some(shadow) = &shadow {
        console.line(format_args!("shadow     {}", shadow.places()));
    }
    let address = listener.local_addr().map_err(Failure::System)?;
    tell_listening(address, tls.as_deref(), console);
    let server =
        Server::new(engine).with_clock(clock).with_metrics(Arc::clone(&metrics)).with_reloader(reloader);
    let server = server::with_transport(server::set_up(server, config)?, config, tls.as_deref());
    let server = server::with_observers(server, shadow.as_deref(), decision_log.as_ref(), &metrics);
    Ok(Some(Ready { address, listener, server, reloading, steady, decision_log, signals }))
}

/// Opens everything that is on disk. The store comes first: it is locked, and whoever has it has the rest.
fn load(config: &Config, policies: PolicySet, metrics: &Arc<Metrics>) -> Result<Loaded, Failure> {
    let store = EmbeddedStore::open(&config.data_dir.value)?;
    let kept = store.kept().map(Path::to_owned);
    let audit = open_audit(config, metrics)?;
    let decision_log = config.decision_log.as_ref().map(decision_log).transpose()?;
    let (steady, went_back) = SteadyClock::open(&config.data_dir.value, wall_clock(), stopwatch())?;
    let clock = steady.clock();
    let engine = Engine::open(Box::new(store), audit, policies, clock())?;
    let provisioned = engine.provision(&config.provision(), clock())?;
    Ok(Loaded { engine, steady, went_back, decision_log, kept, provisioned })
}

impl Signals {
    fn new() -> io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt })
    }

    /// The next one.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl Ready {
    /// Serves until the first signal, and on until running requests are answered or the second signal comes.
    async fn serve(self) -> u8 {
        let Self { address, listener, server, mut reloading, mut signals, .. } = self;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let shutdown = async {
            // An error is a sender that is gone, and that ends the server too.
            let _ = stopped.await;
        };
        let mut stop = Some(stop);
        let mut serving = std::pin::pin!(server.run(listener, shutdown));
        let mut watchdog = std::pin::pin!(service::watchdog());
        service::ready(address);
        loop {
            tokio::select! {
                () = &mut serving => return DONE,
                () = reloading.next() => continue,
                () = &mut watchdog => continue,
                () = signals.next() => {}
            }
            match stop.take() {
                Some(stop) => {
                    service::stopping();
                    let _ = stop.send(());
                }
                None => return STOPPED_TWICE,
            }
        }
    }
}

fn tell_listening(address: SocketAddr, tls: Option<&TlsLoader>, console: &mut Console<'_>) {
    if let Some(tls) = tls {
        console.line(format_args!("tls        {}", tls.summary()));
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    console.line(format_args!("listening  {scheme}://{address}"));
}

/// The audit log, in the mode of the configuration.
fn open_audit(config: &Config, metrics: &Arc<Metrics>) -> Result<Box<dyn Audit>, AuditError> {
    let audit = FileAudit::open(&config.audit_file.value)?.with_max_bytes(config.audit.max_bytes as u64);
    if config.audit.mode.value == "strict" {
        return Ok(Box::new(audit));
    }
    let metrics = Arc::clone(metrics);
    Ok(Box::new(BestEffort::new(audit, move |loss: &Loss<'_>| match loss {
        Loss::Lost { error, is_news } => {
            metrics.audit_lost();
            if *is_news {
                tracing::warn!(%error, "the audit log loses entries, and changes are made without them");
            }
        }
        Loss::Over { count } => {
            tracing::warn!(count, "the audit log is written again, and says how many are lost");
        }
    })))
}

fn tell_unknown_samples(log: Option<&DecisionLog>, policies: &PolicySet, console: &mut Console<'_>) {
    for name in log.map(|log| log.unknown_samples(policies)).unwrap_or_default() {
        let name = name.escape_debug();
        console.line(format_args!("decisions  `{name}` is sampled, and no policy has a rule of this name"));
    }
}

fn tell_clock(config: &Config, went_back: Option<WentBack>, console: &mut Console<'_>) {
    match went_back {
        Some(went_back) if logs_json(config) => tracing::warn!("{went_back}"),
        Some(went_back) => console.warning(went_back),
        None => {}
    }
}

fn reload_guard(config: &Config) -> ReloadGuard {
    match config.reload_guard.value {
        "off" => ReloadGuard::Off,
        _ => ReloadGuard::RefuseGains,
    }
}

/// Whoever reads standard error as JSON reads all of it as JSON.
fn logs_json(config: &Config) -> bool {
    config.log.format.value == "json"
}

/// A policy that is gone, or a role that is spelled another way, takes permissions away from tokens in use.
fn tell_undefined_roles(roles: &BTreeMap<RoleName, usize>, console: &mut Console<'_>) {
    const TOLD: usize = 10;
    for (role, count) in roles.iter().take(TOLD) {
        let tokens = counted(*count, "token");
        console.line(format_args!(
            "tokens     role {role} of {tokens} is defined by no policy and permits nothing"
        ));
    }
    if roles.len() > TOLD {
        console.line(format_args!("tokens     and so are {} more roles", roles.len() - TOLD));
    }
}

fn tell_store(folder: &Path, tokens: usize, kept: Option<PathBuf>, console: &mut Console<'_>) {
    console.line(format_args!("store      {} ({})", folder.display(), counted(tokens, "token")));
    if let Some(kept) = kept {
        console.line(format_args!("           taken over from an older format; kept as {}", kept.display()));
    }
}

async fn listen(wanted: &Located<SocketAddr>) -> Result<TcpListener, Failure> {
    TcpListener::bind(wanted.value).await.map_err(|source| Failure::Listen {
        address: wanted.value,
        by: wanted.origin.clone(),
        source,
    })
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; stop the other program, or choose another address with `--listen`",
        io::ErrorKind::AddrNotAvailable => "; no network interface of this machine has this address",
        io::ErrorKind::PermissionDenied => "; choose a port from 1024 on",
        _ => "",
    }
}

fn names(sources: &[Source]) -> String {
    const SHOWN: usize = 3;
    let names: Vec<&str> = sources.iter().take(SHOWN).map(|source| &*source.name).collect();
    let more = sources.len().saturating_sub(SHOWN);
    if more == 0 { names.join(", ") } else { format!("{} and {more} more", names.join(", ")) }
}

fn decision_log(said: &crate::config::DecisionLog) -> Result<DecisionLog, DecisionLogError> {
    DecisionLog::open(DecisionLogOptions {
        file: said.file.value.clone(),
        allowed: said.allowed,
        max_bytes: said.max_bytes as u64,
        headers: said.headers.clone(),
        query: said.query.iter().map(|name| Arc::from(name.as_str())).collect(),
        sampling: said.sampling.iter().map(sampled).collect(),
    })
}

fn sampled(said: &SampledRule) -> Sampled {
    let one_in = u32::try_from(said.one_in).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    Sampled { rule: Arc::from(said.rule.as_str()), one_in, denials: said.denials }
}

/// Sends log lines to standard error. A program that embeds this one may have its own log, which then stays.
fn log_to_standard_error(log: &Log, colours: bool) -> io::Result<LogQueue> {
    let level = match log.level.value {
        "error" => Level::ERROR,
        "warn" => Level::WARN,
        "debug" => Level::DEBUG,
        "trace" => Level::TRACE,
        _ => Level::INFO,
    };
    // A handle of its own: whoever waits for the one that all share would wait for a reader that stalls.
    let queue = LogQueue::start(File::from(io::stderr().as_fd().try_clone_to_owned()?))?;
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(queue.clone())
        .with_ansi(colours)
        // It would tell of a line that cannot be written on standard error itself, and panic when it cannot
        // either: a full disk or a reader that went away must not end the server.
        .log_internal_errors(false);
    let _ = if log.format.value == "json" {
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
    } else {
        tracing::subscriber::set_global_default(builder.finish())
    };
    Ok(queue)
}
