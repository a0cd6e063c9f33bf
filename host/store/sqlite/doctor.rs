//! Looking over a store that may be damaged, and taking what is whole into a new one.
//!
//! The store itself is only read. Its pages are read one by one, without SQLite, and each row is held against its sum, so
//! that what is damaged costs what lies on it and no more; nothing is taken for a job that was not written as one.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::config::disk::folder_of;
use crate::store::StoreError;

mod census;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod image;
mod judge;
mod pages;
mod report;
mod roots;
mod tables;
mod unread;
mod walk;
mod write;

use super::new_file::NewFile;
use super::open::User;
use super::wal::{self, Wal};
use super::{backup, layout, open};
use census::Census;
use image::Image;
use judge::Judgement;
use pages::Pages;
pub use report::{DoubtfulJob, IncompleteJob, JobCounts, LostJob, Report};
use unread::Unread;

/// How many faults of its structure are told.
const FAULTS_MAX: usize = 20;

/// A layout of this number or a higher one there will not be.
const LAYOUTS_MAX: u32 = 1_000;

/// What a salvage made.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Salvaged {
    /// The new store.
    pub file: PathBuf,
    /// How large it is.
    pub bytes: u64,
    /// How many jobs are in it.
    pub jobs: u64,
}

/// What there is to look at.
struct Patient {
    store: PathBuf,
    /// No host takes the store while it is looked at, if none has it.
    user: User,
    wal: Wal,
    /// The file is empty or gone.
    is_log_alone: bool,
    image: Image,
}

/// Looks the store over. `scratch` is a folder for a copy, where one is needed.
///
/// # Errors
/// [`StoreError::Open`] where there is no such file, it is empty or cannot be read, or it is no store that this version
/// knows.
pub fn examine(store: &Path, scratch: &Path) -> Result<Report, StoreError> {
    let patient = Patient::receive(store, scratch)?;
    Ok(patient.look()?.0)
}

/// Looks the store over, and takes everything that is whole into a new one, which must not be there yet.
///
/// # Errors
/// As [`examine`], and where a host uses the store; [`StoreError::Unwritten`] where the new one cannot be written.
pub fn salvage(store: &Path, to: &Path) -> Result<(Report, Salvaged), StoreError> {
    let unwritten = |error: io::Error| open::unwritten(to, &error);
    let file = NewFile::begin(to).map_err(unwritten)?;
    let patient = Patient::receive(store, folder_of(to))?;
    if patient.is_in_use() {
        return Err(open::refusal(store, "a windlass is using it: stop that one before anything is salvaged"));
    }
    let (mut report, pages, census, mut judgement) = patient.look()?;
    for (place, why) in write::fill(&file, &pages, &census, &judgement)? {
        judgement.refuse(place, why);
    }
    report.tell_jobs(&pages, &census, &judgement);
    let faults = Image::Store(file.path().to_path_buf()).faults(1);
    if let Some(fault) = faults.first() {
        let wrong = format!("what was written is not what can be read: {fault}");
        return Err(open::unwritten(to, &io::Error::other(wrong)));
    }
    let bytes = file.finish().map_err(unwritten)?;
    let jobs = judgement.taken().count() as u64;
    Ok((report, Salvaged { file: to.to_path_buf(), bytes, jobs }))
}

impl Patient {
    fn is_in_use(&self) -> bool {
        matches!(self.user, User::Host)
    }

