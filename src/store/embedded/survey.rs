//! Everything of a store that can be read, compared with everything else: rows, digests, orders, uses and spent digests.

use super::entry::{expected_of, holder_of, id_of, table_name, token_of};
use super::findings::{Findings, LostToken, Remedy};
use super::guarded::GuardedFile;
use super::orders::{self, ORDERS};
use super::place::{Place, guard};
use super::raw::{BadPage, EachEntry, RawFile, RawTable};
use super::{DIGESTS, FORMAT, FORMAT_KEY, FORMAT_WITHOUT_ORDERS, META, Opened, SPENT, TOKENS, USES, uses};
use crate::store::StoreError;
use crate::token::{TokenDigest, TokenId, TokenRecord};
use redb::TableHandle as _;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::sync::Arc;
use twox_hash::XxHash3_128;

/// Entries between two words about how far it is.
const PROGRESS_ENTRIES: u64 = 1 << 16;

/// Told now and then: what is being read, how many entries of it are done, and of how many.
pub type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// Takes the key and the value of an entry, and what was found so far.
type EachSurveyed<'a> = &'a mut dyn FnMut(&mut Survey, &[u8], &[u8]);

/// A store that is looked at as a whole.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) findings: Findings,
    /// Whether a page cannot be read.
    has_bad_page: bool,
    /// Tokens with a row that can be read and must not be believed, in order.
    pub(super) left_out: Vec<u64>,
    tables: BTreeMap<String, RawTable>,
    /// How many entries of each table could be read.
    readable: BTreeMap<String, u64>,
    /// What redb made of the file, kept open because the file is read as redb left it.
    _opened: Option<Opened>,
    file: Arc<GuardedFile>,
}

/// What many entries amount to, whatever their order: two sets of entries that differ have different ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Total {
    entries: u64,
    sum: u128,
}

/// What is read on the way and needed until the end.
struct Pass<'a> {
    raw: RawFile<'a>,
    /// The ids of all rows that can be read, in order.
    ids: Vec<u64>,
    /// Spent digests, in order.
    spent: Vec<[u8; 32]>,
    /// The start of the digests of tokens that have no row that can be read.
    fingerprints: BTreeMap<u64, Option<String>>,
    /// Tables with a page that cannot be read.
    torn: Vec<String>,
}

impl Total {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.entries += 1;
        let pair = [XxHash3_128::oneshot(key), XxHash3_128::oneshot(value)].map(u128::to_le_bytes);
        self.sum = self.sum.wrapping_add(XxHash3_128::oneshot(pair.as_flattened()));
    }
}

impl Survey {
    /// Looks at all of a file, and changes nothing.
    pub(super) fn of(place: &Place, file: File, progress: Progress<'_>) -> Result<Self, StoreError> {
        let again = file.try_clone().map_err(|source| place.io("open", source))?;
        let mut refusal = None;
        progress("pages", 0, 1);
        // What redb mends of a store that was not closed is mended in memory and goes with it.
        let opened = guard(place, || {
            let locks = file.try_clone().map_err(|source| place.io("open", source))?;
            let content = GuardedFile::held(file, None).map_err(|source| place.io("read", source))?;
            place.open_database(locks, content, true)
        });
        let (opened, file) = match opened {
            Ok(opened) => {
                let file = Arc::clone(&opened.file);
                (Some(opened), file)
            }
            Err(StoreError::Corrupt { what, .. }) => {
                refusal = Some(what);
                let file = GuardedFile::held(again, None).map_err(|source| place.io("read", source))?;
                (None, Arc::new(file))
            }
            Err(error) => return Err(error),
        };
        let findings = Findings::default();
        let mut survey = Self {
            findings,
            has_bad_page: false,
            left_out: Vec::new(),
            tables: BTreeMap::new(),
            readable: BTreeMap::new(),
            _opened: opened,
            file,
        };
        survey.read(place, progress)?;
        // Mostly it is a page that is told by itself, or something that no repair can mend.
        let is_told = survey.has_bad_page || !survey.findings.can_be_repaired();
        if let Some(what) = refusal.filter(|_| !is_told) {
            survey.findings.add("file", what, Remedy::Mended);
        }
        Ok(survey)
    }

