//! The file of a store read page by page, without redb, which refuses a damaged file as a whole. A page counts only if
//! its sum agrees, and sums stand in the page above: so nothing that is read was altered.

use super::guarded::GuardedFile;
use crate::store::StoreError;
use twox_hash::XxHash3_128;

/// The head: what the file is made of, and where its two last states start.
const HEAD_BYTES: usize = 320;
const STATE_START: usize = 64;
const STATE_BYTES: usize = 128;
/// The version of redb's file format that is read.
const FILE_VERSION: u8 = 3;
/// The least and the greatest size of a page that redb may have chosen.
const PAGE_BYTES: std::ops::RangeInclusive<u64> = 512..=65_536;
/// Levels of a tree. A sound one of all the tokens there can be has fewer.
const DEPTH_MAX: usize = 32;
const LEAF: u8 = 1;
const BRANCH: u8 = 2;
/// A table as redb has it now, one value a key.
const TABLE: u8 = 3;

/// Takes the key and the value of an entry.
pub(super) type EachEntry<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError>;

/// The trees of a file.
#[derive(Debug)]
pub(super) struct RawFile<'a> {
    file: &'a GuardedFile,
    length: u64,
    page_bytes: u64,
    region_head_pages: u64,
    region_pages: u64,
    root: Option<Root>,
}

/// A table, as far as the list of tables tells.
#[derive(Clone, Debug)]
pub(super) struct RawTable {
    pub(super) name: String,
    /// How many entries it had when it was written.
    pub(super) entries: u64,
    root: Option<Root>,
    widths: Widths,
}

/// A page that cannot be read, and with it all that stands below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadPage {
    /// Where it starts in the file; `None` when it would lie outside.
    pub(super) at: Option<u64>,
    pub(super) what: &'static str,
}

/// Where a tree starts, and the sum of that page.
#[derive(Clone, Copy, Debug)]
struct Root {
    page: u64,
    sum: u128,
}

/// The bytes of each key and of each value; `None` where they differ.
#[derive(Clone, Copy, Debug, Default)]
struct Widths {
    key: Option<usize>,
    value: Option<usize>,
}

/// A page whose sum agrees.
enum Node {
    Leaf(Vec<u8>),
    Branch(Vec<Root>),
}

impl<'a> RawFile<'a> {
    /// Reads the head; the error tells why nothing below it can be found.
    pub(super) fn open(file: &'a GuardedFile) -> Result<Self, &'static str> {
        let length = file.len().map_err(|_| "its length cannot be read")?;
        let mut head = [0; HEAD_BYTES];
        file.read(0, &mut head).map_err(|_| "its head cannot be read")?;
        let number = |at: usize| Some(u64::from(u32::from_le_bytes(*head.get(at..)?.first_chunk()?)));
        let (Some(page_bytes), Some(region_head_pages), Some(region_pages)) =
            (number(12), number(16), number(20))
        else {
            return Err("its head is cut short");
        };
        if !page_bytes.is_power_of_two() || !PAGE_BYTES.contains(&page_bytes) || region_pages == 0 {
            return Err("its head is damaged");
        }
        let current = usize::from(head.get(9).is_some_and(|flags| flags & 1 != 0));
        let state = head.get(STATE_START + current * STATE_BYTES..).and_then(|rest| rest.first_chunk());
        let state: &[u8; STATE_BYTES] = state.ok_or("its head is cut short")?;
        let (content, sum) = state.split_last_chunk().ok_or("its head is cut short")?;
        if XxHash3_128::oneshot(content) != u128::from_le_bytes(*sum) {
            return Err("the place of its last state is damaged, and an older state may not be taken for it");
        }
        if content.first() != Some(&FILE_VERSION) {
            return Err("it has another file format");
        }
        let has_root = content.get(1).is_some_and(|flag| *flag != 0);
        let root = content.get(8..).and_then(Root::read).filter(|_| has_root);
        Ok(Self { file, length, page_bytes, region_head_pages, region_pages, root })
    }

    /// All tables that can be found.
    pub(super) fn tables(&self, bad: &mut Vec<BadPage>) -> Result<Vec<RawTable>, StoreError> {
        let list = RawTable { name: String::new(), entries: 0, root: self.root, widths: Widths::default() };
        let mut tables = Vec::new();
        self.walk(&list, bad, &mut |name, definition| {
            tables.extend(RawTable::read(name, definition));
            Ok(())
        })?;
        Ok(tables)
    }

    /// Hands all entries of a table to `each`, in their order.
    pub(super) fn walk(
        &self,
        table: &RawTable,
        bad: &mut Vec<BadPage>,
        each: EachEntry<'_>,
    ) -> Result<(), StoreError> {
        match table.root {
            Some(root) => self.descend(root, table.widths, 0, bad, each),
            None => Ok(()),
        }
    }

    fn descend(
        &self,
        root: Root,
        widths: Widths,
        depth: usize,
        bad: &mut Vec<BadPage>,
        each: EachEntry<'_>,
    ) -> Result<(), StoreError> {
        let node = if depth < DEPTH_MAX { self.node(root, widths) } else { Err("its tree has no end") };
        match node {
            Ok(Node::Branch(children)) => {
                for child in children {
                    self.descend(child, widths, depth + 1, bad, each)?;
                }
            }
            Ok(Node::Leaf(page)) => {
                for (key, value) in entries(&page, widths) {
                    each(key, value)?;
                }
            }
            Err(what) => bad.push(BadPage { at: self.place_of(root.page).map(|(start, _)| start), what }),
        }
        Ok(())
    }

    /// Reads a page and compares its sum.
    fn node(&self, root: Root, widths: Widths) -> Result<Node, &'static str> {
        let (start, length) = self.place_of(root.page).ok_or("it lies outside of the file")?;
        let mut page = vec![0; length];
        self.file.read(start, &mut page).map_err(|_| "it cannot be read")?;
        let end = match page.first() {
            Some(&LEAF) => leaf_end(&page, widths),
            Some(&BRANCH) => branch_end(&page, widths),
            Some(_) | None => None,
        };
        let summed = end.and_then(|end| page.get(..end)).ok_or("it is not what it should be")?;
        if XxHash3_128::oneshot(summed) != root.sum {
            return Err("its sum does not agree");
        }
        if page.first() == Some(&LEAF) {
            return Ok(Node::Leaf(page));
        }
        let children = count(&page).map_or(0, |keys| keys + 1);
        let child = |index: usize| {
            let sum = page.get(8 + 16 * index..)?.first_chunk()?;
            let number = page.get(8 + 16 * children + 8 * index..)?.first_chunk()?;
            Some(Root { page: u64::from_le_bytes(*number), sum: u128::from_le_bytes(*sum) })
        };
        (0..children).map(child).collect::<Option<_>>().map(Node::Branch).ok_or("it is cut short")
    }

