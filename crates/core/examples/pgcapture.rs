//! Captures a PostgreSQL database with its fingerprint and throws the stream away, to be timed
//! against a bare `pg_dump`.
//!
//! `pgcapture FILE`, where FILE holds the URL.

use lifeboat_core::config::SourceKind;
use lifeboat_core::observe::Silent;
use lifeboat_core::secret::Scrubber;
use lifeboat_core::source::{self, CaptureContext};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args()
        .nth(1)
        .ok_or("name the file that holds the URL")?;
    let url = std::path::absolute(file)?;
    let text = serde_json::json!({ "kind": "postgres", "url": format!("file:{}", url.display()) });
    let kind: SourceKind = serde_json::from_value(text)?;
    let source = source::open(&kind)?;
    let scratch = std::env::temp_dir();
    let context = CaptureContext {
        scratch: &scratch,
        scrubber: &Scrubber::default(),
        observer: &Silent,
        queries: &[],
    };
    source.capture("dump", &mut std::io::sink(), &context)?;
    Ok(())
}
