//! The file as pages, read without SQLite, so that a damaged page costs what is on it and no more.
//!
//! The format is SQLite's, which is documented and fixed: <https://sqlite.org/fileformat2.html>.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rusqlite::types::Value;

/// What every store of ours has for pages, unless its header says otherwise.
const PAGE_SIZE: usize = 4_096;
/// No row is longer.
const ROW_BYTES_MAX: usize = 1 << 30;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// What stands before the first page's own tree.
const FILE_HEADER: usize = 100;

/// A file of pages.
pub(super) struct Pages {
    file: File,
    size: usize,
    /// How many there are.
    pub(super) count: u32,
    /// The first page of the list of free ones, and how many are on it; none where the header is damaged.
    free: Option<(u32, u32)>,
}

/// A page of a tree.
pub(super) struct Node {
    bytes: Vec<u8>,
    /// Whether it is of a tree by row id; otherwise of one by key.
    pub(super) is_table: bool,
    /// Some of it is named to be where it cannot be.
    pub(super) is_torn: bool,
    /// The pages below it, each with the highest row id in it; the last one without.
    pub(super) children: Vec<(u32, Option<i64>)>,
    /// Where its rows begin.
    cells: Vec<usize>,
}

/// A row as it lies in a page.
pub(super) struct Cell {
    /// Its row id; 0 in a tree by key.
    pub(super) key: i64,
    /// Its columns; none where they cannot be read.
    pub(super) row: Option<Vec<Value>>,
    /// The pages that it goes on in.
    pub(super) overflow: Vec<u32>,
}

