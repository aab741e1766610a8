//! Whatever stands in a configuration: it is read or refused at a place in it, the same each time, and no
//! secret is told.

use rolegate::config::{Config, ConfigErrors, Contents, Input, Origin, Place, Variables, load};
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const FILES_MAX: usize = 4;
/// What a variable, a file and a block of the configuration hold, and nothing else does.
const IN_VARIABLE: &str = "v7Qx-planted-in-a-variable-Kz3mWp9";
const IN_FILE: &str = "f4Lr-planted-in-a-file-Tn8bYc2Hd6";
const IN_BLOCK: &str = "b9Gs-planted-in-a-block-Jw5xUe1Ra";
/// Blocks with a secret that are still open, so that what follows can only add to them or break them.
const OPEN_BLOCKS: [&str; 4] = [
    "stackstate:\n  authentication:\n    servicetoken:\n      bootstrap:\n        token: ",
    "stackstate:\n  authentication:\n    servicetoken:\n      bootstrap:\n        roles: [a]\n        token: '",
    "stackstate: {authentication: {serviceToken: {bootstrap: {roles: [a], token: ",
    "rolegate: {policies: [p]}\nstackstate: {authentication: {servicetoken: {bootstrap: {token: \"",
];

/// A byte of zero ends one file and starts the next.
pub(crate) fn check(data: &[u8]) {
    let files: Vec<Vec<u8>> = data.split(|byte| *byte == 0).take(FILES_MAX).map(<[u8]>::to_vec).collect();
    let text = is_told_in_place(&files);
    for planted in [IN_VARIABLE, IN_FILE] {
        let is_given = data.windows(planted.len()).any(|window| window == planted.as_bytes());
        assert!(is_given || !text.contains(planted), "a secret is told: {text}");
    }
    // Each input tries one of the blocks, so that all of them take no longer than one.
    let Some(open) = OPEN_BLOCKS.get(data.len() % OPEN_BLOCKS.len()) else { return };
    let block = [open.as_bytes(), IN_BLOCK.as_bytes(), data].concat();
    let text = is_told_in_place(&[block]);
    assert!(!text.contains(IN_BLOCK), "a secret is told: {text}");
}

/// Reads the files twice, looks at what is said, and gives all of it as text.
fn is_told_in_place(files: &[Vec<u8>]) -> String {
    match (read(files), read(files)) {
        (Ok(config), Ok(again)) => {
            for origin in config.warnings.iter().map(|warning| &warning.at) {
                stands_in(origin, files);
            }
            for origin in config.settings.iter().map(|setting| &setting.origin) {
                stands_in(origin, files);
            }
            let text = format!("{config:?}");
            assert_eq!(text, format!("{again:?}"));
            let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
            format!("{text}\n{}", warnings.join("\n"))
        }
        (Err(errors), Err(again)) => {
            let text = errors.to_string();
            assert_eq!(text, again.to_string());
            assert!(!text.is_empty());
            for origin in errors.iter().filter_map(|error| error.at.as_ref()) {
                stands_in(origin, files);
            }
            format!("{text}\n{errors:?}")
        }
        (one, other) => {
            assert_eq!(one.is_ok(), other.is_ok(), "read once and not again");
            String::new()
        }
    }
}

fn read(files: &[Vec<u8>]) -> Result<Config, ConfigErrors> {
    let named: Vec<PathBuf> = (0..files.len()).map(|at| PathBuf::from(format!("{at}.yaml"))).collect();
    let variables: Variables =
        [("TOKEN", IN_VARIABLE), ("ROLEGATE_LOG_LEVEL", "debug")].into_iter().collect();
    let read = |path: &Path, limit: usize| {
        let at = named.iter().position(|name| name == path);
        let own = at.and_then(|at| files.get(at)).map(Vec::as_slice);
        let secret = (path == Path::new("secret")).then_some(IN_FILE.as_bytes());
        let bytes = own.or(secret).ok_or(io::ErrorKind::NotFound)?;
        let bytes = bytes.get(..limit.saturating_add(1)).unwrap_or(bytes);
        Ok(Contents { bytes: Zeroizing::new(bytes.to_vec()), readable_by_others: true })
    };
    load(&Input { files: &named, variables: &variables, flags: &[], read: &read })
}

/// A place in a file is one that the file has.
fn stands_in(origin: &Origin, files: &[Vec<u8>]) {
    let Origin::File(Place { file, line, column }) = origin else { return };
    let number =
        file.to_str().and_then(|name| name.strip_suffix(".yaml")).and_then(|name| name.parse::<usize>().ok());
    let Some(bytes) = number.and_then(|number| files.get(number)) else {
        assert_eq!((&**file, *line), (Path::new("secret"), 0), "{origin}");
        return;
    };
    let Some(at) = (*line as usize).checked_sub(1) else { return };
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.split('\n').collect();
    let letters = lines.get(at).map(|line| line.chars().count());
    assert!(
        letters.is_some_and(|letters| (1..=letters + 1).contains(&(*column as usize))),
        "{origin} in {text:?}"
    );
}
