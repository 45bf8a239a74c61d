//! Writes a tar archive that GNU tar restores in full.
//!
//! POSIX headers. Long names and link targets go into GNU `L` and `K` entries, because they hold
//! bytes as they are, while readers in other locales recode PAX `path` records. PAX records carry
//! what headers cannot: `mtime` below the second, `SCHILY.xattr.*`, `SCHILY.acl.*`, and the GNU
//! sparse format 1.0, whose map precedes the data. The number of names of a file, which tar cannot
//! express, is in a comment of its first name, which every reader skips. The `tar` crate's builder
//! offers neither sparse files nor padding for a file that shrank, so only its headers are used.

use super::LINKS_COMMENT;
use super::acl;
use super::sums::Attributes;
use std::fmt::Write as _;
use std::io::{self, Write};
use tar::{EntryType, Header};

/// The fields of a header.
pub(crate) struct Head<'a> {
    /// The path, without a trailing slash.
    pub(crate) path: &'a [u8],
    pub(crate) kind: EntryType,
    /// Target of a symbolic link, or first name of a hard-linked file.
    pub(crate) link: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) mtime_nanoseconds: u32,
    /// Major and minor number of a device.
    pub(crate) device: (u32, u32),
    pub(crate) attributes: &'a Attributes,
    /// Number of names of the file.
    pub(crate) links: u64,
}

/// The data of a file, as the archive holds it.
pub(crate) enum Body<'a> {
    /// This many bytes follow.
    Plain(u64),
    /// These pieces of a file of that size follow, one after the other.
    Sparse {
        size: u64,
        extents: &'a [(u64, u64)],
    },
}

pub(crate) struct TapeWriter<'a> {
    output: io::BufWriter<&'a mut dyn Write>,
    /// Data bytes of the current entry that are still to come.
    remaining: u64,
    padding: usize,
}

const BLOCK: usize = 512;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Number of zeros needed after this many bytes to fill a block.
fn padding(bytes: u64) -> usize {
    let over = usize::try_from(bytes % BLOCK as u64).unwrap_or(0);
    (BLOCK - over) % BLOCK
}

impl<'a> TapeWriter<'a> {
    pub(crate) fn new(output: &'a mut dyn Write) -> Self {
        TapeWriter {
            output: io::BufWriter::with_capacity(256 << 10, output),
            remaining: 0,
            padding: 0,
        }
    }

    /// Begins an entry. The bytes that `body` promises must follow through [`TapeWriter::data`].
    pub(crate) fn begin(&mut self, head: &Head<'_>, body: &Body<'_>) -> io::Result<()> {
        let map = match body {
            Body::Plain(_) => Vec::new(),
            Body::Sparse { size, extents } => sparse_map(extents, *size),
        };
        let size = match body {
            Body::Plain(size) => *size,
            Body::Sparse { extents, .. } => {
                map.len() as u64 + extents.iter().map(|(_, length)| length).sum::<u64>()
            }
        };
        let records = records(head, body, size);
        if !records.is_empty() {
            let mut name = b"PaxHeaders/".to_vec();
            name.extend_from_slice(head.path.rsplit(|b| *b == b'/').next().unwrap_or_default());
            name.truncate(100);
            self.extension(EntryType::XHeader, &name, &records)?;
        }
        let mut path = head.path.to_vec();
        if head.kind == EntryType::Directory {
            path.push(b'/');
        }
        if head.link.len() > 100 {
            self.long(EntryType::GNULongLink, head.link)?;
        }
        if path.len() > 100 {
            self.long(EntryType::GNULongName, &path)?;
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(head.kind);
        header.set_mode(head.mode & 0o7777);
        header.set_uid(u64::from(head.uid));
        header.set_gid(u64::from(head.gid));
        header.set_mtime(u64::try_from(head.mtime).unwrap_or(0));
        header.set_size(size);
        if matches!(head.kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(head.device.0)?;
            header.set_device_minor(head.device.1)?;
        }
        fill(&mut header.as_old_mut().name, &path);
        fill(&mut header.as_old_mut().linkname, head.link);
        header.set_cksum();
        self.output.write_all(header.as_bytes())?;
        self.output.write_all(&map)?;
        self.remaining = size - map.len() as u64;
        self.padding = padding(self.remaining);
        Ok(())
    }

    /// Writes data of the current entry, and drops what exceeds the promise.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fits = usize::try_from(self.remaining).map_or(bytes.len(), |n| n.min(bytes.len()));
        self.output
            .write_all(bytes.get(..fits).unwrap_or_default())?;
        self.remaining -= fits as u64;
        Ok(())
    }

