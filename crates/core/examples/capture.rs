//! Captures a database with its fingerprint and throws the stream away, to be timed against its
//! bare dump program.
//!
//! `capture KIND FILE`, where KIND is `postgres`, `mariadb` or `mysql`, and FILE holds the URL.

use lifeboat_core::config::SourceKind;
use lifeboat_core::observe::Reporter;
use lifeboat_core::secret::Scrubber;
use lifeboat_core::source::{self, CaptureContext};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(kind), Some(file)) = (args.next(), args.next()) else {
        return Err("name a kind, and the file that holds the URL".into());
    };
    let url = std::path::absolute(file)?;
    let text = serde_json::json!({ "kind": kind, "url": format!("file:{}", url.display()) });
    let kind: SourceKind = serde_json::from_value(text)?;
    let source = source::open(&kind)?;
    let scratch = std::env::temp_dir();
    let context = CaptureContext {
        render: &|template| Ok(template.to_owned()),
        scratch: &scratch,
        scrubber: &Scrubber::default(),
        reporter: &Reporter::silent(),
        queries: &[],
    };
    source.capture("dump", &mut std::io::sink(), &context)?;
    Ok(())
}