impl Pages {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut header = [0; FILE_HEADER];
        let told = file.read_exact_at(&mut header, 0).is_ok() && header[..16] == *MAGIC;
        let size = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 65_536,
            size => usize::from(size),
        };
        let told = told && size.is_power_of_two() && size >= 512;
        let size = if told { size } else { PAGE_SIZE };
        let count = u32::try_from(file.metadata()?.len() / size as u64).unwrap_or(u32::MAX);
        let free = told.then(|| (word(&header, 32), word(&header, 36)));
        Ok(Self { file, size, count, free })
    }

    fn read(&self, number: u32) -> Option<Vec<u8>> {
        let mut bytes = vec![0; self.size];
        let from = u64::from(number.checked_sub(1)?) * self.size as u64;
        self.file.read_exact_at(&mut bytes, from).ok()?;
        Some(bytes)
    }

    /// The free pages, in which old rows may lie; none where that cannot be told for certain.
    pub(super) fn free(&self) -> Option<Vec<u32>> {
        let (mut trunk, count) = self.free?;
        let mut free = Vec::new();
        while trunk != 0 {
            let bytes = self.read(trunk)?;
            let leaves = word(&bytes, 4) as usize;
            // There are no more than pages: a damaged list may lead round in a ring.
            if free.len() > count.min(self.count) as usize || leaves > self.size / 4 - 2 {
                return None;
            }
            free.push(trunk);
            free.extend((0..leaves).map(|leaf| word(&bytes, 8 + 4 * leaf)));
            trunk = word(&bytes, 0);
        }
        let all = free.len();
        free.sort_unstable();
        free.dedup();
        let is_sound =
            free.len() == all && all == count as usize && free.iter().all(|page| (2..=self.count).contains(page));
        is_sound.then_some(free)
    }

    /// The page as one of a tree; none where it is none.
    pub(super) fn node(&self, number: u32) -> Option<Node> {
        let bytes = self.read(number)?;
        let at = if number == 1 { FILE_HEADER } else { 0 };
        let (is_table, is_leaf) = match bytes[at] {
            2 => (false, false),
            5 => (true, false),
            10 => (false, true),
            13 => (true, true),
            _ => return None,
        };
        let head = at + if is_leaf { 8 } else { 12 };
        let count = usize::from(u16::from_be_bytes([bytes[at + 3], bytes[at + 4]]));
        let pointers = bytes.get(head..head + 2 * count)?;
        let told: Vec<usize> = pointers.chunks_exact(2).map(|two| short(two, 0)).collect();
        let is_inside = |cell: &usize| *cell >= head + 2 * count && *cell + 4 <= self.size;
        let is_torn = !told.iter().all(is_inside);
        // SQLite does not look at the bits that no place in a page has either.
        let cells: Vec<usize> = told.into_iter().map(|cell| cell & (self.size - 1)).collect();
        if cells.iter().filter(|cell| !is_inside(cell)).count() * 2 > cells.len() {
            return None;
        }
        let mut children = Vec::new();
        if !is_leaf {
            for cell in cells.iter().filter(|cell| is_inside(cell)) {
                let key = if is_table { Some(varint(bytes.get(cell + 4..)?)?.0) } else { None };
                children.push((word(&bytes, *cell), key));
            }
            children.push((word(&bytes, at + 8), None));
        }
        // A row of which it is not known where it lies is one that cannot be read.
        let cells = cells.into_iter().map(|cell| if is_inside(&cell) { cell } else { self.size });
        let cells = match (is_table, is_leaf) {
            (true, false) => Vec::new(),
            (false, false) => cells.map(|cell| cell + 4).collect(),
            _ => cells.collect(),
        };
        Some(Node { bytes, is_table, is_torn, children, cells })
    }

    /// The rows of a page, one by one.
    pub(super) fn cells<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = Cell> + 'a {
        (0..node.cells.len()).map(|index| self.cell(node, index))
    }

    /// Whether all of its content is of rows that it counts, or free: what is more may be rows that it no longer counts.
    /// Not of the first page.
    pub(super) fn is_accounted_for(&self, node: &Node) -> bool {
        self.extents(node).is_some_and(|(mut extents, loose)| {
            extents.sort_unstable();
            let begin = match short(&node.bytes, 5) {
                0 => 65_536,
                begin => begin,
            };
            let used: usize = extents.iter().map(|(_, length)| length).sum();
            let is_apart = extents.windows(2).all(|two| two[0].0 + two[0].1 <= two[1].0);
            let is_below = extents.iter().all(|(from, _)| *from >= begin);
            is_apart && is_below && begin <= self.size && used + loose == self.size - begin
        })
    }

    /// Where its rows and its free blocks lie, each with its length, and how many bytes are too few for a free block.
    fn extents(&self, node: &Node) -> Option<(Vec<(usize, usize)>, usize)> {
        let bytes = &node.bytes;
        let head = if node.is_leaf() { 8 } else { 12 };
        let mut extents = Vec::new();
        for pointer in bytes.get(head..head + 2 * short(bytes, 3))?.chunks_exact(2) {
            let from = short(pointer, 0);
            let inner = from + if node.is_leaf() { 0 } else { 4 };
            let (number, at) = varint_at(bytes, inner)?;
            let to = match (node.is_table, node.is_leaf()) {
                (true, false) => at,
                (is_table, _) => {
                    let whole = usize::try_from(number).ok()?;
                    let at = if is_table { varint_at(bytes, at)?.1 } else { at };
                    let local = self.local(whole, is_table);
                    at + local + if local < whole { 4 } else { 0 }
                }
            };
            extents.push((from, (to - from).max(4)));
        }
        let mut free = short(bytes, 1);
        while free != 0 {
            extents.push((free, short(bytes.get(free..free + 4)?, 2)));
            let next = short(bytes, free);
            // They are in order, so that there is an end.
            free = Some(next).filter(|next| *next == 0 || *next > free)?;
        }
        Some((extents, usize::from(bytes[7])))
    }

    /// The row ids of a leaf, without the rows.
    pub(super) fn keys(node: &Node) -> impl Iterator<Item = i64> + '_ {
        node.cells.iter().filter_map(|at| {
            let (_, at) = varint_at(&node.bytes, *at)?;
            Some(varint_at(&node.bytes, at)?.0)
        })
    }

    /// One row of a page.
    pub(super) fn cell(&self, node: &Node, index: usize) -> Cell {
        let mut cell = Cell { key: 0, row: None, overflow: Vec::new() };
        let body = node.cells.get(index).and_then(|at| self.body(node, *at, &mut cell));
        cell.row = body.and_then(|body| columns(&body));
        cell
    }

    fn body(&self, node: &Node, at: usize, cell: &mut Cell) -> Option<Vec<u8>> {
        let (bytes, at) = varint_at(&node.bytes, at)?;
        let (key, at) = if node.is_table { varint_at(&node.bytes, at)? } else { (0, at) };
        cell.key = key;
        let whole =
            usize::try_from(bytes).ok().filter(|bytes| *bytes <= ROW_BYTES_MAX.min(self.count as usize * self.size))?;
        let here = self.local(whole, node.is_table);
        let mut body = node.bytes.get(at..at + here)?.to_vec();
        let mut next = if here < whole { word(node.bytes.get(at + here..at + here + 4)?, 0) } else { 0 };
        while body.len() < whole {
            let page = self.read(next)?;
            cell.overflow.push(next);
            let more = (whole - body.len()).min(self.size - 4);
            body.extend_from_slice(&page[4..4 + more]);
            next = word(&page, 0);
        }
        Some(body)
    }

    /// How much of a row of so many bytes lies in its own page.
    fn local(&self, whole: usize, is_table: bool) -> usize {
        let most = if is_table { self.size - 35 } else { (self.size - 12) * 64 / 255 - 23 };
        if whole <= most {
            return whole;
        }
        let least = (self.size - 12) * 32 / 255 - 23;
        let fitting = least + (whole - least) % (self.size - 4);
        if fitting <= most { fitting } else { least }
    }
}

impl Node {
    pub(super) fn is_leaf(&self) -> bool {
        self.children.is_empty()
    }
}

fn short(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 2).map_or(0, |two| usize::from(u16::from_be_bytes([two[0], two[1]])))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
}

/// A number of one to nine bytes, and how many those are.
fn varint(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut number: u64 = 0;
    for (index, byte) in bytes.iter().take(9).enumerate() {
        if index == 8 {
            return Some((((number << 8) | u64::from(*byte)).cast_signed(), 9));
        }
        number = (number << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number.cast_signed(), index + 1));
        }
    }
    None
}