    fn receive(store: &Path, scratch: &Path) -> Result<Self, StoreError> {
        let store = open::behind_links(store);
        let unread = |error: io::Error| open::refusal(&store, error);
        open::refuse_no_file(&store)?;
        let is_log_alone = wal::is_alone(&store).map_err(unread)?;
        if !is_log_alone {
            store.metadata().map_err(unread)?;
        }
        let user = open::user(&store).map_err(unread)?;
        let (wal, image) = match user {
            User::Host if is_log_alone => {
                let advice = "a windlass is using it, and its file is empty or gone: copy its log (the file beside it that \
                              ends in -wal) before you stop that one";
                return Err(open::refusal(&store, advice));
            }
            User::Host => {
                let copy = NewFile::temporary(scratch).map_err(unread)?;
                backup::copy_pages(&store, &copy)?;
                (Wal::Absent, Image::Copy(copy))
            }
            User::Nobody { .. } => {
                if !is_log_alone {
                    open::refuse_empty(&store)?;
                }
                let wal = wal::inspect(&store).map_err(unread)?;
                let has_file = !is_log_alone;
                (wal, Image::of_stopped(&store, wal, has_file, scratch).map_err(unread)?)
            }
        };
        Ok(Self { store, user, wal, is_log_alone, image })
    }

    fn look(&self) -> Result<(Report, Pages, Census, Judgement), StoreError> {
        let unread = |error: io::Error| open::refusal(&self.store, error);
        let told = layout_number(self.image.path()).map_err(unread)?;
        // Far beyond them it is no layout to come, but a damaged number.
        if let Some(reason) = told.filter(|told| *told < LAYOUTS_MAX).and_then(layout::unknown) {
            return Err(open::refusal(&self.store, reason));
        }
        let pages = Pages::open(self.image.path()).map_err(unread)?;
        let roots = roots::find(&pages).map_err(|error| open::refusal(&self.store, error))?;
        if told == Some(0) && roots.foreign {
            return Err(open::refusal(&self.store, layout::foreign()));
        }
        let number = roots.layout.or(told).filter(|number| (1..=layout::NEWEST).contains(number));
        let census = Census::take(&pages, number, &roots.sure, &roots.usual);
        let judgement = Judgement::of(&census, &Unread::of(&pages, &census), census.has_one_clock(&pages));
        let mut report = Report::new(&self.store, self.is_in_use(), number);
        report.structure = self.image.faults(FAULTS_MAX);
        if let (Some(told), Some(number)) = (told, number)
            && told != number
        {
            report.structure.push(format!("it says that its layout is number {told}, and its tables are of {number}"));
        }
        if !census.missing_pages.is_empty() {
            let (missing, count) = (census.missing_pages.len(), pages.count);
            let beyond =
                format!("its tables name {missing} pages that the file does not have: it ends after page {count}");
            report.structure.push(beyond);
        }
        self.tell_log(&mut report, &pages, &census);
        report.tell_rows(&census);
        report.tell_jobs(&pages, &census, &judgement);
        Ok((report, pages, census, judgement))
    }

    /// What the log tells, or that it is not there to tell anything.
    fn tell_log(&self, report: &mut Report, pages: &Pages, census: &Census) {
        let is_gone = !self.is_in_use() && matches!(self.wal, Wal::Absent) && census.was_open(pages);
        report.log = match self.wal {
            _ if self.is_log_alone => Some(open::FILE_GONE.to_owned()),
            _ if is_gone => Some(open::LOG_GONE.to_owned()),
            Wal::Torn => Some(
                "its write-ahead log ends in a torn transaction: a power cut leaves one that was not acknowledged, any \
                 other damage one that was"
                    .to_owned(),
            ),
            Wal::Unsynced { frame } => Some(format!(
                "its write-ahead log breaks off at frame {frame}: with store.sync = \"normal\" a power cut leaves it so, and \
                 what was acknowledged behind it is lost"
            )),
            log => log.damage(),
        };
    }
}

/// The layout that the file says it has; none where its beginning is damaged.
fn layout_number(path: &Path) -> io::Result<Option<u32>> {
    let mut header = [0; 100];
    let whole = match std::fs::File::open(path)?.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
        read => read.map(|()| true)?,
    };
    let is_sound = whole && header.starts_with(b"SQLite format 3\0");
    Ok(is_sound.then(|| u32::from_be_bytes([header[60], header[61], header[62], header[63]])))
}
