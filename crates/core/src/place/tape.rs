//! Reads a tar archive, member by member, trusting nothing in it.
//!
//! Understands ustar, PAX (`path`, `linkpath`, `size`, `uid`, `gid`, `mtime`, `SCHILY.xattr.*`,
//! `SCHILY.acl.*`, GNU sparse 1.0) and GNU (`L`, `K`, `S`) archives. The size of every extension is
//! bounded before it is held. An archive must end with its two blocks of zeros; everything after
//! them is read, so that a decompressor or decryptor reaches its own final check. The `tar` crate's
//! reader holds PAX records of any size and knows no PAX sparse files, so only its headers are
//! used.

use crate::error::{Code, Error, Result};
use crate::tree::{LINKS_COMMENT, escape};
use std::io::Read;
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

const BLOCK: usize = 512;
/// A longer PAX header or long name is refused.
const EXTENSION_BYTES_MAX: u64 = 8 << 20;
/// A longer name is refused; Linux takes 4096 bytes at a time.
const NAME_BYTES_MAX: usize = 1 << 20;
/// A sparse map of more pieces is refused.
const PIECES_MAX: u64 = 1 << 20;
/// Number of extension headers that may precede one member.
const EXTENSIONS_MAX: u32 = 8;

/// One member of an archive.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its name as in the archive.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryType,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
    /// Size of the file, holes included.
    pub(crate) size: u64,
    /// Where the data belongs (offset, length); `None` if it is the whole file.
    pub(crate) pieces: Option<Vec<(u64, u64)>>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) acl_access: Option<String>,
    pub(crate) acl_default: Option<String>,
    /// Number of names of the file, if the archive is one of ours and says so; otherwise 1.
    pub(crate) links: u64,
}

/// PAX records for the next member.
#[derive(Default)]
struct Records {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<(i64, u32)>,
    sparse_name: Option<Vec<u8>>,
    sparse_size: Option<u64>,
    sparse_version: (Option<u64>, Option<u64>),
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    acl_access: Option<String>,
    acl_default: Option<String>,
    links: Option<u64>,
}

pub(crate) struct TapeReader<R> {
    input: R,
    /// Unread bytes of the current member.
    remaining: u64,
    padding: u64,
}

fn damaged(what: impl Into<String>) -> Error {
    Error::new(Code::ObjectDamaged, what)
        .hint("try another copy of this point, or an older one; nothing of this archive is trusted")
}

impl<R: Read> TapeReader<R> {
    pub(crate) fn new(input: R) -> Self {
        TapeReader {
            input,
            remaining: 0,
            padding: 0,
        }
    }

    /// The underlying input.
    pub(crate) fn input_mut(&mut self) -> &mut R {
        &mut self.input
    }

    /// Declares that the data of the current member does not follow in this input.
    pub(crate) fn data_is_elsewhere(&mut self) {
        self.remaining = 0;
    }