    /// Hands out all tokens that a repair keeps, in the order of their ids.
    pub(super) fn each_token(
        &self,
        place: &Place,
        each: &mut dyn FnMut(TokenRecord) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.each(place, TOKENS.name(), &mut |key, row| match token_of(key, row) {
            Ok(record) if self.left_out.binary_search(&record.id.get()).is_err() => each(record),
            Ok(_) | Err(_) => Ok(()),
        })
    }

    /// Hands out all entries of a table that could be read. Those are read once more, and a disk that fails may not
    /// give all of them again: then what would be lost is not what was told, and it is an error.
    pub(super) fn each(&self, place: &Place, table: &str, each: EachEntry<'_>) -> Result<(), StoreError> {
        let mut again = 0_u64;
        if let (Ok(raw), Some(table)) = (RawFile::open(&self.file), self.tables.get(table)) {
            raw.walk(table, &mut Vec::new(), &mut |key, value| {
                again += 1;
                each(key, value)
            })?;
        }
        let before = self.readable.get(table).copied().unwrap_or_default();
        if again != before {
            let what = format!(
                "{before} entries of its table `{table}` could be read, and {again} when they were read again; copy \
                 it to a disk that can be read, and repair the copy"
            );
            return Err(place.io("read", io::Error::other(what)));
        }
        Ok(())
    }

    fn read(&mut self, place: &Place, progress: Progress<'_>) -> Result<(), StoreError> {
        let file = Arc::clone(&self.file);
        let raw = match RawFile::open(&file) {
            Ok(raw) => raw,
            Err(what) => {
                self.findings.add("file", what, Remedy::None);
                return Ok(());
            }
        };
        let mut bad = Vec::new();
        self.tables = raw.tables(&mut bad)?.into_iter().map(|table| (table.name.clone(), table)).collect();
        if !bad.is_empty() {
            let at = place_name("the list of tables", bad.first());
            self.findings.add(at, "which tables there are cannot be read", Remedy::None);
            return Ok(());
        }
        let (ids, spent) = (Vec::new(), Vec::new());
        let mut pass = Pass { raw, ids, spent, fingerprints: BTreeMap::new(), torn: Vec::new() };
        self.read_format(place, &mut pass)?;
        if !self.findings.can_be_repaired() {
            return Ok(());
        }
        self.read_spent(&mut pass, progress)?;
        let expected = self.read_tokens(&mut pass, progress)?;
        self.compare(&mut pass, &expected, progress)?;
        self.read_uses(&mut pass, progress)?;
        self.tell_lost(&pass);
        Ok(())
    }

    /// Which format it has; where that cannot be read, which one its tables are of.
    fn read_format(&mut self, place: &Place, pass: &mut Pass<'_>) -> Result<(), StoreError> {
        let mut found = None;
        self.walk(META.name(), pass, &mut |_, key, value| {
            if key == FORMAT_KEY.as_bytes() {
                found = value.first_chunk().map(|format| u64::from_le_bytes(*format));
            }
        })?;
        self.findings.format = found;
        match found {
            Some(FORMAT | FORMAT_WITHOUT_ORDERS) => {}
            Some(found) if found > FORMAT => {
                return Err(StoreError::NewerFormat { path: place.file.clone(), found, known: FORMAT });
            }
            Some(found) => self.findings.add(
                "table `meta`",
                format!("it says that the store has the unknown format {found}"),
                Remedy::None,
            ),
            None if self.tables.contains_key(TOKENS.name()) => {
                self.findings.add("table `meta`", "the format of the store is missing", Remedy::Mended);
            }
            None => return Err(place.corrupt("another program wrote it")),
        }
        let known = |name: &str| {
            let fixed = [META.name(), TOKENS.name(), DIGESTS.name(), SPENT.name(), USES.name()];
            fixed.contains(&name) || ORDERS.iter().any(|by| orders::table(*by).name() == name)
        };
        let unknown: Vec<String> = self.tables.keys().filter(|name| !known(name)).cloned().collect();
        for name in unknown {
            self.findings.add(format!("table `{name}`"), "no version of this store has it", Remedy::LeftOut);
        }
        for name in self.expected_tables() {
            if !self.tables.contains_key(name) {
                let remedy = if name == TOKENS.name() { Remedy::None } else { Remedy::Mended };
                self.findings.add(format!("table `{name}`"), "it is missing", remedy);
            }
        }
        Ok(())
    }

