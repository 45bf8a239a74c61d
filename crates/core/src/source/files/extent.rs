//! Finds where the data of a sparse file lies.

use rustix::fd::AsFd;
use rustix::fs::{SeekFrom, Stat, seek};
use rustix::io::Errno;

/// Limit on extents. If there are more, they are joined across the smallest holes, so that the map
/// of a very sparse file stays small.
const EXTENTS_MAX: usize = 16_384;

/// Returns true if fewer blocks are allocated than content of `size` bytes needs.
pub(super) fn may_have_holes(stat: &Stat, size: u64) -> bool {
    let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
    size > 0 && blocks.saturating_mul(512) < size
}

/// Pieces of data (offset, length) in order, none empty, none touching; everything else below
/// `size` is a hole. `None` for a file without holes, or if the file system does not report them.
pub(super) fn data_extents(
    file: impl AsFd,
    stat: &Stat,
    size: u64,
) -> Result<Option<Vec<(u64, u64)>>, Errno> {
    if !may_have_holes(stat, size) {
        return Ok(None);
    }
    extents(file, size, EXTENTS_MAX)
}

fn extents(
    file: impl AsFd,
    size: u64,
    extents_max: usize,
) -> Result<Option<Vec<(u64, u64)>>, Errno> {
    let mut extents: Vec<(u64, u64)> = Vec::new();
    let mut gap_min = 0;
    let mut at = 0;
    while at < size {
        let start = match seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start.min(size),
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error),
        };
        let end = match seek(&file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            // The file was truncated after the first call.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error),
        };
        if start < end {
            push(&mut extents, (start, end - start), gap_min);
        }
        while extents.len() > extents_max {
            gap_min = (gap_min * 2).max(64 << 10);
            let many = std::mem::take(&mut extents);
            many.into_iter()
                .for_each(|e| push(&mut extents, e, gap_min));
        }
        at = end.max(at + 1);
    }
    let whole = extents.first() == Some(&(0, size));
    Ok((!whole).then_some(extents))
}

/// Appends an extent, or joins it to the last one if the hole between them is not larger than
/// `gap`.
fn push(extents: &mut Vec<(u64, u64)>, (start, length): (u64, u64), gap: u64) {
    if let Some((last_start, last_length)) = extents.last_mut()
        && start.saturating_sub(*last_start + *last_length) <= gap
    {
        *last_length = start + length - *last_start;
        return;
    }
    extents.push((start, length));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn extents_cover_the_data_and_few_suffice() {
        let file = tempfile::tempfile().unwrap();
        let size = 1_u64 << 40;
        file.set_len(size).unwrap();
        let offsets: Vec<u64> = (0..200).map(|n| n * n * (1 << 20)).collect();
        for offset in &offsets {
            file.write_all_at(b"x", *offset).unwrap();
        }
        let stat = rustix::fs::fstat(&file).unwrap();
        for extents in [
            data_extents(&file, &stat, size).unwrap().unwrap(),
            extents(&file, size, 10).unwrap().unwrap(),
        ] {
            for offset in &offsets {
                let within =
                    |(start, length): &(u64, u64)| (*start..start + length).contains(offset);
                assert!(extents.iter().any(within));
            }
            assert!(extents.is_sorted());
        }
        assert!(extents(&file, size, 10).unwrap().unwrap().len() <= 10);
    }

    #[test]
    fn a_file_that_is_one_hole_has_no_extent() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 30).unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        assert_eq!(data_extents(&file, &stat, 1 << 30), Ok(Some(Vec::new())));
    }
}
