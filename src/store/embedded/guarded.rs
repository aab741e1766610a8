//! A file whose changes are held back in memory until it is known to be ours and sound.

use parking_lot::RwLock;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A file that either takes changes at once, or holds them back and shows itself as if it had them.
///
/// A database repairs and marks a file while it opens it. Of a file that turns out to be damaged, foreign
/// or of a newer format, not a byte may change: so the changes of the opening are only made when the
/// first token is changed.
#[derive(Debug)]
pub(super) struct GuardedFile {
    file: File,
    held: RwLock<Option<Held>>,
}

/// Changes not made yet, in their order: the order in which a crash at any point does no harm.
#[derive(Debug)]
struct Held {
    length: u64,
    changes: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLength(u64),
    Sync,
}

impl GuardedFile {
    /// Changes are made at once.
    pub(super) const fn direct(file: File) -> Self {
        Self { file, held: RwLock::new(None) }
    }

    /// Changes are held back until [`release`](Self::release).
    pub(super) fn held(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, held: RwLock::new(Some(Held { length, changes: Vec::new() })) })
    }

    /// Makes all changes that were held back, and from now on each at once. After an error the changes are
    /// still held back, and making them again does no harm.
    pub(super) fn release(&self) -> io::Result<()> {
        // Asked first under the shared lock: this stands before every write transaction.
        if self.held.read().is_none() {
            return Ok(());
        }
        let mut held = self.held.write();
        for change in held.iter().flat_map(|held| &held.changes) {
            match change {
                Change::Write(offset, bytes) => self.file.write_all_at(bytes, *offset)?,
                Change::SetLength(length) => self.file.set_len(*length)?,
                Change::Sync => self.file.sync_data()?,
            }
        }
        *held = None;
        Ok(())
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        match &*self.held.read() {
            None => Ok(self.file.metadata()?.len()),
            Some(held) => Ok(held.length),
        }
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &*self.held.read() {
            None => self.file.read_exact_at(out, offset),
            Some(held) => held.read(&self.file, offset, out),
        }
    }

    pub(super) fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Change::SetLength(length), |file| file.set_len(length))
    }

    pub(super) fn sync_data(&self) -> io::Result<()> {
        self.change(Change::Sync, File::sync_data)
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.held.read().is_none() {
            return self.file.write_all_at(bytes, offset);
        }
        self.change(Change::Write(offset, bytes.to_vec()), |file| file.write_all_at(bytes, offset))
    }

    fn change(&self, change: Change, make: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        if self.held.read().is_none() {
            return make(&self.file);
        }
        match &mut *self.held.write() {
            None => make(&self.file),
            Some(held) => {
                match &change {
                    Change::Write(offset, bytes) => {
                        held.length = held.length.max(end_of(*offset, bytes.len())?);
                    }
                    Change::SetLength(length) => held.length = *length,
                    Change::Sync => {}
                }
                held.changes.push(change);
                Ok(())
            }
        }
    }
}

impl Held {
    /// Reads as if the changes had been made.
    fn read(&self, file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if end_of(offset, out.len())? > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.fill(0);
        let mut filled = 0;
        // What lies past the end of the file itself is zero until a change says otherwise.
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, end_of(offset, filled)?) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        for change in &self.changes {
            match change {
                Change::Write(at, bytes) => overlay(offset, out, *at, bytes),
                Change::SetLength(length) => {
                    let kept = length.saturating_sub(offset);
                    let cut = usize::try_from(kept).ok().and_then(|kept| out.get_mut(kept..));
                    cut.into_iter().for_each(|cut| cut.fill(0));
                }
                Change::Sync => {}
            }
        }
        Ok(())
    }
}

/// Copies `bytes`, which lie at `at`, over the part of `out` that lies at the same place.
fn overlay(offset: u64, out: &mut [u8], at: u64, bytes: &[u8]) {
    let skip_bytes = usize::try_from(offset.saturating_sub(at)).ok();
    let skip_out = usize::try_from(at.saturating_sub(offset)).ok();
    let source = skip_bytes.and_then(|skip| bytes.get(skip..));
    let target = skip_out.and_then(|skip| out.get_mut(skip..));
    if let (Some(source), Some(target)) = (source, target) {
        target.iter_mut().zip(source).for_each(|(target, source)| *target = *source);
    }
}

fn end_of(offset: u64, length: usize) -> io::Result<u64> {
    let length = u64::try_from(length).ok();
    length.and_then(|length| offset.checked_add(length)).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn changes() -> impl Strategy<Value = Change> {
        prop_oneof![
            (0..100_u64, proptest::collection::vec(any::<u8>(), 1..40))
                .prop_map(|(at, b)| Change::Write(at, b)),
            (0..120_u64).prop_map(Change::SetLength),
            Just(()).prop_map(|()| Change::Sync),
        ]
    }

    fn content(file: &GuardedFile) -> Vec<u8> {
        let mut all = vec![7; usize::try_from(file.len().unwrap()).unwrap()];
        file.read(0, &mut all).unwrap();
        all
    }

    fn file_with(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    proptest! {
        #[test]
        fn held_file_reads_as_if_changed_and_is_not(
            before in proptest::collection::vec(any::<u8>(), 0..100),
            changes in proptest::collection::vec(changes(), 0..12),
            window in (0..100_usize, 0..100_usize),
        ) {
            let (direct, held) = (GuardedFile::direct(file_with(&before)), file_with(&before));
            let untouched = GuardedFile::direct(held.try_clone().unwrap());
            let held = GuardedFile::held(held).unwrap();
            for change in &changes {
                for file in [&direct, &held] {
                    match change {
                        Change::Write(offset, bytes) => file.write(*offset, bytes).unwrap(),
                        Change::SetLength(length) => file.set_len(*length).unwrap(),
                        Change::Sync => file.sync_data().unwrap(),
                    }
                }
                prop_assert_eq!(content(&held), content(&direct));
            }
            prop_assert_eq!(content(&untouched), before);

            let expected = content(&direct);
            let mut part = vec![7; window.1];
            let fits = window.0 + window.1 <= expected.len();
            prop_assert_eq!(held.read(window.0 as u64, &mut part).is_ok(), fits);
            if fits {
                prop_assert_eq!(&part, &expected[window.0..window.0 + window.1]);
            }

            held.release().unwrap();
            prop_assert_eq!(content(&untouched), expected);
        }
    }

    #[test]
    fn released_file_takes_changes_at_once() {
        let inner = file_with(b"abc");
        let seen = GuardedFile::direct(inner.try_clone().unwrap());
        let file = GuardedFile::held(inner).unwrap();
        file.write(1, b"X").unwrap();
        assert_eq!(content(&seen), b"abc");
        file.release().unwrap();
        assert_eq!(content(&seen), b"aXc");
        file.write(2, b"Y").unwrap();
        file.set_len(4).unwrap();
        assert_eq!(content(&seen), b"aXY\0");
    }

    #[test]
    fn offsets_past_any_file_are_an_error_and_no_panic() {
        let file = GuardedFile::held(file_with(b"abc")).unwrap();
        assert!(file.read(u64::MAX, &mut [0; 2]).is_err());
        assert!(file.write(u64::MAX, b"xy").is_err());
        assert_eq!(content(&file), b"abc");
    }
}
