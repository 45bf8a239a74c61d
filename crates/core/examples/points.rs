//! Fills a store with very many restore points, to be listed by `bench/points/run`.
//!
//! `points CONFIG STORE POINTS RECORDS [own]` takes the newest point that the store holds and commits it
//! again, an hour earlier each time, until there are POINTS more: with details and a signed
//! manifest, as a backup would. Their artifacts are those of the first point, or with `own`
//! copies of them. It adds the newest
//! record of evidence again RECORDS times, as a drill would.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use lifeboat_core::clock::Clock;
use lifeboat_core::config::Config;
use lifeboat_core::context::Context;
use lifeboat_core::observe::Reporter;
use lifeboat_core::point::{Manifest, PointId};
use lifeboat_core::{copies, deliver, evidence};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (own, args) = match args.split_last() {
        Some((last, rest)) if last == "own" => (true, rest),
        _ => (false, args.as_slice()),
    };
    let [config, store, points, records] = args else {
        return Err("name a configuration, a store, and how many points and records".into());
    };
    let config = Config::load(Some(Path::new(config)))?;
    let context = Context::open(config, Clock::System, Reporter::silent(), &[])?;
    add_points(&context, store, points.parse()?, own)?;
    add_records(&context, records.parse()?)
}

fn add_points(context: &Context, store: &str, count: i64, own: bool) -> Result<(), Box<dyn Error>> {
    let store = context.stores.open(store)?;
    let (newest, _) = copies::list(&store)?
        .pop_last()
        .ok_or("the store holds no point")?;
    let first = copies::read(&store, &newest)?;
    let details = copies::read_details(&store, &first.manifest)?;
    let mut previous = copies::manifest_sha256(&first);
    for number in 1..=count {
        let mut manifest = earlier(&first.manifest, SignedDuration::from_hours(number))?;
        manifest.previous = Some(previous);
        for artifact in manifest.artifacts.iter_mut().filter(|_| own) {
            let bytes = copies::read_object(&store, &artifact.key, copies::DOCUMENT_BYTES_MAX)?;
            let key = format!("own/{}/{}", manifest.point, artifact.key.as_str());
            artifact.key = serde_json::from_value(key.into())?;
            copies::put_bytes(&store, &artifact.key, &bytes, false)?;
        }
        let mut details = details.clone();
        details.point = manifest.point.clone();
        manifest.details = deliver::put_details(&store, &details)?;
        context.state.catalog.note_details(&details)?;
        let (_, copy) = copies::commit(&context.state.signer, &store, &manifest)?;
        previous = copies::manifest_sha256(&copy);
    }
    Ok(())
}

/// The manifest of a point that was taken this much earlier.
fn earlier(manifest: &Manifest, by: SignedDuration) -> Result<Manifest, Box<dyn Error>> {
    let mut manifest = manifest.clone();
    let id = manifest.point.as_str();
    let (_, random) = id.split_once('-').ok_or("an id without a dash")?;
    let at = (manifest.point.time() - by).to_zoned(TimeZone::UTC);
    let id = format!("{}-{random}", at.strftime("%Y%m%dT%H%M%SZ"));
    manifest.point = PointId::parse(&id).ok_or("an id that is none")?;
    let move_back = |time: &mut Timestamp| *time -= by;
    move_back(&mut manifest.started);
    move_back(&mut manifest.finished);
    for source in &mut manifest.sources {
        move_back(&mut source.started);
        move_back(&mut source.finished);
    }
    Ok(manifest)
}

fn add_records(context: &Context, count: u64) -> Result<(), Box<dyn Error>> {
    let (mut listed, _) = evidence::list(context)?;
    let Some(newest) = listed.pop() else {
        return match count {
            0 => Ok(()),
            _ => Err("the store holds no record".into()),
        };
    };
    for _ in 0..count {
        let mut draft = newest.record.clone();
        draft.id = PointId::new(&context.clock);
        evidence::append(context, draft)?;
    }
    Ok(())
}
