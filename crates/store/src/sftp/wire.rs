//! The packets of SFTP version 3 (`draft-ietf-secsh-filexfer-02`), and OpenSSH's extensions. This
//! module only builds and parses them. A malformed packet is an error, and no length is trusted
//! before the bytes are there.

/// The types of packets.
pub(super) mod kind {
    pub(crate) const INIT: u8 = 1;
    pub(crate) const VERSION: u8 = 2;
    pub(crate) const OPEN: u8 = 3;
    pub(crate) const CLOSE: u8 = 4;
    pub(crate) const READ: u8 = 5;
    pub(crate) const WRITE: u8 = 6;
    pub(crate) const LSTAT: u8 = 7;
    pub(crate) const FSTAT: u8 = 8;
    pub(crate) const OPENDIR: u8 = 11;
    pub(crate) const READDIR: u8 = 12;
    pub(crate) const REMOVE: u8 = 13;
    pub(crate) const MKDIR: u8 = 14;
    pub(crate) const RMDIR: u8 = 15;
    pub(crate) const STAT: u8 = 17;
    pub(crate) const RENAME: u8 = 18;
    pub(crate) const STATUS: u8 = 101;
    pub(crate) const HANDLE: u8 = 102;
    pub(crate) const DATA: u8 = 103;
    pub(crate) const NAME: u8 = 104;
    pub(crate) const ATTRS: u8 = 105;
    pub(crate) const EXTENDED: u8 = 200;
    pub(crate) const EXTENDED_REPLY: u8 = 201;
}

/// Flags for opening a file.
pub(super) mod open {
    pub(crate) const READ: u32 = 1;
    pub(crate) const WRITE: u32 = 2;
    pub(crate) const CREATE: u32 = 8;
    pub(crate) const EXCLUSIVE: u32 = 32;
}

/// The status codes of a request that was not carried out.
pub(super) mod status {
    pub(crate) const OK: u32 = 0;
    pub(crate) const EOF: u32 = 1;
    pub(crate) const NO_SUCH_FILE: u32 = 2;
    pub(crate) const PERMISSION_DENIED: u32 = 3;
    pub(crate) const FAILURE: u32 = 4;
    pub(crate) const BAD_MESSAGE: u32 = 5;
    pub(crate) const OP_UNSUPPORTED: u32 = 8;
}

/// Flags that tell which attributes follow.
mod attribute {
    pub(super) const SIZE: u32 = 1;
    pub(super) const OWNER: u32 = 2;
    pub(super) const PERMISSIONS: u32 = 4;
    pub(super) const TIMES: u32 = 8;
    pub(super) const EXTENDED: u32 = 0x8000_0000;
}

/// A packet that is being built: its body, without the length before it.
#[derive(Debug)]
pub(super) struct Builder(Vec<u8>);

impl Builder {
    pub(super) fn new(kind: u8) -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(kind);
        Builder(bytes)
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn string(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.0.extend_from_slice(&length(bytes.len()).to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends attributes that set only the permissions.
    pub(super) fn mode(self, mode: u32) -> Self {
        self.u32(attribute::PERMISSIONS).u32(mode)
    }

    /// Appends attributes that set nothing.
    pub(super) fn no_attributes(self) -> Self {
        self.u32(0)
    }

    /// Returns the length and the packet, with capacity for `more` bytes that its sender appends.
    pub(super) fn finish(self, more: usize) -> Vec<u8> {
        let mut packet = Vec::with_capacity(4 + self.0.len());
        packet.extend_from_slice(&length(self.0.len() + more).to_be_bytes());
        packet.extend_from_slice(&self.0);
        packet
    }
}

/// Converts a length. Nothing that is sent is longer than a chunk and a key.
pub(super) fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The packet violates the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

type Parsed<T> = Result<T, Malformed>;

/// Reads a packet's body from its beginning.
pub(super) struct Parser<'a>(&'a [u8]);

impl<'a> Parser<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Parser(bytes)
    }

    fn take(&mut self, count: usize) -> Parsed<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Parsed<u8> {
        self.take(1)?.first().copied().ok_or(Malformed)
    }

    pub(super) fn u32(&mut self) -> Parsed<u32> {
        let bytes = self.take(4)?.try_into().map_err(|_| Malformed)?;
        Ok(u32::from_be_bytes(bytes))
    }

    pub(super) fn u64(&mut self) -> Parsed<u64> {
        let bytes = self.take(8)?.try_into().map_err(|_| Malformed)?;
        Ok(u64::from_be_bytes(bytes))
    }

    pub(super) fn string(&mut self) -> Parsed<&'a [u8]> {
        let count = usize::try_from(self.u32()?).map_err(|_| Malformed)?;
        self.take(count)
    }

    pub(super) fn text(&mut self) -> Parsed<String> {
        Ok(String::from_utf8_lossy(self.string()?).into_owned())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn attributes(&mut self) -> Parsed<Attributes> {
        let flags = self.u32()?;
        let mut found = Attributes::default();
        if flags & attribute::SIZE != 0 {
            found.bytes = Some(self.u64()?);
        }
        if flags & attribute::OWNER != 0 {
            self.take(8)?;
        }
        if flags & attribute::PERMISSIONS != 0 {
            found.mode = Some(self.u32()?);
        }
        if flags & attribute::TIMES != 0 {
            self.take(4)?;
            found.modified = Some(self.u32()?);
        }
        if flags & attribute::EXTENDED != 0 {
            for _ in 0..self.u32()? {
                self.string()?;
                self.string()?;
            }
        }
        Ok(found)
    }
}

