//! Fills a local repository with snapshots: `snapshots REPOSITORY COUNT PATH`, with the password in
//! `RESTIC_PASSWORD`.
//!
//! They are an hour apart, of this host and of PATH, which a backup then has a parent for. Each has a
//! hundred small files in ten directories, one of which is new in it.

#![allow(clippy::print_stdout, reason = "an example is a program")]

use lifeboat_repository::pack::BlobKind;
use lifeboat_repository::saver::{Saver, with_saver};
use lifeboat_repository::time::Time;
use lifeboat_repository::tree::{Node, NodeKind, TreeBuilder};
use lifeboat_repository::{Author, Id, Repository, Result, Snapshot};
use lifeboat_store::LocalStore;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// 2020-01-01.
const FIRST_SECONDS: i64 = 1_577_836_800;

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [place, count, path] = args.as_slice() else {
        return Err("snapshots REPOSITORY COUNT PATH".into());
    };
    let count: u32 = count.parse()?;
    let password = std::env::var("RESTIC_PASSWORD")?;
    std::fs::create_dir_all(place)?;
    let store = Arc::new(LocalStore::open(Path::new(place))?);
    let repository = Repository::create(store, "", password.as_bytes(), &Author::default())?;
    let begun = Instant::now();
    let (index, _) = repository.load_index()?;
    let (roots, added) = with_saver(&repository, &index, |saver| {
        let mut newest = [0; 100];
        (0..count)
            .map(|number| {
                if let Some(file) = newest.get_mut(number as usize * 37 % 100) {
                    *file = number;
                }
                root(saver, path, &newest)
            })
            .collect::<Result<Vec<Id>>>()
    })?;
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    for (number, tree) in (0..).zip(roots) {
        let at = jiff::Timestamp::from_second(FIRST_SECONDS + 3600 * number)?;
        repository.save_snapshot(&Snapshot {
            time: Time::utc(at),
            parent: None,
            tree,
            paths: vec![path.clone()],
            hostname: host.clone(),
            username: "root".to_owned(),
            uid: 0,
            gid: 0,
            excludes: None,
            tags: None,
            original: None,
            others: serde_json::Map::default(),
        })?;
    }
    println!(
        "{count} snapshots, {} trees made in {:.1} s",
        added.tree_blobs,
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// A snapshot's tree, in which each file has what it had in the snapshot of this number.
fn root(saver: &Saver<'_>, path: &str, newest: &[u32; 100]) -> Result<Id> {
    let mut directory = TreeBuilder::default();
    for (name, files) in newest.chunks(10).enumerate() {
        let mut inner = TreeBuilder::default();
        for (file, number) in files.iter().enumerate() {
            let text = format!("file {file} of directory {name} as of snapshot {number}\n");
            let mut node = Node::new(format!("file-{file}").as_bytes(), NodeKind::File);
            (node.mode, node.size) = (0o644, text.len() as u64);
            node.content = Some(vec![saver.save(BlobKind::Data, text.as_bytes())?]);
            // The names are in order.
            let _ = inner.add(&node);
        }
        let tree = saver.save(BlobKind::Tree, &inner.finish())?;
        let _ = directory.add(&within(&format!("directory-{name}"), tree));
    }
    let mut tree = saver.save(BlobKind::Tree, &directory.finish())?;
    for name in path.rsplit('/').filter(|name| !name.is_empty()) {
        let mut around = TreeBuilder::default();
        let _ = around.add(&within(name, tree));
        tree = saver.save(BlobKind::Tree, &around.finish())?;
    }
    Ok(tree)
}

fn within(name: &str, tree: Id) -> Node {
    let mut node = Node::new(name.as_bytes(), NodeKind::Directory);
    node.mode = 0o755 | lifeboat_repository::tree::mode::DIRECTORY;
    node.subtree = Some(tree);
    node
}