    /// Fills as much of `buffer` as the input has bytes for.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let doing = "the archive cannot be read";
                    return Err(Error::from_io(Code::Io, doing, error));
                }
            }
        }
        Ok(filled)
    }

    fn exactly(&mut self, buffer: &mut [u8]) -> Result<()> {
        match self.fill(buffer)? == buffer.len() {
            true => Ok(()),
            false => Err(damaged("the archive ends in the middle")),
        }
    }

    fn skip(&mut self, mut count: u64) -> Result<()> {
        let mut buffer = [0; 8192];
        while count > 0 {
            let want = usize::try_from(count).map_or(buffer.len(), |n| n.min(buffer.len()));
            self.exactly(buffer.get_mut(..want).unwrap_or_default())?;
            count -= want as u64;
        }
        Ok(())
    }

    /// Reads data of the current member, in order; 0 at its end.
    pub(crate) fn data(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let want = usize::try_from(self.remaining).map_or(buffer.len(), |n| n.min(buffer.len()));
        self.exactly(buffer.get_mut(..want).unwrap_or_default())?;
        self.remaining -= want as u64;
        Ok(want)
    }

    fn expect_data(&mut self, size: u64) {
        self.remaining = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    /// Returns the next member, and skips what is left of the last one. `None` after the last
    /// member.
    pub(crate) fn next(&mut self) -> Result<Option<Member>> {
        let mut records = Records::default();
        let (mut long_name, mut long_link) = (None, None);
        for _ in 0..=EXTENSIONS_MAX {
            let rest = std::mem::take(&mut self.remaining);
            self.skip(rest)?;
            let padding = std::mem::take(&mut self.padding);
            self.skip(padding)?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let kind = header.entry_type();
            let size = field(&header, header.entry_size(), "size")?;
            match kind {
                EntryType::XHeader => parse_records(&self.extension(size)?, &mut records)?,
                EntryType::GNULongName => long_name = Some(text(self.extension(size)?)),
                EntryType::GNULongLink => long_link = Some(text(self.extension(size)?)),
                // Comments, and volume labels.
                EntryType::XGlobalHeader => drop(self.extension(size)?),
                other if other.as_byte() == b'V' => self.expect_data(size),
                _ => {
                    return self
                        .member(&header, records, long_name, long_link)
                        .map(Some);
                }
            }
        }
        Err(damaged(
            "the archive has too many headers before one member",
        ))
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > EXTENSION_BYTES_MAX {
            return Err(damaged(format!(
                "the archive has an extension header of {size} bytes"
            )));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.expect_data(size);
        self.data(&mut bytes)?;
        Ok(bytes)
    }

    /// The next header block; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        self.exactly(header.as_mut_bytes())?;
        if header.as_bytes().iter().any(|byte| *byte != 0) {
            let sum = checksum(header.as_bytes());
            let said = field(&header, header.cksum().map(u64::from), "checksum")?;
            return match sum == said {
                true => Ok(Some(header)),
                false => Err(damaged("the archive has a header with a wrong checksum")),
            };
        }
        let mut second = [0; BLOCK];
        self.exactly(&mut second)?;
        let mut rest = vec![0; 64 << 10];
        let mut zeros = second.iter().all(|byte| *byte == 0);
        loop {
            let count = self.fill(&mut rest)?;
            if count == 0 {
                break;
            }
            zeros &= rest
                .get(..count)
                .is_some_and(|r| r.iter().all(|byte| *byte == 0));
        }
        match zeros {
            true => Ok(None),
            false => Err(damaged("the archive has bytes after its end")),
        }
    }

    fn member(
        &mut self,
        header: &Header,
        records: Records,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Member> {
        let in_header = header.path_bytes().into_owned();
        let path = records
            .sparse_name
            .or(records.path)
            .or(long_name)
            .unwrap_or(in_header);
        let link_in_header = || header.link_name_bytes().unwrap_or_default().into_owned();
        let link = records.link.or(long_link).unwrap_or_else(link_in_header);
        if path.len() > NAME_BYTES_MAX || link.len() > NAME_BYTES_MAX {
            return Err(damaged("the archive has a name of more than 1 MiB"));
        }
        let stored = match records.size {
            // As in GNU tar: a hard link may state the size of its file, and has no data.
            _ if header.entry_type() == EntryType::Link => 0,
            Some(size) => size,
            None => field(header, header.entry_size(), "size")?,
        };
        let id = |record: Option<u32>, number: std::io::Result<u64>, what| match record {
            Some(id) => Ok(id),
            None => u32::try_from(field(header, number, what)?)
                .map_err(|_| damaged(format!("{} has no valid {what}", escape(&path)))),
        };
        let uid = id(records.uid, header.uid(), "owner")?;
        let gid = id(records.gid, header.gid(), "group")?;
        let mtime = match records.mtime {
            Some(time) => time,
            // Binary fields hold times before 1970 in two's complement.
            None => (field(header, header.mtime(), "time")?.cast_signed(), 0),
        };
        let mode = field(header, header.mode().map(u64::from), "mode")?;
        let mut member = Member {
            kind: header.entry_type(),
            link,
            mode: u32::try_from(mode & 0o7777).unwrap_or(0),
            uid,
            gid,
            mtime,
            size: stored,
            pieces: None,
            xattrs: records.xattrs,
            acl_access: records.acl_access,
            acl_default: records.acl_default,
            links: records.links.unwrap_or(1),
            path,
        };
        self.expect_data(stored);
        if member.kind == EntryType::GNUSparse {
            self.remaining = 0;
            member.size = field(header, real_size(header), "size")?;
            member.pieces = Some(self.old_gnu_pieces(header)?);
            member.kind = EntryType::Regular;
            self.expect_data(stored);
        } else if let Some(size) = records.sparse_size {
            member.size = size;
            member.pieces = Some(self.sparse_map(&member.path, records.sparse_version)?);
        }
        if let Some(pieces) = &member.pieces {
            check_pieces(pieces, member.size, self.remaining, &member.path)?;
        }
        Ok(member)
    }

    /// The map of a GNU sparse file: four pieces in the header, 21 in each block after it.
    fn old_gnu_pieces(&mut self, header: &Header) -> Result<Vec<(u64, u64)>> {
        let mut pieces = Vec::new();
        let Some(gnu) = header.as_gnu() else {
            return Err(damaged(
                "the archive has a sparse file in a header of another kind",
            ));
        };
        take_pieces(&gnu.sparse, &mut pieces)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            self.exactly(block.as_mut_bytes())?;
            take_pieces(&block.sparse, &mut pieces)?;
            more = block.is_extended();
            if pieces.len() as u64 > PIECES_MAX {
                return Err(damaged("the archive has a sparse file of too many pieces"));
            }
        }
        Ok(pieces)
    }

    /// The map of the GNU sparse format 1.0, which precedes the data: the number of pieces, then
    /// offset and length of each, one number a line, padded to a block.
    fn sparse_map(
        &mut self,
        path: &[u8],
        version: (Option<u64>, Option<u64>),
    ) -> Result<Vec<(u64, u64)>> {
        if version != (Some(1), Some(0)) {
            let what = format!(
                "{} is stored in an old sparse format that is not read here",
                escape(path)
            );
            return Err(Error::new(Code::ObjectDamaged, what).hint("extract it with GNU tar"));
        }
        let wrong = || {
            damaged(format!(
                "{} has a sparse map that cannot be read",
                escape(path)
            ))
        };
        let mut block = [0; BLOCK];
        let mut unread = 0;
        let mut line = || -> Result<u64> {
            let mut number: Option<u64> = None;
            loop {
                if unread == 0 {
                    if self.data(&mut block)? != BLOCK {
                        return Err(wrong());
                    }
                    unread = BLOCK;
                }
                let byte = block.get(BLOCK - unread).copied().unwrap_or(0);
                unread -= 1;
                number = match byte {
                    b'\n' => return number.ok_or_else(wrong),
                    b'0'..=b'9' => number
                        .unwrap_or(0)
                        .checked_mul(10)
                        .and_then(|shifted| shifted.checked_add(u64::from(byte - b'0'))),
                    _ => return Err(wrong()),
                };
                // The number is too large.
                number.ok_or_else(wrong)?;
            }
        };
        let count = line()?;
        if count > PIECES_MAX {
            return Err(wrong());
        }
        let mut pieces = Vec::new();
        for _ in 0..count {
            let (offset, length) = (line()?, line()?);
            if length > 0 {
                pieces.push((offset, length));
            }
        }
        Ok(pieces)
    }
}

