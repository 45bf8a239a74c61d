//! The commands of a page that bring back the objects of a bucket.

use super::open;
use crate::point::Manifest;
use crate::shell::quote;
use crate::source::bucket::is_pack;
use std::fmt::Write;

/// A bucket: the index names, for each object, the tar that holds it and what it is called there.
pub(super) fn write(out: &mut String, manifest: &Manifest, source: &str) -> std::fmt::Result {
    let own: Vec<_> = manifest
        .artifacts
        .iter()
        .filter(|a| a.source == source)
        .collect();
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
    let (index, packs): (Vec<_>, Vec<_>) = own.into_iter().partition(|a| !is_pack(&a.name));
    for artifact in index {
        writeln!(out, "{} > {directory}/index.ndjson", open(artifact))?;
    }
    for artifact in packs {
        let pack = quote(&artifact.name);
        writeln!(
            out,
            "jq -r --arg pack {pack} 'select(.pack == $pack and (has(\"gone\") | not)) | .member' {directory}/index.ndjson > {directory}/members"
        )?;
        writeln!(
            out,
            "if [ -s {directory}/members ]; then {} | tar -xf - -C {directory}/objects --no-same-owner --verbatim-files-from -T {directory}/members; fi",
            open(artifact)
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
