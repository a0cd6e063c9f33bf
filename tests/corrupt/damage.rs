//! What can happen to a store on a disk, drawn by a seed.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The size of a page.
pub const PAGE: u64 = 4_096;

/// SplitMix64: the same seed draws the same.
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % bound.max(1)
    }
}

/// A kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    FlippedBits,
    FlippedBurst,
    ZeroedPage,
    ZeroedSector,
    GarbagePage,
    Truncated,
    SwappedPages,
    GarbageHeader,
    LostLog,
    FlippedLog,
    TruncatedLog,
    ZeroedLog,
    GarbageLogHeader,
    EmptiedFile,
    LostFile,
}

const ALL: [Damage; 15] = [
    Damage::FlippedBits,
    Damage::FlippedBurst,
    Damage::ZeroedPage,
    Damage::ZeroedSector,
    Damage::GarbagePage,
    Damage::Truncated,
    Damage::SwappedPages,
    Damage::GarbageHeader,
    Damage::LostLog,
    Damage::FlippedLog,
    Damage::TruncatedLog,
    Damage::ZeroedLog,
    Damage::GarbageLogHeader,
    Damage::EmptiedFile,
    Damage::LostFile,
];

impl Damage {
    pub fn draw(dice: &mut Dice) -> Self {
        ALL[usize::try_from(dice.below(ALL.len() as u64)).unwrap()]
    }

    /// Whether it is of the log, and so needs one.
    pub fn hits_log(self) -> bool {
        (8..13).contains(&ALL.iter().position(|kind| *kind == self).expect("one of all"))
    }

    /// Whether nothing is left of the file itself.
    pub fn leaves_log_alone(self) -> bool {
        matches!(self, Self::EmptiedFile | Self::LostFile)
    }

    /// Whether the store is one whose host was killed. Damage to the file itself is done to both kinds.
    pub fn wants_log(self) -> bool {
        self.hits_log() || self.leaves_log_alone() || matches!(self, Self::FlippedBurst | Self::ZeroedSector)
    }

    pub fn inflict(self, dice: &mut Dice, store: &Path) {
        let log = PathBuf::from(format!("{}-wal", store.display()));
        let path = if self.hits_log() { &log } else { store };
        match self {
            Self::LostLog => return std::fs::remove_file(log).unwrap(),
            Self::LostFile => return std::fs::remove_file(store).unwrap(),
            Self::EmptiedFile => return std::fs::write(store, "").unwrap(),
            _ => {}
        }
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let length = file.metadata().unwrap().len();
        let garbage = |dice: &mut Dice, bytes: u64| (0..bytes).map(|_| dice.below(256) as u8).collect::<Vec<_>>();
        let page = dice.below(length / PAGE) * PAGE;
        match self {
            Self::FlippedBits | Self::FlippedLog => {
                for _ in 0..=dice.below(8) {
                    let (at, bit) = (dice.below(length), dice.below(8));
                    let mut byte = [0];
                    file.read_exact_at(&mut byte, at).unwrap();
                    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
                }
            }
            Self::FlippedBurst => {
                let bytes = 1 + dice.below(64);
                let at = dice.below(length - bytes);
                file.write_all_at(&garbage(dice, bytes), at).unwrap();
            }
            Self::ZeroedPage => file.write_all_at(&[0; PAGE as usize], page).unwrap(),
            Self::ZeroedSector | Self::ZeroedLog => {
                let at = dice.below((length / 512).max(1)) * 512;
                file.write_all_at(&vec![0; 512.min((length - at) as usize)], at).unwrap();
            }
            Self::GarbagePage => file.write_all_at(&garbage(dice, PAGE), page).unwrap(),
            Self::Truncated | Self::TruncatedLog => file.set_len(dice.below(length)).unwrap(),
            Self::SwappedPages => {
                let other = dice.below(length / PAGE) * PAGE;
                swap(&file, page, other);
            }
            Self::GarbageHeader => file.write_all_at(&garbage(dice, 100), 0).unwrap(),
            Self::GarbageLogHeader => file.write_all_at(&garbage(dice, 32), 0).unwrap(),
            Self::LostLog | Self::EmptiedFile | Self::LostFile => unreachable!("done above"),
        }
    }
}

/// The page that begins there.
pub fn page(file: &File, at: u64) -> Vec<u8> {
    let mut bytes = vec![0; PAGE as usize];
    file.read_exact_at(&mut bytes, at).unwrap();
    bytes
}

/// Puts each of two pages in the place of the other.
pub fn swap(file: &File, one: u64, other: u64) {
    let (first, second) = (page(file, one), page(file, other));
    file.write_all_at(&first, other).unwrap();
    file.write_all_at(&second, one).unwrap();
}