fn real_size(header: &Header) -> std::io::Result<u64> {
    let gnu = header
        .as_gnu()
        .ok_or_else(|| std::io::Error::other("no GNU header"))?;
    gnu.real_size()
}

fn take_pieces(found: &[GnuSparseHeader], pieces: &mut Vec<(u64, u64)>) -> Result<()> {
    for piece in found.iter().filter(|piece| !piece.is_empty()) {
        let wrong =
            |error| damaged("the archive has a sparse map that cannot be read").cause(error);
        let offset = piece.offset().map_err(wrong)?;
        let length = piece.length().map_err(wrong)?;
        // An empty piece at the end only marks the size.
        if length > 0 {
            pieces.push((offset, length));
        }
    }
    Ok(())
}

/// Pieces must ascend, lie within the file, and account for every stored byte.
fn check_pieces(pieces: &[(u64, u64)], size: u64, stored: u64, path: &[u8]) -> Result<()> {
    let mut at = 0_u64;
    let mut total = 0_u64;
    for (offset, length) in pieces {
        let end = offset.checked_add(*length).filter(|end| *end <= size);
        let Some(end) = end.filter(|_| *offset >= at) else {
            let what = format!("{} has a sparse map that does not fit it", escape(path));
            return Err(damaged(what));
        };
        at = end;
        total = total.saturating_add(*length);
    }
    match total == stored {
        true => Ok(()),
        false => Err(damaged(format!(
            "{} has a sparse map that does not fit its data",
            escape(path)
        ))),
    }
}

