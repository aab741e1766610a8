//! The certificates of the server, from their files: at the start, at a signal, and whenever they change.

use super::watch::{Pace, Watch};
use crate::config::{
    Config, ConfigError, ConfigErrors, Located, Problem, TLS_FILE_MAX_BYTES, TlsFiles, read,
};
use crate::server::{ClientCertificates, Clock, Metrics, Tls, TlsMaterial, TlsPart};
use crate::time::Timestamp;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Loads the certificates that the configuration names.
pub(super) struct TlsLoader {
    files: TlsFiles,
    offers_http2: bool,
    tls: Arc<Tls>,
    clock: Clock,
    /// What the files held when they were loaded last, with whatever outcome; `None` when they could not be read.
    loaded: Mutex<Option<Contents>>,
}

/// What the files hold, as one number.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Contents([u8; 32]);

/// Looks whether the server could speak TLS by this configuration, if it is to.
///
/// # Errors
/// When it could not.
pub(super) fn check(config: &Config, now: Timestamp) -> Result<(), ConfigErrors> {
    let Some(files) = &config.tls else { return Ok(()) };
    let material = material(files, offers_http2(config))?;
    Tls::new(&material, now).map(drop).map_err(|wrong| refused(files, wrong.part, &wrong.to_string()))
}

impl TlsLoader {
    /// Loads the certificates; `None` when the configuration names none.
    ///
    /// # Errors
    /// When they cannot be used.
    pub(super) fn load(
        config: &Config,
        clock: Clock,
        metrics: &Metrics,
    ) -> Result<Option<Arc<Self>>, ConfigErrors> {
        let Some(files) = config.tls.clone() else { return Ok(None) };
        let offers_http2 = offers_http2(config);
        let material = material(&files, offers_http2)?;
        let tls =
            Tls::new(&material, clock()).map_err(|wrong| refused(&files, wrong.part, &wrong.to_string()))?;
        tls.count_in(metrics);
        let loaded = Mutex::new(Some(Contents::of(&material)));
        Ok(Some(Arc::new(Self { files, offers_http2, tls: Arc::new(tls), clock, loaded })))
    }

    /// The certificates in force.
    pub(super) fn tls(&self) -> &Arc<Tls> {
        &self.tls
    }

    /// The file of the certificate, in words, and how long it is valid.
    pub(super) fn summary(&self) -> String {
        format!("{} (valid until {})", self.files.certificate.value.display(), self.tls.expires())
    }

    /// Looks at the files whenever something may have changed, as long as what this gives is kept.
    pub(super) fn watch(self: &Arc<Self>) -> io::Result<Watch> {
        let clients = self.files.clients.iter().map(|(_, file)| file);
        let places = [&self.files.certificate, &self.files.key].into_iter().chain(clients);
        let places = places.map(|file| file.value.clone()).collect();
        let own = Arc::clone(self);
        let watch = Watch::start(places, Pace::default(), move || own.look())?;
        // What has changed since the start.
        self.look();
        Ok(watch)
    }

    /// Loads the certificates anew when their files hold something else than the last time.
    fn look(&self) {
        self.load_if(|found, loaded| found != loaded);
    }

    /// Loads the certificates anew. What is wrong with them is in the log, and those from before stay in force.
    pub(super) fn reload(&self) {
        self.load_if(|_, _| true);
    }

    fn load_if(&self, is_wanted: impl Fn(Option<Contents>, Option<Contents>) -> bool) {
        // Kept to the end, so that of two readings the later one is in force.
        let mut loaded = self.loaded.lock();
        let material = material(&self.files, self.offers_http2);
        let found = material.as_ref().ok().map(Contents::of);
        if !is_wanted(found, *loaded) {
            return;
        }
        *loaded = found;
        let replaced = match &material {
            Ok(material) => self
                .tls
                .replace(material, (self.clock)())
                .map_err(|wrong| refused(&self.files, wrong.part, &wrong.to_string()).to_string()),
            Err(errors) => {
                self.tls.not_replaced();
                Err(errors.to_string())
            }
        };
        match replaced {
            Ok(()) => {
                tracing::info!(expires = %self.tls.expires(), "new connections get the certificate anew");
            }
            Err(error) => tracing::error!(%error, "the certificate stays as it was"),
        }
    }
}

impl Contents {
    fn of(material: &TlsMaterial) -> Self {
        let mut hash = Sha256::new();
        let authorities = material.clients.as_ref().map(|(_, authorities)| authorities.as_slice());
        for part in [Some(material.certificate.as_slice()), Some(material.key.as_slice()), authorities] {
            let part = part.unwrap_or_default();
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

fn offers_http2(config: &Config) -> bool {
    config.http2.value != "off"
}

fn material(files: &TlsFiles, offers_http2: bool) -> Result<TlsMaterial, ConfigErrors> {
    let mut errors = Vec::new();
    let mut take = |part, file| match contents(file) {
        Ok(contents) => contents,
        Err(reason) => {
            errors.push(error(files, part, &reason));
            Zeroizing::default()
        }
    };
    let certificate = take(TlsPart::Certificate, &files.certificate).to_vec();
    let key = take(TlsPart::Key, &files.key);
    let clients = files.clients.as_ref().map(|(wanted, file)| {
        let wanted = match *wanted {
            "optional" => ClientCertificates::Optional,
            _ => ClientCertificates::Required,
        };
        (wanted, take(TlsPart::ClientAuthorities, file).to_vec())
    });
    if errors.is_empty() {
        Ok(TlsMaterial { certificate, key, clients, offers_http2 })
    } else {
        Err(ConfigErrors::new(errors, &[]))
    }
}

/// What a file holds, or why not, in words that fit after its name.
fn contents(file: &Located<PathBuf>) -> Result<Zeroizing<Vec<u8>>, String> {
    let contents =
        read(&file.value, TLS_FILE_MAX_BYTES).map_err(|error| format!("cannot be read: {error}"))?;
    if contents.bytes.len() > TLS_FILE_MAX_BYTES {
        return Err(format!("is larger than {TLS_FILE_MAX_BYTES} bytes"));
    }
    Ok(contents.bytes)
}

fn refused(files: &TlsFiles, part: TlsPart, reason: &str) -> ConfigErrors {
    ConfigErrors::new(vec![error(files, part, reason)], &[])
}

/// What is wrong with a file, where it is named.
fn error(files: &TlsFiles, part: TlsPart, reason: &str) -> ConfigError {
    let authorities = files.clients.as_ref().map(|(_, file)| file);
    let (key, file) = match part {
        TlsPart::Certificate => ("rolegate.tls.certificate", &files.certificate),
        TlsPart::Key => ("rolegate.tls.key", &files.key),
        TlsPart::ClientAuthorities => ("rolegate.tls.client_ca", authorities.unwrap_or(&files.certificate)),
    };
    let reason = format!("`{}` {reason}", file.value.display());
    let problem = Problem::BadValue { key: key.to_owned(), reason };
    ConfigError { at: Some(file.origin.clone()), problem }
}
