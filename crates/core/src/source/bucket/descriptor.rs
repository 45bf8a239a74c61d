//! How a bucket is restored: its objects go into a directory or another bucket.

use super::{INDEX, is_pack, objects, put};
use crate::error::Result;
use crate::fingerprint::{Difference, Proof};
use crate::observe::Reporter;
use crate::place::Within;
use crate::point::DetailsArtifact;
use crate::secret::Scrubber;
use crate::shell::quote;
use crate::source::{Arrived, Descriptor, Incoming, Placed, StockSource, Target};
use std::fmt::Write;
use std::path::Path;

/// The descriptor of buckets.
pub struct OfBucket;

impl Descriptor for OfBucket {
    fn main_artifact(&self) -> &'static str {
        INDEX
    }

    fn place(
        &self,
        incoming: &Incoming<'_>,
        directory: &Path,
        target: &mut Target<'_>,
    ) -> Result<Arrived> {
        let (placed, warnings) = match target {
            Target::Bucket(to) => (Placed::Bucket(to.clone()), put::to_bucket(incoming, to)?),
            _ => {
                let own: Within = incoming.own(directory)?;
                let warnings = objects::to_directory(incoming, &own)?;
                (Placed::Tree(own.path().to_owned()), warnings)
            }
        };
        Ok(Arrived {
            warnings,
            ..Arrived::at(placed)
        })
    }

    fn observe(
        &self,
        placed: &Placed,
        _: &DetailsArtifact,
        _: &Scrubber,
        reporter: &Reporter,
    ) -> Result<(Proof, Vec<Difference>)> {
        match placed {
            Placed::Bucket(place) => put::observe_bucket(place, reporter),
            Placed::Tree(path) | Placed::File(path) => objects::observe_directory(path, reporter),
            Placed::Database(_) | Placed::Machine(_) => Err(placed.is_no_place_of("bucket")),
        }
    }

    fn packages(&self) -> &'static [&'static str] {
        &["tar", "jq"]
    }

    /// Writes commands that read the index: for each object it names the tar that holds it, and the
    /// object's name there.
    fn stock(&self, out: &mut String, stock: &StockSource<'_>) -> std::fmt::Result {
        let source = stock.source;
        let directory = quote(&format!("restored/{source}"));
        writeln!(
            out,
            "Objects of the bucket of source `{source}`. `index.ndjson` has a line for each: its `key`, `headers`, `metadata`, `tags`,"
        )?;
        writeln!(
            out,
            "`sha256`, and the tar (`pack`) and the name in it (`member`) of its bytes; a line with `gone` is of a version that was"
        )?;
        writeln!(
            out,
            "deleted or replaced before. First every object under the name it has in its tar, each checked:\n"
        )?;
        writeln!(out, "```sh\nmkdir -p {directory}/objects")?;
        let (index, packs): (Vec<_>, Vec<_>) = stock
            .artifacts
            .iter()
            .partition(|a| !is_pack(&a.artifact.name));
        for artifact in index {
            writeln!(out, "{} > {directory}/index.ndjson", artifact.open)?;
        }
        for artifact in packs {
            let pack = quote(&artifact.artifact.name);
            writeln!(
                out,
                "jq -r --arg pack {pack} 'select(.pack == $pack and (has(\"gone\") | not)) | .member' {directory}/index.ndjson > {directory}/members"
            )?;
            writeln!(
                out,
                "if [ -s {directory}/members ]; then {} | tar -xf - -C {directory}/objects --no-same-owner --verbatim-files-from -T {directory}/members; fi",
                artifact.open
            )?;
        }
        writeln!(
            out,
            "jq -r 'select(has(\"gone\") | not) | .sha256 + \"  objects/\" + .member' {directory}/index.ndjson > {directory}/SHA256SUMS"
        )?;
        writeln!(
            out,
            "if [ -s {directory}/SHA256SUMS ]; then (cd {directory} && sha256sum --quiet -c SHA256SUMS); fi\n```\n"
        )?;
        writeln!(
            out,
            "Then into a new bucket, with what each carried, if `TO_BUCKET` names one (credentials and endpoint as `aws` takes them):\n"
        )?;
        writeln!(out, "```sh\nif [ -n \"${{TO_BUCKET:-}}\" ]; then")?;
        writeln!(
            out,
            "  jq -c --arg bucket \"$TO_BUCKET\" --arg directory {directory} 'select(has(\"gone\") | not) | {{"
        )?;
        writeln!(
            out,
            "    Bucket: $bucket, Key: .key, Metadata: (.metadata // {{}}), ContentType: .headers[\"content-type\"],"
        )?;
        writeln!(
            out,
            "    CacheControl: .headers[\"cache-control\"], ContentEncoding: .headers[\"content-encoding\"],"
        )?;
        writeln!(
            out,
            "    ContentDisposition: .headers[\"content-disposition\"], ContentLanguage: .headers[\"content-language\"],"
        )?;
        writeln!(
            out,
            "    Tagging: (if .tags then (.tags | to_entries | map((.key | @uri) + \"=\" + (.value | @uri)) | join(\"&\")) else null end),"
        )?;
        writeln!(
            out,
            "    Body: ($directory + \"/objects/\" + .member)}} | with_entries(select(.value != null))' {directory}/index.ndjson |"
        )?;
        writeln!(
            out,
            "  while IFS= read -r line; do\n    body=$(printf '%s' \"$line\" | jq -r .Body)"
        )?;
        writeln!(
            out,
            "    aws s3api put-object --body \"$body\" --cli-input-json \"$(printf '%s' \"$line\" | jq -c 'del(.Body)')\" > /dev/null"
        )?;
        writeln!(out, "  done\nfi\n```\n")
    }
}