/// The sum of a header's bytes, its checksum field counted as spaces.
fn checksum(bytes: &[u8; BLOCK]) -> u64 {
    let all: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
    let own = bytes.get(148..156).unwrap_or_default();
    let own: u64 = own.iter().map(|byte| u64::from(*byte)).sum();
    all - own + 8 * u64::from(b' ')
}

fn field(header: &Header, value: std::io::Result<u64>, what: &str) -> Result<u64> {
    value.map_err(|error| {
        let path = escape(&header.path_bytes());
        damaged(format!("{path} has no valid {what} in the archive")).cause(error)
    })
}

/// Bytes up to the first NUL.
fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

/// Reads `LENGTH KEY=VALUE\n` records. Values may hold any byte.
fn parse_records(mut bytes: &[u8], records: &mut Records) -> Result<()> {
    let wrong = || damaged("the archive has a PAX header that cannot be read");
    while !bytes.is_empty() {
        let space = bytes
            .iter()
            .position(|byte| *byte == b' ')
            .ok_or_else(wrong)?;
        let length: usize = bytes.get(..space).and_then(number).ok_or_else(wrong)?;
        let record = bytes.get(space + 1..length).ok_or_else(wrong)?;
        let record = record.strip_suffix(b"\n").ok_or_else(wrong)?;
        let equals = record
            .iter()
            .position(|byte| *byte == b'=')
            .ok_or_else(wrong)?;
        let (key, value) = record.split_at(equals);
        records
            .take(key, value.get(1..).unwrap_or_default())
            .ok_or_else(wrong)?;
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(())
}

fn number<N: std::str::FromStr>(bytes: &[u8]) -> Option<N> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

impl Records {
    /// Takes a record. `None` if its value is not understood; unknown keys are skipped.
    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let whole_text = || String::from_utf8(value.to_vec()).ok();
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            b"mtime" => self.mtime = Some(decimal_time(value)?),
            b"GNU.sparse.name" => self.sparse_name = Some(value.to_vec()),
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.sparse_size = Some(number(value)?),
            b"GNU.sparse.major" => self.sparse_version.0 = Some(number(value)?),
            b"GNU.sparse.minor" => self.sparse_version.1 = Some(number(value)?),
            b"SCHILY.acl.access" => self.acl_access = Some(whole_text()?),
            b"SCHILY.acl.default" => self.acl_default = Some(whole_text()?),
            b"comment" => {
                let links = value.strip_prefix(LINKS_COMMENT.as_bytes());
                self.links = links.and_then(number);
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((decode(name), value.to_vec()));
                }
            }
        }
        Some(())
    }
}

/// GNU tar writes `=` in an attribute's name as `%3D` and `%` as `%25`.
fn decode(name: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((byte, after)) = rest.split_first() {
        let (letter, after) = match (rest.strip_prefix(b"%3D"), rest.strip_prefix(b"%25")) {
            (Some(after), _) => (b'=', after),
            (_, Some(after)) => (b'%', after),
            _ => (*byte, after),
        };
        decoded.push(letter);
        rest = after;
    }
    decoded
}

/// `[-]SECONDS[.FRACTION]` as seconds, rounded down, and nanoseconds.
fn decimal_time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok().filter(|seconds: &i64| *seconds >= 0)?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    Some(match (negative, nanoseconds) {
        (false, _) => (whole, nanoseconds),
        (true, 0) => (-whole, 0),
        (true, _) => (-whole - 1, 1_000_000_000 - nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond_on_both_sides_of_1970() {
        for (text, expected) in [
            ("0", Some((0, 0))),
            ("12.5", Some((12, 500_000_000))),
            ("12.1234567891", Some((12, 123_456_789))),
            ("-1", Some((-1, 0))),
            ("-0.7", Some((-1, 300_000_000))),
            ("--1", None),
            ("1.x", None),
            ("", None),
        ] {
            assert_eq!(decimal_time(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn attribute_names_are_decoded_as_gnu_tar_encodes_them() {
        assert_eq!(decode(b"user.a%3Db%25%20"), b"user.a=b%%20");
    }
}