    fn expected_tables(&self) -> Vec<&'static str> {
        let mut names = vec![TOKENS.name(), DIGESTS.name(), SPENT.name()];
        if self.has_orders() {
            names.push(USES.name());
            names.extend(ORDERS.iter().map(|by| table_name(*by)));
        }
        names
    }

    fn has_orders(&self) -> bool {
        self.findings.format != Some(FORMAT_WITHOUT_ORDERS)
    }

    fn read_spent(&mut self, pass: &mut Pass<'_>, progress: Progress<'_>) -> Result<(), StoreError> {
        let mut spent = Vec::new();
        let lost = self.walk_told(SPENT.name(), pass, progress, &mut |_, key, _| {
            spent.extend(<[u8; 32]>::try_from(key));
        })?;
        self.findings.spent = u64::try_from(spent.len()).unwrap_or(u64::MAX);
        self.findings.spent_lost = lost;
        if lost > 0 {
            self.findings.add(
                "table `spent`",
                format!(
                    "{lost} digests of tokens that were deleted for good cannot be read: a repair forgets them, and a \
                     bootstrap or declared token among them comes back if the configuration still names it"
                ),
                Remedy::LeftOut,
            );
        }
        pass.spent = spent;
        Ok(())
    }

    /// Reads all rows; what the other tables must hold follows from them.
    fn read_tokens(
        &mut self,
        pass: &mut Pass<'_>,
        progress: Progress<'_>,
    ) -> Result<BTreeMap<&'static str, Total>, StoreError> {
        let mut totals: BTreeMap<&'static str, Total> = BTreeMap::new();
        let (mut ids, mut left_out) = (Vec::new(), Vec::new());
        let spent = std::mem::take(&mut pass.spent);
        self.walk_told(TOKENS.name(), pass, progress, &mut |survey, key, row| {
            let record = match token_of(key, row) {
                Ok(record) => record,
                Err(what) => {
                    survey.findings.add("table `tokens`", what, Remedy::LeftOut);
                    if let Some(id) = id_of(key) {
                        survey.findings.lose(LostToken {
                            id,
                            fingerprint: None,
                            why: "its row cannot be read",
                        });
                    }
                    return;
                }
            };
            ids.push(record.id.get());
            if record.digests().any(|digest| spent.binary_search(digest.as_bytes()).is_ok()) {
                let what = "it is there, and its digest is that of a token that was deleted for good";
                survey.findings.add(format!("token {}", record.id), what, Remedy::LeftOut);
                survey.findings.lose(LostToken::of(&record, "its digest is spent"));
                left_out.push(record.id.get());
            }
            expected_of(&record, &mut |table, key, value| totals.entry(table).or_default().add(key, value));
        })?;
        self.findings.tokens = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        (self.left_out, pass.ids, pass.spent) = (left_out, ids, spent);
        Ok(totals)
    }

    /// Compares the tables that follow from the rows with what they must hold.
    fn compare(
        &mut self,
        pass: &mut Pass<'_>,
        expected: &BTreeMap<&'static str, Total>,
        progress: Progress<'_>,
    ) -> Result<(), StoreError> {
        let has_orders = self.has_orders();
        let orders = ORDERS.iter().map(|by| table_name(*by)).filter(|_| has_orders);
        for name in [DIGESTS.name()].into_iter().chain(orders) {
            let mut total = Total::default();
            self.walk_told(name, pass, progress, &mut |_, key, value| total.add(key, value))?;
            if total != expected.get(name).copied().unwrap_or_default() {
                self.tell_differences(name, pass)?;
            }
        }
        Ok(())
    }

    /// What of a table does not fit the rows: read once more, since it is known by now that something does not.
    fn tell_differences(&mut self, name: &'static str, pass: &mut Pass<'_>) -> Result<(), StoreError> {
        let mut missing: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
        let mut doubled: Vec<Vec<u8>> = Vec::new();
        self.walk(TOKENS.name(), pass, &mut |_, key, row| {
            let Ok(record) = token_of(key, row) else { return };
            expected_of(&record, &mut |table, key, value| {
                if table == name && missing.insert(key.to_vec(), value.to_vec()).is_some() {
                    doubled.push(key.to_vec());
                }
            });
        })?;
        self.leave_out_doubled(&doubled, pass)?;
        let (mut wrong, mut strange) = (0_u64, 0_u64);
        let mut unknown = BTreeMap::new();
        self.walk(name, pass, &mut |_, key, value| {
            match missing.remove(key) {
                Some(expected) if expected == value => return,
                Some(_) => wrong += 1,
                None => strange += 1,
            }
            if let Some(id) = holder_of(name, key, value)
                && pass.ids.binary_search(&id).is_err()
            {
                let fingerprint = <[u8; 32]>::try_from(key).ok().filter(|_| name == DIGESTS.name());
                unknown.insert(id, fingerprint.map(|digest| TokenDigest::from_bytes(digest).fingerprint()));
            }
        })?;
        for (id, fingerprint) in unknown {
            let known = pass.fingerprints.entry(id).or_default();
            *known = known.take().or(fingerprint);
        }
        let mut what = Vec::new();
        let lacking = missing.len();
        for (count, kind) in [
            (lacking as u64, "entries are missing"),
            (wrong, "entries name another token"),
            (strange, "entries are of no token that can be read"),
        ] {
            if count > 0 {
                what.push(format!("{count} {kind}"));
            }
        }
        if !what.is_empty() {
            self.findings.add(format!("table `{name}`"), what.join(", "), Remedy::Mended);
        }
        Ok(())
    }

    /// Of tokens that share a digest nobody can say whose secret it is: none of them is believed.
    fn leave_out_doubled(&mut self, doubled: &[Vec<u8>], pass: &mut Pass<'_>) -> Result<(), StoreError> {
        if doubled.is_empty() {
            return Ok(());
        }
        self.walk(TOKENS.name(), pass, &mut |survey, key, row| {
            let Ok(record) = token_of(key, row) else { return };
            let is_doubled =
                record.digests().any(|digest| doubled.iter().any(|key| key == digest.as_bytes()));
            if is_doubled && let Err(at) = survey.left_out.binary_search(&record.id.get()) {
                survey.left_out.insert(at, record.id.get());
                let what = "another token has the same digest";
                survey.findings.add(format!("token {}", record.id), what, Remedy::LeftOut);
                survey.findings.lose(LostToken::of(&record, what));
            }
        })?;
        Ok(())
    }

    fn read_uses(&mut self, pass: &mut Pass<'_>, progress: Progress<'_>) -> Result<(), StoreError> {
        let ids = std::mem::take(&mut pass.ids);
        let lost = self.walk_told(USES.name(), pass, progress, &mut |survey, key, value| {
            survey.findings.used += 1;
            let Some(id) = id_of(key) else {
                survey.findings.add("table `uses`", "an entry is of no token", Remedy::LeftOut);
                return;
            };
            if let Err(what) = uses::decode(id.get(), value) {
                survey.findings.add("table `uses`", what, Remedy::LeftOut);
            } else if ids.binary_search(&id.get()).is_err() {
                let what = format!("it has the use of token {id}, which is not there");
                survey.findings.add("table `uses`", what, Remedy::LeftOut);
            }
        })?;
        pass.ids = ids;
        if lost > 0 {
            let what = format!("the uses of {lost} tokens cannot be read");
            self.findings.add("table `uses`", what, Remedy::LeftOut);
        }
        Ok(())
    }

    /// Tokens whose rows cannot be read, by what other tables know of them.
    fn tell_lost(&mut self, pass: &Pass<'_>) {
        let is_torn = pass.torn.iter().any(|name| name == TOKENS.name());
        let known: Vec<u64> = self.findings.lost.iter().map(|lost| lost.id.get()).collect();
        for lost in &mut self.findings.lost {
            let fingerprint = pass.fingerprints.get(&lost.id.get());
            lost.fingerprint = lost.fingerprint.take().or_else(|| fingerprint.cloned().flatten());
        }
        let mut named = 0;
        for (id, fingerprint) in pass.fingerprints.iter().filter(|(id, _)| is_torn && !known.contains(id)) {
            if let Some(id) = TokenId::new(*id) {
                named += 1;
                let why = "the page with its row cannot be read";
                self.findings.lose(LostToken { id, fingerprint: fingerprint.clone(), why });
            }
        }
        let entries = self.tables.get(TOKENS.name()).map_or(0, |table| table.entries);
        let unreadable = u64::try_from(known.len() - self.left_out.len().min(known.len())).unwrap_or(0);
        let gone = entries.saturating_sub(self.findings.tokens).saturating_sub(unreadable);
        self.findings.further_lost += gone.saturating_sub(named);
    }

    /// Reads a table, tells how far it is, and returns how many of its entries cannot be read.
    fn walk_told(
        &mut self,
        name: &str,
        pass: &mut Pass<'_>,
        progress: Progress<'_>,
        each: EachSurveyed<'_>,
    ) -> Result<u64, StoreError> {
        let entries = self.tables.get(name).map_or(0, |table| table.entries);
        let mut done = 0;
        let bad = self.walk(name, pass, &mut |survey, key, value| {
            if done % PROGRESS_ENTRIES == 0 {
                progress(name, done, entries);
            }
            done += 1;
            each(survey, key, value);
        })?;
        self.readable.insert(name.to_owned(), done);
        self.has_bad_page |= !bad.is_empty();
        for page in &bad {
            let remedy = if name == TOKENS.name() || name == SPENT.name() || name == USES.name() {
                Remedy::LeftOut
            } else {
                Remedy::Mended
            };
            self.findings.add(place_name(&format!("table `{name}`"), Some(page)), page.what, remedy);
        }
        if !bad.is_empty() {
            pass.torn.push(name.to_owned());
        } else if done != entries {
            let what = format!("it should have {entries} entries and has {done}");
            self.findings.add(format!("table `{name}`"), what, Remedy::Mended);
        }
        Ok(entries.saturating_sub(done))
    }

    fn walk(
        &mut self,
        name: &str,
        pass: &Pass<'_>,
        each: EachSurveyed<'_>,
    ) -> Result<Vec<BadPage>, StoreError> {
        let mut bad = Vec::new();
        if let Some(table) = self.tables.get(name).cloned() {
            pass.raw.walk(&table, &mut bad, &mut |key, value| {
                each(self, key, value);
                Ok(())
            })?;
        }
        Ok(bad)
    }
}

impl LostToken {
    fn of(record: &TokenRecord, why: &'static str) -> Self {
        Self { id: record.id, fingerprint: Some(record.digest.fingerprint()), why }
    }
}

fn place_name(table: &str, page: Option<&BadPage>) -> String {
    match page.and_then(|page| page.at) {
        Some(at) => format!("{table}, page at byte {at}"),
        None => format!("{table}, a page outside of the file"),
    }
}
