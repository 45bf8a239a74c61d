//! Converts POSIX access control lists between the kernel's bytes and the text in tar archives.
//!
//! GNU tar restores lists only from `SCHILY.acl.*` text, so archives hold that; the kernel uses the
//! bytes of `system.posix_acl_*`. Both sides of a proof hash a canonical form, because the kernel
//! keeps entries in whatever order they came.

/// Attribute that holds an entry's own list.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// Attribute that holds the list a directory gives to new entries in it.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

/// Version and layout: linux/posix_acl_xattr.h.
const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const NO_ID: u32 = u32::MAX;

/// One entry: tag, user or group id, permission bits. Ordered as libacl orders them.
type Entry = (u16, u32, u16);

/// Returns true if an extended attribute is an access control list.
pub fn is_acl(name: &[u8]) -> bool {
    name == ACCESS || name == DEFAULT
}

fn parse(bytes: &[u8]) -> Option<Vec<Entry>> {
    let (version, rest) = bytes.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != VERSION || rest.len() % 8 != 0 {
        return None;
    }
    let mut entries: Vec<Entry> = rest
        .chunks_exact(8)
        .filter_map(|chunk| {
            let (tag, chunk) = chunk.split_first_chunk::<2>()?;
            let (perm, chunk) = chunk.split_first_chunk::<2>()?;
            let id = chunk.first_chunk::<4>()?;
            Some((
                u16::from_le_bytes(*tag),
                u32::from_le_bytes(*id),
                u16::from_le_bytes(*perm),
            ))
        })
        .collect();
    entries.sort_unstable();
    Some(entries)
}

fn render(mut entries: Vec<Entry>) -> Vec<u8> {
    entries.sort_unstable();
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, id, perm) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&perm.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

/// The form of a list that is hashed: entries sorted, without the rights of the owner, which the
/// mode holds and which an observer may have to change while it reads. Bytes of an unknown version
/// are returned unchanged.
pub fn canonical(bytes: &[u8]) -> Vec<u8> {
    let Some(mut entries) = parse(bytes) else {
        return bytes.to_vec();
    };
    for (tag, _, perm) in &mut entries {
        if *tag == USER_OBJ {
            *perm = 0;
        }
    }
    render(entries)
}

/// Converts a list to text: `user::rw-,user:1001:r--,…` with numeric ids. `None` for bytes of an
/// unknown version.
pub fn to_text(bytes: &[u8]) -> Option<String> {
    let mut lines = Vec::new();
    for (tag, id, perm) in parse(bytes)? {
        let (word, named) = match tag {
            USER_OBJ => ("user", false),
            USER => ("user", true),
            GROUP_OBJ => ("group", false),
            GROUP => ("group", true),
            MASK => ("mask", false),
            OTHER => ("other", false),
            _ => return None,
        };
        let id = if named { id.to_string() } else { String::new() };
        let bit = |mask: u16, letter| if perm & mask == 0 { '-' } else { letter };
        let (r, w, x) = (bit(4, 'r'), bit(2, 'w'), bit(1, 'x'));
        lines.push(format!("{word}:{id}:{r}{w}{x}"));
    }
    Some(lines.join(","))
}

/// Converts such a text to the kernel's bytes. Names are looked up in `/etc/passwd` and
/// `/etc/group`, unless the entry also carries its number, as archives of `star` do. The error is
/// the entry that is not understood.
pub fn from_text(text: &str) -> Result<Vec<u8>, String> {
    let mut entries = Vec::new();
    for line in text.split([',', '\n']) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            entries.push(entry(line).ok_or_else(|| line.to_owned())?);
        }
    }
    Ok(render(entries))
}

fn entry(line: &str) -> Option<Entry> {
    let mut fields = line.split(':');
    let word = fields.next()?.trim();
    let who = fields.next()?.trim();
    // `mask:rwx` and `other:rwx` may leave out the empty field.
    let (who, perm) = match fields.next() {
        Some(perm) => (who, perm.trim()),
        None => ("", who),
    };
    let number = fields.next().map(str::trim);
    let id = |file| match number.or(Some(who)).and_then(|n| n.parse::<u32>().ok()) {
        Some(id) => Some(id),
        None => look_up(file, who),
    };
    let (tag, id) = match (word, who.is_empty()) {
        ("user" | "u", true) => (USER_OBJ, NO_ID),
        ("user" | "u", false) => (USER, id("/etc/passwd")?),
        ("group" | "g", true) => (GROUP_OBJ, NO_ID),
        ("group" | "g", false) => (GROUP, id("/etc/group")?),
        ("mask" | "m", true) => (MASK, NO_ID),
        ("other" | "o", true) => (OTHER, NO_ID),
        _ => return None,
    };
    let mut bits = 0;
    for letter in perm.chars() {
        bits |= match letter {
            'r' => 4,
            'w' => 2,
            'x' => 1,
            '-' => 0,
            _ => return None,
        };
    }
    Some((tag, id, bits))
}

/// The third field of the line that begins with `name` in a file like `/etc/passwd`.
fn look_up(file: &str, name: &str) -> Option<u32> {
    let text = std::fs::read(file).ok()?;
    String::from_utf8_lossy(&text).lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_round_trip_in_any_order() {
        let text =
            "user::rw-,user:0:r-x,user:4294967294:---,group::r--,group:7:rwx,mask::rwx,other::r--";
        let bytes = from_text(text).unwrap();
        assert_eq!(to_text(&bytes).unwrap(), text);
        let shuffled =
            from_text("o::r--\nm::rwx\ng:7:rwx\ng::r--\nu:4294967294:---\nu:0:r-x\nu::rw-\n");
        assert_eq!(shuffled.unwrap(), bytes);
        assert_eq!(
            from_text("user:root:rw-").unwrap(),
            from_text("user:0:rw-").unwrap()
        );
        assert_eq!(
            from_text("user:nobody:rw-:12").unwrap(),
            from_text("user:12:rw-").unwrap()
        );
    }

    #[test]
    fn nonsense_is_named() {
        assert_eq!(from_text("user::rw-,usr:x:rw-").unwrap_err(), "usr:x:rw-");
        assert_eq!(
            from_text("user:no such user:rw-").unwrap_err(),
            "user:no such user:rw-"
        );
        assert!(to_text(b"\x03\0\0\0").is_none());
        assert_eq!(canonical(b"short"), b"short");
    }
}
