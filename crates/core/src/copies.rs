//! Reading and committing a store's copy of a restore point.
//!
//! Reading checks the signature and the hash of the details. Trust is returned as data, so that an
//! untrusted copy can still be listed as such.

use crate::archive::{self, TapReader};
use crate::digest::sha256_hex;
use crate::document::to_json;
use crate::error::{Code, Error, Result};
use crate::name::StoredKey;
use crate::point::{Details, Manifest, POINTS_PREFIX, PointId, manifest_key};
use crate::sign::{PublicKey, Signed, Signer, SignerId, TrustedSigners};
use crate::snapshot;
use crate::stores::OpenStore;
use jiff::Timestamp;
use lifeboat_store::{ObjectInfo, PutOptions, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};

/// Largest manifest or evidence record that is read, in bytes.
pub const DOCUMENT_BYTES_MAX: u64 = 16 << 20;
/// Largest details that are read, in bytes; they hold an inventory of every file.
const DETAILS_BYTES_MAX: u64 = 2 << 30;
/// Size of the buffers for reading and writing JSON.
const BUFFER_BYTES: usize = 64 << 10;

/// One store's copy of a point, as its manifest describes it.
#[derive(Debug, Clone)]
pub struct PointCopy {
    /// The manifest, in a box, since lists of very many copies are moved about.
    pub manifest: Box<Manifest>,
    sha256: String,
    sizes: Sizes,
    signed: Signed,
}

impl PointCopy {
    /// Fails unless a trusted signer signed exactly these bytes.
    pub fn check_trust(&self, trusted: &TrustedSigners) -> Result<()> {
        let point = &self.manifest.point;
        let about = |error: Error| Error {
            message: format!(
                "the manifest of {point} cannot be trusted: {}",
                error.message
            ),
            ..error
        };
        let key = match &self.signed {
            Signed::By(key) => key,
            Signed::Wrong(error) => return Err(about(error.clone())),
            Signed::Not => {
                return Err(about(Error::new(Code::Untrusted, "it has no signature")
                    .hint("use another copy (--store); if there is none, check how it was lost before you trust this one")));
            }
        };
        let at = self.manifest.finished;
        trusted.check(&self.manifest.app, key, at).map_err(about)?;
        Ok(())
    }

    /// The sizes of its manifest and signature.
    pub(crate) fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The signer whose signature fits; `None` if none does. Trust is checked elsewhere.
    pub fn signer(&self) -> Option<SignerId> {
        match &self.signed {
            Signed::By(key) => Some(key.id()),
            Signed::Not | Signed::Wrong(_) => None,
        }
    }
}

/// A manifest and the signature beside it, byte for byte as a store holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredManifest {
    /// The bytes of the manifest, which the signature covers.
    pub bytes: Vec<u8>,
    /// The signature, if there is one.
    pub signature: Option<String>,
}

impl StoredManifest {
    /// Parses the manifest, checks that it is the one of `point`, and checks the signature. A
    /// signature that is missing or wrong is no error here: see [`PointCopy::check_trust`].
    pub fn parse(&self, store: &str, point: &PointId) -> Result<PointCopy> {
        self.parse_knowing(store, point, None)
    }

    /// Parses as [`StoredManifest::parse`] does, but does not check the signature again if `fit`
    /// is about these bytes and this signature.
    pub(crate) fn parse_knowing(
        &self,
        store: &str,
        point: &PointId,
        fit: Option<&Fit>,
    ) -> Result<PointCopy> {
        let manifest = parse(store, point, &self.bytes)?;
        let sha256 = sha256_hex(&self.bytes);
        let signature = self.signature.as_deref();
        let key = fit
            .filter(|fit| signature.is_some_and(|s| fit.digest == Fit::digest(&sha256, s)))
            .and_then(|fit| PublicKey::parse(&fit.key).ok());
        Ok(PointCopy {
            manifest: Box::new(manifest),
            sha256,
            sizes: self.sizes(),
            signed: match key {
                Some(key) => Signed::By(key),
                None => Signed::check(&self.bytes, signature),
            },
        })
    }

    /// The fact that the signature fits, if it does.
    pub(crate) fn fit(&self, copy: &PointCopy) -> Option<Fit> {
        let (Signed::By(key), Some(signature)) = (&copy.signed, &self.signature) else {
            return None;
        };
        Some(Fit {
            digest: Fit::digest(&copy.sha256, signature),
            key: key.to_openssh(),
        })
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            manifest: self.bytes.len() as u64,
            signature: self.signature.as_ref().map(|text| text.len() as u64),
        }
    }
}

