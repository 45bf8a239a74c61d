//! Seals standard input to standard output, or opens it again: what `bench/archive/run` measures.
//!
//! `seal gzip|zstd:3|none [--tap] [--age RECIPIENT]` · `seal open gzip|zstd|none`

use lifeboat_core::archive::{Recipients, Sealer, Sealing, Tap, open};
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    if arguments.first().is_some_and(|first| first == "open") {
        let compress = arguments.get(1).map_or("gzip", String::as_str);
        let mut opened = open(input, compress, None, None)?;
        pump(&mut opened, &mut output)?;
        return Ok(());
    }
    let recipients = match arguments.iter().position(|argument| argument == "--age") {
        Some(at) => Some(Recipients::parse(&arguments.split_off(at + 1))?),
        None => None,
    };
    let sealing = Sealing {
        compress: arguments.first().map_or("gzip", String::as_str).parse()?,
        recipients,
        signer: None,
    };
    if arguments.iter().any(|argument| argument == "--tap") {
        // As a backup does it: the source bytes and the stored bytes are each hashed.
        let mut sealer = Tap::new(Sealer::new(&sealing, Tap::new(output))?);
        pump(&mut input, &mut sealer)?;
        let (sealer, source) = sealer.finish();
        let (_, stored) = sealer.finish()?.finish();
        writeln!(io::stderr(), "{source:?}\n{stored:?}")?;
    } else {
        let mut sealer = Sealer::new(&sealing, output)?;
        pump(&mut input, &mut sealer)?;
        sealer.finish()?;
    }
    Ok(())
}

fn pump(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => to.write_all(buffer.get(..count).unwrap_or_default())?,
        }
    }
}
