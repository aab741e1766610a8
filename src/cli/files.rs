//! The files that settings of both programs name: tokens and certificates.

use std::io::Read;
use std::path::Path;
use zeroize::Zeroizing;

/// The largest file that is read for a token, in bytes.
const TOKEN_FILE_MAX_BYTES: u64 = 64 * 1024;
/// The largest file of certificate authorities, in bytes.
const CERTIFICATES_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A file that cannot be read, or holds something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read `{path}`: {cause}")]
pub(crate) struct Unreadable {
    /// The file.
    pub(crate) path: String,
    /// What the system said, or what is wrong with it.
    pub(crate) cause: String,
}

/// The service token of a file, or of standard input for `-`.
///
/// # Errors
/// When it cannot be read, or holds no token.
pub(crate) fn token_of_file(path: &Path) -> Result<Zeroizing<String>, Unreadable> {
    let failed = |cause: &str| Unreadable { path: path.display().to_string(), cause: cause.to_owned() };
    let mut bytes = Zeroizing::new(Vec::new());
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(TOKEN_FILE_MAX_BYTES + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(TOKEN_FILE_MAX_BYTES + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| failed(&error.to_string()))?;
    if bytes.len() as u64 > TOKEN_FILE_MAX_BYTES {
        return Err(failed("it is larger than 64 KiB, and no token is"));
    }
    match std::str::from_utf8(&bytes).map(str::trim) {
        Ok("") => Err(failed("it holds no token")),
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(failed("it is not text")),
    }
}

/// The file of certificate authorities, whatever it holds.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn certificates_of_file(path: &Path) -> Result<Vec<u8>, Unreadable> {
    let failed = |cause: String| Unreadable { path: path.display().to_string(), cause };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(CERTIFICATES_MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > CERTIFICATES_MAX_BYTES {
        return Err(failed("it is larger than 16 MiB".to_owned()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let limit = usize::try_from(TOKEN_FILE_MAX_BYTES).unwrap();
        std::fs::write(&path, "x".repeat(limit)).unwrap();
        assert_eq!(token_of_file(&path).unwrap().len(), limit);
        std::fs::write(&path, "x".repeat(limit + 1)).unwrap();
        assert!(token_of_file(&path).unwrap_err().cause.contains("larger than 64 KiB"));
        std::fs::write(&path, " \n").unwrap();
        assert_eq!(token_of_file(&path).unwrap_err().cause, "it holds no token");
    }
}