/// The fact that a signature fits a manifest. It holds whoever is trusted, for these bytes and this
/// signature only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fit {
    /// SHA-256 of both, hex.
    pub digest: String,
    /// The key that signed: `ssh-ed25519 AAAA…`.
    pub key: String,
}

impl Fit {
    fn digest(sha256: &str, signature: &str) -> String {
        sha256_hex(format!("{sha256} {signature}").as_bytes())
    }
}

/// Reads a whole object; fails if it has more than `bytes_max` bytes.
pub fn read_object(store: &OpenStore, key: &str, bytes_max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let reader = store.store.open(key, 0)?;
    reader
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| {
            Error::from_io(
                Code::Store,
                format!("{key} in store {} cannot be read", store.name),
                error,
            )
        })?;
    if bytes.len() as u64 > bytes_max {
        return Err(Error::new(
            Code::ObjectDamaged,
            format!(
                "{key} in store {} is larger than {bytes_max} bytes",
                store.name
            ),
        ));
    }
    Ok(bytes)
}

/// Reads a small object; `None` when it does not exist.
pub fn read_optional(store: &OpenStore, key: &str) -> Result<Option<Vec<u8>>> {
    match read_object(store, key, DOCUMENT_BYTES_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.code == Code::ObjectMissing => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sizes of a manifest and its signature, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    manifest: u64,
    signature: Option<u64>,
}

impl Sizes {
    /// Returns whether a copy has these sizes; if not, the store now holds a different one.
    pub fn fit(&self, copy: &PointCopy) -> bool {
        *self == copy.sizes
    }
}

/// What a listing shows of a manifest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Listed {
    /// Its size, and that of its signature.
    pub sizes: Sizes,
    /// When it was put, by the store's clock, if the store says so.
    pub stored: Option<Timestamp>,
}

/// Lists all points that a store holds a manifest of, of every application.
pub fn list(store: &OpenStore) -> Result<BTreeMap<PointId, Listed>> {
    let objects = store.store.list(POINTS_PREFIX)?;
    let mut found: BTreeMap<PointId, Listed> = BTreeMap::new();
    for object in &objects {
        if let Some(point) = ids(std::slice::from_ref(object)).pop() {
            let listed = found.entry(point).or_default();
            listed.sizes.manifest = object.bytes;
            listed.stored = object.modified;
        }
    }
    for object in &objects {
        let of = object.key.strip_prefix(POINTS_PREFIX);
        let of = of.and_then(|name| PointId::parse(name.strip_suffix(".json.sig")?));
        if let Some(listed) = of.and_then(|point| found.get_mut(&point)) {
            listed.sizes.signature = Some(object.bytes);
        }
    }
    Ok(found)
}

/// Ids of the points whose manifests are among these objects, in the same order.
pub fn ids(objects: &[ObjectInfo]) -> Vec<PointId> {
    objects
        .iter()
        .filter_map(|o| o.key.strip_prefix(POINTS_PREFIX)?.strip_suffix(".json"))
        .filter_map(PointId::parse)
        .collect()
}

/// Reads the manifest of a point and its signature.
pub fn read(store: &OpenStore, point: &PointId) -> Result<PointCopy> {
    read_stored(store, point)?.parse(&store.name, point)
}

