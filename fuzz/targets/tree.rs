//! A tree: read whole, entry by entry, as a stream, and written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_repository::tree::{self, TreeBuilder};

fuzz_target!(|data: &[u8]| {
    let mut seen = 0;
    let read = tree::read(data, |_| seen += 1);
    let mut streamed = Vec::new();
    let stream = tree::read_stream(data, |node| streamed.push(node));
    let Ok(nodes) = tree::parse(data) else {
        return;
    };
    if data.starts_with(b"{\"nodes\":[") {
        stream.expect("a stream is read like the whole");
        let streamed: Vec<_> = streamed.into_iter().map(|node| node.unwrap()).collect();
        assert_eq!(streamed, nodes);
    }
    assert!(read.is_ok() && seen == nodes.len());
    let mut builder = TreeBuilder::default();
    for node in &nodes {
        assert!(!node.name.is_empty() && node.name != b"." && node.name != b"..");
        assert!(!node.name.contains(&b'/') && !node.name.contains(&0));
        if builder.add(node).is_err() {
            return;
        }
    }
    let written = builder.finish();
    let again = tree::parse(&written).expect("what was written is read");
    assert_eq!(again, nodes, "{}", String::from_utf8_lossy(&written));
});
