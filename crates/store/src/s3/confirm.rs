//! Computes the ETag that an object must have while it is sent, and compares it and the size with
//! what the server reports afterwards. An ETag of unknown kind neither confirms nor refutes an
//! upload.

use super::http::OPAQUE_ETAG;
use crate::sign::hex;
use md5::{Digest, Md5};
use opendal::Metadata;

/// The user metadata that tells which `put` made an object.
pub(super) const TICKET: &str = "lifeboat-put";

/// The size and hashes of what was sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Sent {
    pub(super) bytes: u64,
    parts: Vec<[u8; 16]>,
    opaque_etags: bool,
    pub(super) ticket: Option<String>,
}

impl Sent {
    /// Starts with nothing sent. `opaque_etags` is true if the server's ETags are not MD5. The
    /// ticket is sent with the object as user metadata.
    pub(super) fn new(opaque_etags: bool, ticket: Option<String>) -> Self {
        Sent {
            opaque_etags,
            ticket,
            ..Sent::default()
        }
    }

    /// Adds one part.
    pub(super) fn part(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.parts.push(Md5::digest(bytes).into());
    }

    /// Returns whether one request was enough.
    pub(super) fn is_single(&self) -> bool {
        self.parts.len() <= 1
    }

    /// The MD5 of a single request; for several parts, the MD5 of their MD5s and the number of
    /// parts.
    fn etag(&self) -> String {
        match self.parts.as_slice() {
            [] => hex(&Md5::digest([])),
            [one] => hex(one),
            many => {
                let all: [u8; 16] = Md5::digest(many.concat()).into();
                format!("{}-{}", hex(&all), many.len())
            }
        }
    }

    /// Fails with the expected and the observed values if the server reports anything else.
    pub(super) fn confirm(&self, metadata: &Metadata) -> Result<(), (String, String)> {
        let observed = metadata.content_length();
        if observed != self.bytes {
            return Err((format!("{} bytes", self.bytes), format!("{observed} bytes")));
        }
        match self.md5_etag(metadata) {
            Some(etag) if etag != self.etag() => {
                Err((format!("ETag {}", self.etag()), format!("ETag {etag}")))
            }
            _ => Ok(()),
        }
    }

    /// Returns whether this `put` certainly made the object, judging by its ticket or else by its
    /// hash.
    pub(super) fn is_ours(&self, metadata: &Metadata) -> bool {
        let ours = match &self.ticket {
            Some(ticket) => user_metadata(metadata, TICKET) == Some(ticket.as_str()),
            None => self.hash_agrees(metadata),
        };
        ours && self.confirm(metadata).is_ok()
    }

    /// Returns whether the server's ETag is an MD5, and the right one.
    pub(super) fn hash_agrees(&self, metadata: &Metadata) -> bool {
        self.md5_etag(metadata)
            .is_some_and(|etag| etag == self.etag())
    }

    /// The ETag, if as far as is known it is an MD5 over the parts as they were sent.
    fn md5_etag(&self, metadata: &Metadata) -> Option<String> {
        if self.opaque_etags || user_metadata(metadata, OPAQUE_ETAG).is_some() {
            return None;
        }
        let etag = metadata.etag()?.trim_matches('"').to_ascii_lowercase();
        let (hash, parts) = match etag.split_once('-') {
            Some((hash, parts)) => (hash, Some(parts)),
            None => (etag.as_str(), None),
        };
        let is_md5 = hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        // If the server joins the parts in its own way, its MD5 is that of something else.
        let sent_parts = (self.parts.len() > 1).then(|| self.parts.len().to_string());
        (is_md5 && parts == sent_parts.as_deref()).then_some(etag)
    }
}

fn user_metadata<'a>(metadata: &'a Metadata, name: &str) -> Option<&'a str> {
    metadata.user_metadata()?.get(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opendal::MetadataBuilder;

    fn metadata(bytes: u64, etag: &str) -> Metadata {
        let mut builder = MetadataBuilder::file(bytes);
        builder.etag(etag);
        builder.build()
    }

    #[test]
    fn one_part_is_its_md5_and_several_are_the_md5_of_theirs() {
        let mut sent = Sent::default();
        assert_eq!(sent.etag(), "d41d8cd98f00b204e9800998ecf8427e");
        sent.part(b"abc");
        assert_eq!(sent.etag(), "900150983cd24fb0d6963f7d28e17f72");
        sent.part(b"def");
        // python3: md5(md5(b"abc").digest() + md5(b"def").digest()).hexdigest() + "-2"
        assert_eq!(sent.etag(), "4c8e93283780e078db9e0c6b9b3f8043-2");
    }

    #[test]
    fn a_wrong_size_or_hash_is_seen_and_a_foreign_etag_is_left_alone() {
        let mut sent = Sent::default();
        sent.part(b"abc");
        let right = "\"900150983cd24fb0d6963f7d28e17f72\"";
        let wrong = "\"900150983cd24fb0d6963f7d28e17f73\"";
        assert!(sent.confirm(&metadata(3, right)).is_ok());
        assert!(sent.confirm(&metadata(4, right)).is_err());
        assert!(sent.confirm(&metadata(3, wrong)).is_err());
        assert!(
            sent.confirm(&metadata(3, "\"etag of another kind\""))
                .is_ok()
        );
        assert!(!sent.hash_agrees(&metadata(3, "\"etag of another kind\"")));
        let joined = "\"900150983cd24fb0d6963f7d28e17f73-7\"";
        assert!(sent.confirm(&metadata(3, joined)).is_ok());
        sent.opaque_etags = true;
        assert!(sent.confirm(&metadata(3, wrong)).is_ok());
    }
}