/// Reads a manifest that has this hash, with one request for it and one for its signature. `None` if
/// another one stands there.
pub(crate) fn read_again(
    store: &OpenStore,
    point: &PointId,
    sizes: Sizes,
    sha256: &str,
) -> Result<Option<StoredManifest>> {
    let is_same = |stored: &StoredManifest| sha256_hex(&stored.bytes) == sha256;
    if let Some(stored) = read_parts(store, point, sizes).filter(is_same) {
        return Ok(Some(stored));
    }
    match read_stored(store, point) {
        Ok(stored) => Ok(Some(stored).filter(is_same)),
        Err(error) if error.code == Code::ObjectMissing => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_stored(store: &OpenStore, point: &PointId) -> Result<StoredManifest> {
    let key = manifest_key(point);
    Ok(StoredManifest {
        bytes: read_object(store, &key, DOCUMENT_BYTES_MAX)?,
        signature: read_optional(store, &format!("{key}.sig"))?.map(text),
    })
}

/// Reads the manifest of a point and its signature, which a listing showed with these sizes: with
/// one request for each, where [`read`] may need two. What does not fit together then may have
/// been replaced since the listing, and is read as [`read`] does.
pub(crate) fn read_listed(
    store: &OpenStore,
    point: &PointId,
    sizes: Sizes,
) -> Result<(StoredManifest, PointCopy)> {
    if let Some(stored) = read_parts(store, point, sizes)
        && let Ok(copy) = stored.parse(&store.name, point)
        && let Signed::By(_) = copy.signed
    {
        return Ok((stored, copy));
    }
    let stored = read_stored(store, point)?;
    let copy = stored.parse(&store.name, point)?;
    Ok((stored, copy))
}

fn read_parts(store: &OpenStore, point: &PointId, sizes: Sizes) -> Option<StoredManifest> {
    let part = |key: &str, bytes: u64| {
        let mut part = Vec::new();
        let reader = store.store.open_part(key, 0, bytes).ok()?;
        let fits = bytes <= DOCUMENT_BYTES_MAX;
        fits.then(|| reader.take(bytes).read_to_end(&mut part).ok())??;
        Some(part)
    };
    let key = manifest_key(point);
    Some(StoredManifest {
        signature: Some(text(part(&format!("{key}.sig"), sizes.signature?)?)),
        bytes: part(&key, sizes.manifest)?,
    })
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Parses the bytes of a manifest and checks that it is the one of `point`.
fn parse(store: &str, point: &PointId, bytes: &[u8]) -> Result<Manifest> {
    let damaged = |cause: String| {
        Error::new(
            Code::ObjectDamaged,
            format!("the manifest of {point} in store {store} is damaged"),
        )
        .cause(cause)
        .hint("use another copy (--store), and heal this one with `lifeboat copy`")
    };
    let mut manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
    if manifest.schema != 1 {
        return Err(damaged(format!(
            "its schema is {}, this program reads 1",
            manifest.schema
        )));
    }
    if &manifest.point != point {
        return Err(damaged(format!("it says it is of {}", manifest.point)));
    }
    if let Some(twice) = named_twice(&manifest) {
        return Err(damaged(format!("it names {twice} twice")));
    }
    if let Some(key) = outside_a_snapshot(&manifest) {
        return Err(damaged(format!(
            "it names {key:?}, which is no key of an object"
        )));
    }
    // Very many may be held, and a list grows by more than it needs.
    manifest.stores.shrink_to_fit();
    manifest.sources.shrink_to_fit();
    manifest.artifacts.shrink_to_fit();
    Ok(manifest)
}

/// Finds a key that is the path in a snapshot although the object is in none; no store has such a
/// key.
fn outside_a_snapshot(manifest: &Manifest) -> Option<&StoredKey> {
    let details = &manifest.details;
    let details =
        (details.encrypt.as_deref() != Some(snapshot::ENCRYPTION)).then_some(&details.key);
    let artifacts = manifest.artifacts.iter();
    let artifacts = artifacts.filter(|a| a.snapshot.is_none()).map(|a| &a.key);
    let mut keys = details.into_iter().chain(artifacts);
    keys.find(|key| key.starts_with('/'))
}

/// Finds a source or artifact whose name occurs twice: restoring would overwrite one with the
/// other.
fn named_twice(manifest: &Manifest) -> Option<String> {
    let mut sources = BTreeSet::new();
    let mut artifacts = BTreeSet::new();
    let source = manifest.sources.iter().find(|s| !sources.insert(&s.name));
    let artifact = manifest
        .artifacts
        .iter()
        .find(|a| !artifacts.insert((&a.source, &a.name)));
    match (source, artifact) {
        (Some(source), _) => Some(format!("source {}", source.name)),
        (None, Some(artifact)) => Some(format!("{} of source {}", artifact.name, artifact.source)),
        (None, None) => None,
    }
}

/// Reads the details that a manifest names, checks their hash, and opens them. They are parsed as a
/// stream: an inventory of a million files is never held as text.
pub fn read_details(store: &OpenStore, manifest: &Manifest) -> Result<Details> {
    let stored = &manifest.details;
    if stored.encrypt.as_deref() == Some(snapshot::ENCRYPTION) {
        let snapshots = store.snapshots()?;
        let text = snapshots.open_file(&stored.sha256, &stored.key, DETAILS_BYTES_MAX)?;
        return parse_details(store, manifest, text, "a snapshot cannot be read");
    }
    let object = store.open_named(&stored.key, stored.version.as_deref())?;
    let mut object = Watched {
        inner: TapReader::new(object.take(DETAILS_BYTES_MAX + 1)),
        failed: None,
    };
    let details = open_details(store, manifest, &mut object);
    // Reads to the end for the hash: if the bytes are not those of the manifest, that is the cause.
    let _ = io::copy(&mut object, &mut io::sink());
    if let Some(error) = object.failed {
        let message = format!("{} in store {} cannot be read", stored.key, store.name);
        return Err(Error::from_io(Code::Store, message, error));
    }
    let (_, tally) = object.inner.finish();
    if tally.bytes > DETAILS_BYTES_MAX {
        let limit = format!("they are larger than {DETAILS_BYTES_MAX} bytes");
        return Err(damaged_details(store, manifest, limit));
    }
    if tally.sha256 != stored.sha256 {
        let cause = format!(
            "SHA-256 is {}, the manifest says {}",
            tally.sha256, stored.sha256
        );
        return Err(damaged_details(store, manifest, cause));
    }
    details
}

/// A reader that keeps its first error, which a parser would replace by its own.
struct Watched<R> {
    inner: TapReader<R>,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let failed = || io::Error::other("it cannot be read");
        if self.failed.is_some() {
            return Err(failed());
        }
        self.inner.read(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            self.failed = Some(error);
            failed()
        })
    }
}

/// Decrypts and parses stored details.
fn open_details(
    store: &OpenStore,
    manifest: &Manifest,
    object: impl Read + Send,
) -> Result<Details> {
    let stored = &manifest.details;
    let signer = stored.openpgp_signer.as_deref();
    let identities = store.identities()?.map(|i| i.expecting(signer));
    let encrypt = stored.encrypt.as_deref();
    let text = archive::open(object, "none", encrypt, identities.as_ref())?;
    let undone = format!("{} cannot be decrypted", stored.key);
    parse_details(store, manifest, text, &undone)
}

fn damaged_details(store: &OpenStore, manifest: &Manifest, cause: String) -> Error {
    let key = &manifest.details.key;
    let message = format!("{key} in store {} is damaged", store.name);
    Error::new(Code::ObjectDamaged, message)
        .cause(cause)
        .hint("use another copy (--store), and heal this one with `lifeboat copy`")
}

/// Parses the JSON of details; `unread` is the message when reading fails.
fn parse_details(
    store: &OpenStore,
    manifest: &Manifest,
    text: impl Read,
    unread: &str,
) -> Result<Details> {
    let text = BufReader::with_capacity(BUFFER_BYTES, text);
    let details: Details = serde_json::from_reader(text).map_err(|error| match error.is_io() {
        true => Error::from_io(Code::Decryption, unread, error.into()),
        false => damaged_details(store, manifest, error.to_string()),
    })?;
    if details.point != manifest.point {
        let cause = format!("they are of {}", details.point);
        return Err(damaged_details(store, manifest, cause));
    }
    Ok(details)
}

/// Signs and stores a manifest: the signature first, the manifest last. This is the commit.
pub fn commit(
    signer: &Signer,
    store: &OpenStore,
    manifest: &Manifest,
) -> Result<(StoredManifest, PointCopy)> {
    let bytes = to_json(manifest)?;
    let signature = signer.sign(&bytes)?;
    let key = manifest_key(&manifest.point);
    put_bytes(store, &format!("{key}.sig"), signature.as_bytes(), false)?;
    put_bytes(store, &key, &bytes, false)?;
    let stored = StoredManifest {
        bytes,
        signature: Some(signature),
    };
    let copy = PointCopy {
        manifest: Box::new(manifest.clone()),
        sha256: sha256_hex(&stored.bytes),
        sizes: stored.sizes(),
        signed: Signed::By(signer.public()),
    };
    Ok((stored, copy))
}

/// Stores a small object.
pub fn put_bytes(
    store: &OpenStore,
    key: &str,
    bytes: &[u8],
    if_absent: bool,
) -> std::result::Result<(), StoreError> {
    let options = PutOptions {
        if_absent,
        bytes_hint: Some(bytes.len() as u64),
    };
    let mut body = bytes;
    store.store.put(key, &mut body, &options).map(|_| ())
}

/// SHA-256 of a manifest's bytes, hex, as evidence records name it.
pub fn manifest_sha256(copy: &PointCopy) -> String {
    copy.sha256.clone()
}