/// The attributes that a server reports about a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) bytes: Option<u64>,
    /// The type and permissions, as in `st_mode`.
    pub(super) mode: Option<u32>,
    /// The modification time, in seconds since 1970.
    pub(super) modified: Option<u32>,
}

/// The type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Regular,
    Directory,
    Symlink,
    Other,
}

impl Attributes {
    /// The modification time, by the server's clock.
    pub(super) fn modified_at(&self) -> Option<jiff::Timestamp> {
        jiff::Timestamp::from_second(i64::from(self.modified?)).ok()
    }

    /// The type; a server that does not report it means a regular file.
    pub(super) fn kind(&self) -> FileKind {
        match self.mode.map(|mode| mode & 0o170_000) {
            Some(0o040_000) => FileKind::Directory,
            Some(0o120_000) => FileKind::Symlink,
            None | Some(0 | 0o100_000) => FileKind::Regular,
            Some(_) => FileKind::Other,
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.bytes.unwrap_or(0)
    }
}

/// An entry of a directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) attributes: Attributes,
}

/// The answer of a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Status {
        code: u32,
        message: String,
    },
    Handle(Vec<u8>),
    /// The whole packet, and the offset at which the data begin.
    Data(Vec<u8>, usize),
    Names(Vec<Entry>),
    Attributes(Attributes),
    /// The answer of an extension.
    Extended(Vec<u8>),
}

/// Parses a packet: the id of the request that it answers, and the answer.
pub(super) fn reply(packet: Vec<u8>) -> Parsed<(u32, Reply)> {
    let mut parser = Parser::new(&packet);
    let (kind, id) = (parser.u8()?, parser.u32()?);
    let reply = match kind {
        kind::STATUS => Reply::Status {
            code: parser.u32()?,
            // Some servers omit the message.
            message: parser.text().unwrap_or_default(),
        },
        kind::HANDLE => Reply::Handle(parser.string()?.to_vec()),
        kind::DATA => {
            let count = parser.string()?.len();
            // One byte of type, and two numbers.
            let begins = 1 + 4 + 4;
            let mut packet = packet;
            packet.truncate(begins + count);
            return Ok((id, Reply::Data(packet, begins)));
        }
        kind::NAME => {
            let count = parser.u32()?;
            let mut entries = Vec::new();
            for _ in 0..count {
                let name = parser.string()?.to_vec();
                // The line that `ls -l` would print.
                parser.string()?;
                let attributes = parser.attributes()?;
                entries.push(Entry { name, attributes });
            }
            Reply::Names(entries)
        }
        kind::ATTRS => Reply::Attributes(parser.attributes()?),
        kind::EXTENDED_REPLY => Reply::Extended(parser.0.to_vec()),
        _ => return Err(Malformed),
    };
    Ok((id, reply))
}