fn varint_at(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let (number, length) = varint(bytes.get(at..)?)?;
    Some((number, at + length))
}

/// The columns of a record; none where it is none.
fn columns(record: &[u8]) -> Option<Vec<Value>> {
    let (head, mut at) = varint_at(record, 0)?;
    let head = usize::try_from(head).ok().filter(|head| *head <= record.len())?;
    let (mut columns, mut from) = (Vec::new(), head);
    while at < head {
        let (kind, next) = varint_at(record, at)?;
        at = next;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            12.. => usize::try_from((kind - 12) / 2).ok()?,
            _ => return None,
        };
        let bytes = record.get(from..from.checked_add(length)?)?;
        from += length;
        columns.push(column(kind, bytes)?);
    }
    (at == head && from == record.len()).then_some(columns)
}

fn column(kind: i64, bytes: &[u8]) -> Option<Value> {
    Some(match kind {
        0 => Value::Null,
        8 | 9 => Value::Integer(kind - 8),
        7 => Value::Real(f64::from_be_bytes(bytes.try_into().ok()?)),
        1..=6 => {
            let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
            let start = if negative { -1 } else { 0 };
            Value::Integer(bytes.iter().fold(start, |number: i64, byte| (number << 8) | i64::from(*byte)))
        }
        _ if kind % 2 == 0 => Value::Blob(bytes.to_vec()),
        _ => Value::Text(String::from_utf8(bytes.to_vec()).ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_are_read() {
        for (bytes, number) in [
            (&[0x00][..], 0_i64),
            (&[0x7f], 127),
            (&[0x81, 0x00], 128),
            (&[0x82, 0x80, 0x01], 32_769),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], -1),
        ] {
            assert_eq!(varint(bytes), Some((number, bytes.len())));
        }
        assert_eq!(varint(&[0x81]), None);
    }

    #[test]
    fn rows_are_read_as_sqlite_wrote_them() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("x.db");
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY, b, c)").unwrap();
        let values = [i64::MIN, -129, -1, 0, 1, 255, 65_536, 1 << 40, i64::MAX];
        for (key, value) in values.iter().enumerate() {
            let text = "é".repeat(key * 3_000);
            conn.execute("INSERT INTO t VALUES (?1, ?2, ?3)", (key as i64 - 4, value, text)).unwrap();
        }
        drop(conn);
        let pages = Pages::open(&path).unwrap();
        assert_eq!(pages.free(), Some(Vec::new()));
        let mut rows = Vec::new();
        for number in 2..=pages.count {
            let Some(node) = pages.node(number).filter(|node| node.is_table) else { continue };
            if node.is_leaf() {
                assert!(pages.is_accounted_for(&node), "page {number}");
            }
            rows.extend(pages.cells(&node).map(|cell| (cell.key, cell.row)));
        }
        rows.sort_by_key(|(key, _)| *key);
        for (index, ((key, row), value)) in rows.into_iter().zip(values).enumerate() {
            let text = Value::Text("é".repeat(index * 3_000));
            assert_eq!((key, row), (index as i64 - 4, Some(vec![Value::Null, Value::Integer(value), text])));
        }
    }

    #[test]
    fn a_page_that_counts_too_few_rows_does_not_account_for_all_of_them() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("x.db");
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY, b)").unwrap();
        // Rows of many lengths, added and deleted in turns, so that there are free blocks and loose bytes.
        for key in 0..2_000_usize {
            let text = "x".repeat(key * 37 % 101);
            conn.execute("INSERT INTO t VALUES (?1, ?2)", (key as i64 * 7 % 2_003, text)).unwrap();
            conn.execute("DELETE FROM t WHERE a = ?1", [key as i64 * 5 % 1_009]).unwrap();
        }
        drop(conn);
        let pages = Pages::open(&path).unwrap();
        let free = pages.free().unwrap();
        let (mut leaves, mut inner) = (0, 0);
        for number in (2..=pages.count).filter(|number| free.binary_search(number).is_err()) {
            let mut node = pages.node(number).unwrap();
            assert!(pages.is_accounted_for(&node), "page {number}");
            *(if node.is_leaf() { &mut leaves } else { &mut inner }) += 1;
            node.bytes[4] -= 1;
            assert!(!pages.is_accounted_for(&node), "page {number}");
            node.bytes[4] += 1;
            let rows = pages.cells(&node).count();
            let mut file = std::fs::read(&path).unwrap();
            let at = (number as usize - 1) * PAGE_SIZE + if node.is_leaf() { 8 } else { 12 };
            file[at..at + 2].fill(0);
            let torn = folder.path().join("torn.db");
            std::fs::write(&torn, file).unwrap();
            let torn = Pages::open(&torn).unwrap();
            let node = torn.node(number).unwrap();
            assert!(node.is_torn && !torn.is_accounted_for(&node), "page {number}");
            let readable = torn.cells(&node).filter(|cell| cell.row.is_some()).count();
            assert_eq!(readable, rows.saturating_sub(1), "page {number}");
        }
        assert!(leaves > 5 && inner == 1, "{leaves} {inner}");
    }
}
