//! A file whose changes are held back in memory until it is known to be ours and sound, and whose head is put back when
//! a sync fails.

use parking_lot::{Mutex, RwLock};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

/// The part of the file that tells which of its pages count. A database never writes over pages that its last durable
/// state needs: whoever puts the head of that state back has that state back.
const HEAD_BYTES: usize = 4096;

/// A file that either takes changes at once, or holds them back and shows itself as if it had them.
///
/// A database repairs and marks a file while it opens it. Of a file that turns out to be damaged, foreign
/// or of a newer format, not a byte may change: so the changes of the opening are only made when the
/// first token is changed.
#[derive(Debug)]
pub(super) struct GuardedFile {
    file: File,
    held: RwLock<Option<Held>>,
    /// The head as the last sync left it, once it was written to since. After a failed sync nobody knows which pages
    /// are on disk: those in memory may pass for clean without having been written.
    synced_head: Mutex<Option<Vec<u8>>>,
    /// Whether another one has taken over this file, so that nothing may be written by this one any more.
    is_abandoned: AtomicBool,
}

/// Changes not made yet, in their order: the order in which a crash at any point does no harm.
#[derive(Debug)]
struct Held {
    length: u64,
    changes: Vec<Change>,
    /// The head that the first of the changes puts back.
    owed_head: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLength(u64),
    Sync,
}

impl GuardedFile {
    /// Changes are made at once.
    pub(super) fn direct(file: File) -> Self {
        let (held, synced_head) = (RwLock::new(None), Mutex::new(None));
        Self { file, held, synced_head, is_abandoned: AtomicBool::new(false) }
    }

    /// Changes are held back until [`release`](Self::release). The first of them puts back a head that is owed to
    /// the file.
    pub(super) fn held(file: File, owed_head: Option<Vec<u8>>) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let put_back = owed_head.iter().flat_map(|head| [Change::Write(0, head.clone()), Change::Sync]);
        let changes = put_back.collect();
        let held = RwLock::new(Some(Held { length, changes, owed_head }));
        Ok(Self { held, ..Self::direct(file) })
    }

    /// Makes all changes that were held back, and from now on each at once. After an error the changes are
    /// still held back, and making them again does no harm.
    pub(super) fn release(&self) -> io::Result<()> {
        // Asked first under the shared lock: this stands before every write transaction.
        if self.held.read().is_none() {
            return Ok(());
        }
        let mut held = self.held.write();
        self.refuse_abandoned()?;
        for change in held.iter().flat_map(|held| &held.changes) {
            match change {
                Change::Write(offset, bytes) => self.file.write_all_at(bytes, *offset)?,
                Change::SetLength(length) => self.file.set_len(*length)?,
                Change::Sync => self.file.sync_data()?,
            }
        }
        // Now all of it is on disk for certain, or it is made once more.
        self.file.sync_data()?;
        *held = None;
        Ok(())
    }

    /// Takes no more changes, and gives the head that is owed to the file: whoever opens it next puts it back.
    pub(super) fn abandon(&self) -> Option<Vec<u8>> {
        let held = self.held.write();
        self.is_abandoned.store(true, Ordering::SeqCst);
        match &*held {
            Some(held) => held.owed_head.clone(),
            None => self.synced_head.lock().clone(),
        }
    }

    /// Whether the file has to be put back as it was before a sync that failed.
    pub(super) fn is_owed(&self) -> bool {
        self.held.read().as_ref().is_some_and(|held| held.owed_head.is_some())
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
        self.change(Change::Sync, |file| {
            file.sync_data()?;
            *self.synced_head.lock() = None;
            Ok(())
        })
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let make = |file: &File| {
            if offset < HEAD_BYTES as u64 {
                self.keep_head()?;
            }
            file.write_all_at(bytes, offset)
        };
        {
            // The lock is held while the change is made, so that nothing is written once the file is abandoned.
            let held = self.held.read();
            if held.is_none() {
                self.refuse_abandoned()?;
                return make(&self.file);
            }
        }
        self.change(Change::Write(offset, bytes.to_vec()), make)
    }

    /// Keeps the head as it is before the first write to it since the last sync.
    fn keep_head(&self) -> io::Result<()> {
        let mut kept = self.synced_head.lock();
        if kept.is_none() {
            let mut head = Vec::with_capacity(HEAD_BYTES);
            let mut start = [0; HEAD_BYTES];
            while let Some(rest) = start.get_mut(..HEAD_BYTES - head.len()).filter(|rest| !rest.is_empty()) {
                match self.file.read_at(rest, head.len() as u64) {
                    Ok(0) => break,
                    Ok(count) => head.extend_from_slice(rest.get(..count).unwrap_or_default()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            *kept = Some(head);
        }
        Ok(())
    }

    fn refuse_abandoned(&self) -> io::Result<()> {
        if self.is_abandoned.load(Ordering::SeqCst) {
            return Err(io::Error::other("the file was opened anew after a failure"));
        }
        Ok(())
    }

    fn change(&self, change: Change, make: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        {
            let held = self.held.read();
            if held.is_none() {
                self.refuse_abandoned()?;
                return make(&self.file);
            }
        }
        let mut held = self.held.write();
        self.refuse_abandoned()?;
        match &mut *held {
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
            let held = GuardedFile::held(held, None).unwrap();
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
        let file = GuardedFile::held(inner, None).unwrap();
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
        let file = GuardedFile::held(file_with(b"abc"), None).unwrap();
        assert!(file.read(u64::MAX, &mut [0; 2]).is_err());
        assert!(file.write(u64::MAX, b"xy").is_err());
        assert_eq!(content(&file), b"abc");
    }

    #[test]
    fn head_is_owed_from_its_first_write_to_the_next_sync() {
        let inner = file_with(b"old head");
        let file = GuardedFile::direct(inner.try_clone().unwrap());
        file.write(HEAD_BYTES as u64, b"a page").unwrap();
        assert_eq!(file.synced_head.lock().clone(), None, "a page is no head");
        file.sync_data().unwrap();
        file.write(0, b"new").unwrap();
        file.write(4, b"HEAD").unwrap();
        let mut before = b"old head".to_vec();
        before.resize(HEAD_BYTES, 0);
        assert_eq!(file.synced_head.lock().clone(), Some(before));
        file.sync_data().unwrap();
        assert_eq!(file.abandon(), None);
    }

    #[test]
    fn owed_head_is_seen_at_once_and_put_back_by_release() {
        let inner = file_with(&[b'o'; HEAD_BYTES + 10]);
        let failed = GuardedFile::direct(inner.try_clone().unwrap());
        failed.write(0, b"new head").unwrap();
        failed.write(HEAD_BYTES as u64, b"new page").unwrap();
        let owed = failed.abandon();
        assert!(failed.write(0, b"x").is_err() && failed.set_len(0).is_err() && failed.sync_data().is_err());

        let seen = GuardedFile::direct(inner.try_clone().unwrap());
        let first = GuardedFile::held(inner.try_clone().unwrap(), owed).unwrap();
        assert!(first.is_owed());
        assert_eq!(content(&first)[..HEAD_BYTES], [b'o'; HEAD_BYTES]);
        assert_eq!(content(&seen)[..8], *b"new head");
        // It stays owed when that file is abandoned in turn, and is put back by whoever can.
        first.write(2, b"held back").unwrap();
        let second = GuardedFile::held(inner, first.abandon()).unwrap();
        second.release().unwrap();
        assert!(!second.is_owed());
        assert_eq!(content(&seen), [[b'o'; HEAD_BYTES].as_slice(), b"new pageoo"].concat());
    }
}