/// The extensions that a server supports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    pub(super) posix_rename: bool,
    pub(super) sync: bool,
    pub(super) statvfs: bool,
    pub(super) limits: bool,
}

/// Parses the answer to `INIT`: the server's version and extensions.
pub(super) fn version(packet: &[u8]) -> Parsed<(u32, Extensions)> {
    let mut parser = Parser::new(packet);
    if parser.u8()? != kind::VERSION {
        return Err(Malformed);
    }
    let version = parser.u32()?;
    let mut extensions = Extensions::default();
    while !parser.is_empty() {
        let (name, value) = (parser.string()?, parser.string()?);
        match (name, value) {
            (b"posix-rename@openssh.com", b"1") => extensions.posix_rename = true,
            (b"fsync@openssh.com", b"1") => extensions.sync = true,
            (b"statvfs@openssh.com", b"2") => extensions.statvfs = true,
            (b"limits@openssh.com", b"1") => extensions.limits = true,
            _ => {}
        }
    }
    Ok((version, extensions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_follow_the_protocol() {
        let packet = Builder::new(kind::OPEN)
            .u32(7)
            .string("a")
            .u32(open::WRITE | open::CREATE)
            .mode(0o600)
            .finish(0);
        let expected = [
            0, 0, 0, 22, 3, 0, 0, 0, 7, 0, 0, 0, 1, b'a', 0, 0, 0, 10, 0, 0, 0, 4, 0, 0, 1, 0x80,
        ];
        assert_eq!(packet, expected);
        let header = Builder::new(kind::WRITE).u32(1).finish(10);
        assert_eq!(header, [0, 0, 0, 15, 6, 0, 0, 0, 1]);
    }

    #[test]
    fn answers_are_read() {
        let status = Builder::new(kind::STATUS)
            .u32(3)
            .u32(4)
            .string("Failure")
            .string("");
        let expected = Reply::Status {
            code: 4,
            message: "Failure".to_owned(),
        };
        assert_eq!(reply(status.0), Ok((3, expected)));
        let bare = Builder::new(kind::STATUS).u32(3).u32(0);
        assert!(matches!(
            reply(bare.0),
            Ok((3, Reply::Status { code: 0, .. }))
        ));
        let data = Builder::new(kind::DATA).u32(9).string("hello");
        let Ok((9, Reply::Data(packet, at))) = reply(data.0) else {
            panic!("no data");
        };
        assert_eq!(&packet[at..], b"hello");
        let all = Builder::new(kind::ATTRS)
            .u32(1)
            .u32(0x8000_000f)
            .u64(1 << 40)
            .u32(0)
            .u32(0)
            .u32(0o040_755)
            .u32(5)
            .u32(6)
            .u32(1)
            .string("x")
            .string("y");
        let Ok((1, Reply::Attributes(found))) = reply(all.0) else {
            panic!("no attributes");
        };
        assert_eq!(found.kind(), FileKind::Directory);
        assert_eq!((found.size(), found.modified), (1 << 40, Some(6)));
    }

    #[test]
    fn truncated_or_overlong_packets_are_malformed() {
        let whole = Builder::new(kind::NAME)
            .u32(1)
            .u32(1)
            .string("name")
            .string("long name")
            .mode(0o100_644)
            .0;
        assert!(reply(whole.clone()).is_ok());
        for end in 0..whole.len() {
            assert_eq!(reply(whole[..end].to_vec()), Err(Malformed), "{end}");
        }
        let endless = Builder::new(kind::NAME).u32(1).u32(u32::MAX).0;
        assert_eq!(reply(endless), Err(Malformed));
        let long = Builder::new(kind::HANDLE).u32(1).u32(u32::MAX).0;
        assert_eq!(reply(long), Err(Malformed));
        assert_eq!(reply(Builder::new(77).u32(1).0), Err(Malformed));
    }

    #[test]
    fn extensions_count_with_their_version_only() {
        let packet = Builder::new(kind::VERSION)
            .u32(3)
            .string("posix-rename@openssh.com")
            .string("1")
            .string("statvfs@openssh.com")
            .string("1")
            .string("new@example.org")
            .string("");
        let (number, found) = version(&packet.0).unwrap();
        assert_eq!(number, 3);
        assert!(found.posix_rename && !found.statvfs && !found.sync);
    }
}