    /// Where a page starts, and its length. Its number holds its region, its place there, and its size.
    fn place_of(&self, number: u64) -> Option<(u64, usize)> {
        let order = u32::try_from(number >> 59).ok().filter(|order| *order <= 20)?;
        let (index, region) = (number & (0xf_ffff >> order), (number >> 20) & 0xf_ffff);
        let length = self.page_bytes << order;
        let region_bytes =
            self.region_head_pages.checked_add(self.region_pages)?.checked_mul(self.page_bytes)?;
        let start = self
            .page_bytes
            .checked_add(region.checked_mul(region_bytes)?)?
            .checked_add(self.region_head_pages * self.page_bytes)?
            .checked_add(index * length)?;
        let end = start.checked_add(length)?;
        Some((start, usize::try_from(length).ok()?)).filter(|_| end <= self.length)
    }
}

impl Root {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (page, rest) = bytes.split_first_chunk()?;
        Some(Self { page: u64::from_le_bytes(*page), sum: u128::from_le_bytes(*rest.first_chunk()?) })
    }
}

impl RawTable {
    fn read(name: &[u8], definition: &[u8]) -> Option<Self> {
        let has = |at: usize| definition.get(at).is_some_and(|flag| *flag != 0);
        let width = |at: usize| {
            let width = u32::from_le_bytes(*definition.get(at..)?.first_chunk()?);
            usize::try_from(width).ok()
        };
        if definition.first() != Some(&TABLE) {
            return None;
        }
        Some(Self {
            name: std::str::from_utf8(name).ok()?.to_owned(),
            entries: u64::from_le_bytes(*definition.get(1..)?.first_chunk()?),
            root: if has(9) { Some(Root::read(definition.get(10..)?)?) } else { None },
            widths: Widths {
                key: if has(42) { Some(width(43)?) } else { None },
                value: if has(47) { Some(width(48)?) } else { None },
            },
        })
    }
}

/// How many keys a page has.
fn count(page: &[u8]) -> Option<usize> {
    page.get(2..)?.first_chunk().map(|count| usize::from(u16::from_le_bytes(*count)))
}

fn offset(page: &[u8], at: usize) -> Option<usize> {
    page.get(at..)?.first_chunk().and_then(|offset| usize::try_from(u32::from_le_bytes(*offset)).ok())
}

/// Where the keys of a leaf start. Before them stand the ends of all keys, and then of all values, as far as their
/// lengths differ.
fn keys_start(count: usize, widths: Widths) -> usize {
    4 + 4 * count * (usize::from(widths.key.is_none()) + usize::from(widths.value.is_none()))
}

fn key_end(page: &[u8], count: usize, index: usize, widths: Widths) -> Option<usize> {
    match widths.key {
        Some(width) => width.checked_mul(index + 1)?.checked_add(keys_start(count, widths)),
        None => offset(page, 4 + 4 * index),
    }
}

fn value_end(page: &[u8], count: usize, index: usize, widths: Widths) -> Option<usize> {
    match widths.value {
        Some(width) => {
            width.checked_mul(index + 1)?.checked_add(key_end(page, count, count.checked_sub(1)?, widths)?)
        }
        None => offset(page, 4 + 4 * (index + if widths.key.is_none() { count } else { 0 })),
    }
}

/// Up to where a leaf is summed.
fn leaf_end(page: &[u8], widths: Widths) -> Option<usize> {
    let count = count(page)?;
    value_end(page, count, count.checked_sub(1)?, widths)
}

/// Up to where a branch is summed.
fn branch_end(page: &[u8], widths: Widths) -> Option<usize> {
    let count = count(page)?;
    let ends = 8 + 24 * (count + 1);
    match widths.key {
        Some(width) => width.checked_mul(count)?.checked_add(ends),
        None => offset(page, ends + 4 * count.checked_sub(1)?),
    }
}

/// Keys and values of a leaf, as far as they lie within it.
fn entries(page: &[u8], widths: Widths) -> impl Iterator<Item = (&[u8], &[u8])> {
    let count = count(page).unwrap_or(0);
    (0..count).map_while(move |index| {
        let before = index.checked_sub(1);
        let key_start = match before {
            None => keys_start(count, widths),
            Some(before) => key_end(page, count, before, widths)?,
        };
        let value_start = match before {
            None => key_end(page, count, count - 1, widths)?,
            Some(before) => value_end(page, count, before, widths)?,
        };
        let key = page.get(key_start..key_end(page, count, index, widths)?)?;
        Some((key, page.get(value_start..value_end(page, count, index, widths)?)?))
    })
}
