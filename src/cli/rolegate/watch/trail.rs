//! Which folders lie on the way to a file: each in which a link, a folder or the file itself could be exchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

/// The most links that are followed to one file, as the operating system has it.
const LINKS_MAX: usize = 40;
/// The most entries of a folder whose links are followed.
const ENTRIES_MAX: usize = 10_000;

/// Folders, and what in them matters.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Trail {
    folders: BTreeMap<PathBuf, Interest>,
}

/// What matters of a folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    /// The entries that lead on.
    names: BTreeSet<OsString>,
    /// Whether every entry matters.
    is_whole: bool,
    /// Whether something is likely to be exchanged here. Further up only whole folders could be, and a program
    /// may be forbidden to watch for that.
    pub(super) is_essential: bool,
}

impl Trail {
    /// The folders on the way to these files and folders.
    pub(super) fn of(places: &[PathBuf]) -> Self {
        let mut trail = Self::default();
        for place in places {
            // Without a current folder a relative place leads nowhere.
            let Ok(place) = std::path::absolute(place) else { continue };
            let Some(end) = trail.walk(Path::new(""), &place) else { continue };
            let Ok(entries) = std::fs::read_dir(&end) else { continue };
            let interest = trail.folders.entry(end.clone()).or_default();
            (interest.is_whole, interest.is_essential) = (true, true);
            for entry in entries.take(ENTRIES_MAX).flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                    trail.walk(&end, Path::new(&entry.file_name()));
                }
            }
        }
        trail
    }

    /// The folders, without links in their paths, and what matters of them.
    pub(super) fn folders(&self) -> impl Iterator<Item = (&Path, &Interest)> {
        self.folders.iter().map(|(path, interest)| (path.as_path(), interest))
    }

    /// Whether something has happened at this path that matters.
    pub(super) fn has(&self, path: &Path) -> bool {
        if self.folders.contains_key(path) {
            return true;
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return true };
        self.folders.get(folder).is_some_and(|interest| interest.is_whole || interest.names.contains(name))
    }

    /// Walks from a folder to where `path` leads; `None` when it leads nowhere.
    fn walk(&mut self, from: &Path, path: &Path) -> Option<PathBuf> {
        let end = self.follow(from, path, &mut LINKS_MAX.clone())?;
        if let (Some(folder), Some(name)) = (end.parent(), end.file_name()) {
            self.note(folder, name, true);
        }
        Some(end)
    }

    fn follow(&mut self, from: &Path, path: &Path, links: &mut usize) -> Option<PathBuf> {
        let mut at = from.to_owned();
        for component in path.components() {
            match component {
                Component::CurDir => {}
                Component::ParentDir => {
                    at.pop();
                }
                Component::Prefix(_) | Component::RootDir => at.push(component),
                Component::Normal(name) => at = self.step(&at, name, links)?,
            }
        }
        Some(at)
    }

    fn step(&mut self, at: &Path, name: &OsStr, links: &mut usize) -> Option<PathBuf> {
        let next = at.join(name);
        match std::fs::symlink_metadata(&next) {
            Err(_) => {
                self.note(at, name, true);
                None
            }
            Ok(about) if about.is_symlink() => {
                self.note(at, name, true);
                *links = links.checked_sub(1)?;
                self.follow(at, &std::fs::read_link(&next).ok()?, links)
            }
            Ok(_) => {
                self.note(at, name, false);
                Some(next)
            }
        }
    }

    fn note(&mut self, folder: &Path, name: &OsStr, is_essential: bool) {
        let interest = self.folders.entry(folder.to_owned()).or_default();
        interest.names.insert(name.to_owned());
        interest.is_essential |= is_essential;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_folder_on_the_way_of_a_mounted_file_is_found() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("mount/..2030_01_01")).unwrap();
        fs::write(root.join("mount/..2030_01_01/p.rhai"), "").unwrap();
        symlink("..2030_01_01", root.join("mount/..data")).unwrap();
        symlink("..data/p.rhai", root.join("mount/p.rhai")).unwrap();
        symlink("mount", root.join("link")).unwrap();

        let trail = Trail::of(&[root.join("link/p.rhai")]);
        let essential: Vec<&Path> =
            trail.folders().filter(|(_, interest)| interest.is_essential).map(|(path, _)| path).collect();
        assert_eq!(essential, [&root, &root.join("mount"), &root.join("mount/..2030_01_01")]);
        for (path, matters) in [
            ("link", true),
            ("mount", true),
            ("mount/..data", true),
            ("mount/p.rhai", true),
            ("mount/..2030_01_01/p.rhai", true),
            ("other", false),
            ("mount/other", false),
        ] {
            assert_eq!(trail.has(&root.join(path)), matters, "{path}");
        }
        assert!(Trail::of(&[root.join("link")]).has(&root.join("mount/other")));
    }

    #[test]
    fn folder_that_is_missing_is_waited_for_where_it_would_appear() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let trail = Trail::of(&[root.join("not/there")]);
        assert!(trail.has(&root.join("not")) && !trail.has(&root.join("other")));
        let about = trail.folders().find(|(path, _)| *path == root).unwrap().1;
        assert!(about.is_essential);
    }

    #[test]
    fn links_in_a_circle_end() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        let trail = Trail::of(&[root.path().join("a")]);
        assert!(trail.folders().count() > 0);
    }
}
