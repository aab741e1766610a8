//! The door through which files and environment variables come in. All else of the configuration gets them as values.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use zeroize::Zeroizing;

/// What is in a file, and whether others can read it. No `Debug`: it may hold a secret.
#[expect(missing_debug_implementations, reason = "a secret must not be printable")]
pub struct Contents {
    /// The bytes; one more than was asked for when there are more.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Whether group or others have the right to read the file.
    pub readable_by_others: bool,
}

/// The environment variables that a configuration may refer to.
#[derive(Clone, Default)]
#[expect(missing_debug_implementations, reason = "a secret must not be printable")]
pub struct Variables(BTreeMap<String, OsString>);

/// Why a variable has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// It is not set.
    #[error("is not set")]
    Missing,
    /// It is set to nothing.
    #[error("is empty")]
    Empty,
    /// It is no UTF-8.
    #[error("is not UTF-8 text")]
    NotUtf8,
}

/// Reads a file, at most `limit_bytes` and one more, so that a longer one is told from one that just fits.
///
/// # Errors
/// When the operating system does not give it, or it is a folder.
pub fn read(path: &Path, limit_bytes: usize) -> io::Result<Contents> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let most = u64::try_from(limit_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(most).read_to_end(&mut bytes)?;
    Ok(Contents { bytes, readable_by_others: readable_by_others(&about) })
}

#[cfg(unix)]
fn readable_by_others(about: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    // A pipe, as from a shell's process substitution, has no name by which others could open it.
    about.is_file() && about.permissions().mode() & 0o044 != 0
}

#[cfg(not(unix))]
fn readable_by_others(_: &std::fs::Metadata) -> bool {
    false
}

impl Variables {
    /// The value of a variable.
    ///
    /// # Errors
    /// When it is not set, empty, or not text.
    pub fn get(&self, name: &str) -> Result<&str, VariableError> {
        match self.0.get(name).map(|value| value.to_str()) {
            None => Err(VariableError::Missing),
            Some(None) => Err(VariableError::NotUtf8),
            Some(Some("")) => Err(VariableError::Empty),
            Some(Some(value)) => Ok(value),
        }
    }

    /// The names of the variables that are set.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Variables {
    /// Variables whose name is not text are left out: nothing can refer to them.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let named = |(name, value): (N, V)| Some((name.into().into_string().ok()?, value.into()));
        Self(variables.into_iter().filter_map(named).collect())
    }
}