    /// Ends the entry. Promised bytes that did not come are written as zeros.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        while self.remaining > 0 {
            let zeros = [0; 8192];
            self.data(&zeros)?;
        }
        let padding = std::mem::take(&mut self.padding);
        self.output
            .write_all(ZEROS.get(..padding).unwrap_or_default())
    }

    fn long(&mut self, kind: EntryType, name: &[u8]) -> io::Result<()> {
        let mut bytes = name.to_vec();
        bytes.push(0);
        self.extension(kind, b"././@LongLink", &bytes)
    }

    fn extension(&mut self, kind: EntryType, name: &[u8], bytes: &[u8]) -> io::Result<()> {
        // GNU tar recognises its own kinds only by its own magic.
        let mut header = match kind {
            EntryType::XHeader => Header::new_ustar(),
            _ => Header::new_gnu(),
        };
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        fill(&mut header.as_old_mut().name, name);
        header.set_cksum();
        self.output.write_all(header.as_bytes())?;
        self.output.write_all(bytes)?;
        let padding = padding(bytes.len() as u64);
        self.output
            .write_all(ZEROS.get(..padding).unwrap_or_default())
    }

    /// Writes the end of the archive and flushes everything.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.output.write_all(&ZEROS)?;
        self.output.write_all(&ZEROS)?;
        self.output.flush()
    }
}

/// Copies as much of `bytes` as the field holds.
fn fill(field: &mut [u8; 100], bytes: &[u8]) {
    for (place, byte) in field.iter_mut().zip(bytes) {
        *place = *byte;
    }
}

/// The map of the GNU sparse format 1.0: decimal numbers, one a line, padded to a block. After a
/// hole at the end comes an empty piece, from which GNU tar learns the length of the file.
fn sparse_map(extents: &[(u64, u64)], size: u64) -> Vec<u8> {
    let end = extents.last().map_or(0, |(offset, length)| offset + length);
    let last = (end < size).then_some((size, 0));
    let mut map = format!("{}\n", extents.len() + usize::from(last.is_some()));
    for (offset, length) in extents.iter().chain(&last) {
        let _ = write!(map, "{offset}\n{length}\n");
    }
    let mut map = map.into_bytes();
    map.resize(map.len() + padding(map.len() as u64), 0);
    map
}

/// The PAX records of an entry.
fn records(head: &Head<'_>, body: &Body<'_>, stored: u64) -> Vec<u8> {
    let mut records = Vec::new();
    if head.mtime_nanoseconds != 0 || head.mtime < 0 {
        record(&mut records, b"mtime", decimal_time(head).as_bytes());
    }
    // Beyond the octal field, GNU tar reads binary numbers; other readers need this record.
    if stored > 0o777_7777_7777 {
        record(&mut records, b"size", stored.to_string().as_bytes());
    }
    if let Body::Sparse { size, .. } = body {
        record(&mut records, b"GNU.sparse.major", b"1");
        record(&mut records, b"GNU.sparse.minor", b"0");
        record(
            &mut records,
            b"GNU.sparse.realsize",
            size.to_string().as_bytes(),
        );
    }
    if head.links > 1 {
        let comment = format!("{LINKS_COMMENT}{}", head.links);
        record(&mut records, b"comment", comment.as_bytes());
    }
    for (name, value) in &head.attributes.0 {
        if acl::is_acl(name) {
            let key: &[u8] = if name == acl::ACCESS {
                b"SCHILY.acl.access"
            } else {
                b"SCHILY.acl.default"
            };
            if let Some(text) = acl::to_text(value) {
                record(&mut records, key, text.as_bytes());
            }
            continue;
        }
        let mut key = b"SCHILY.xattr.".to_vec();
        for byte in name {
            match byte {
                // A record's key ends at the first `=`; GNU tar escapes these two characters like
                // this.
                b'=' => key.extend_from_slice(b"%3D"),
                b'%' => key.extend_from_slice(b"%25"),
                _ => key.push(*byte),
            }
        }
        record(&mut records, &key, value);
    }
    records
}

/// `seconds.nanoseconds` of a time that may lie before 1970.
fn decimal_time(head: &Head<'_>) -> String {
    if head.mtime >= 0 || head.mtime_nanoseconds == 0 {
        return match head.mtime_nanoseconds {
            0 => head.mtime.to_string(),
            nanoseconds => format!("{}.{nanoseconds:09}", head.mtime),
        };
    }
    // -1 s + 0.3 s is written -0.7.
    let whole = (head.mtime + 1).unsigned_abs();
    format!("-{whole}.{:09}", 1_000_000_000 - head.mtime_nanoseconds)
}

/// Appends `LENGTH KEY=VALUE\n`, where LENGTH counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_lengths_count_themselves() {
        for length in 0..1200 {
            let mut bytes = Vec::new();
            record(&mut bytes, b"k", &vec![b'v'; length]);
            let text = String::from_utf8(bytes.clone()).unwrap();
            let said: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, bytes.len());
        }
    }
}
