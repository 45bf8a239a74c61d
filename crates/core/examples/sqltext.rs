//! Writes so many mebibytes of SQL text as `mysqldump` makes it: the same bytes every time.
//!
//! `sqltext 1000`

use std::error::Error;
use std::io::{self, BufWriter, Write};

const GIVEN: &str = "Anna Bert Chiara David Elif Fatima Georg Hanna Ivan Jasmin Karl Lena Mehmet \
    Nora Oskar Petra Quentin Rosa Stefan Tanja Ulrich Vera Walter Xenia Yusuf Zoe";
const FAMILY: &str = "Meier Schmidt Rossi Kowalski Novak Ionescu Yilmaz Andersson Dupont Garcia \
    Jansen O\\'Brien Petrov Horvat Nagy Silva Keller Hofer Gruber Bauer Moreau Fischer";
const WORDS: &str = "the printer on floor does not answer since this morning please check invoice \
    customer asked for a refund of order number and we agreed to call back tomorrow after noon \
    network cable replaced password reset done user can log in again waiting for spare part \
    delivery delayed by supplier ticket closed reopened because error shows up sometimes when \
    saving large attachments see screenshot contract renewal discussed with manager offer sent";
const HOSTS: &str = "example.org example.com mail.example.net firma.example post.example";
const STATES: &str = "open pending waiting closed solved";

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }

    fn pick<'a>(&mut self, from: &'a [impl AsRef<str>]) -> &'a str {
        // Early words are more common, as in language.
        let (a, b) = (self.below(from.len() as u64), self.below(from.len() as u64));
        usize::try_from(a.min(b))
            .ok()
            .and_then(|index| from.get(index))
            .map_or("", AsRef::as_ref)
    }
}

/// Sentences that come again and again, as canned answers and error messages do.
fn phrases(random: &mut Random, words: &[&str]) -> Vec<String> {
    (0..1000)
        .map(|_| {
            let count = 4 + random.below(8);
            let picked: Vec<&str> = (0..count).map(|_| random.pick(words)).collect();
            picked.join(" ")
        })
        .collect()
}

struct Lists {
    phrases: Vec<String>,
    given: Vec<&'static str>,
    family: Vec<&'static str>,
    words: Vec<&'static str>,
    hosts: Vec<&'static str>,
    states: Vec<&'static str>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mebibytes: u64 = std::env::args().nth(1).ok_or("how many MiB?")?.parse()?;
    let mut output = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    let mut random = Random(0x5eed);
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let lists = Lists {
        phrases: phrases(&mut random, &words),
        given: GIVEN.split_whitespace().collect(),
        family: FAMILY.split_whitespace().collect(),
        words,
        hosts: HOSTS.split_whitespace().collect(),
        states: STATES.split_whitespace().collect(),
    };
    let (mut left, mut id) = (mebibytes << 20, 1u64);
    let mut statement = Vec::with_capacity(1 << 20);
    while left > 0 {
        statement.clear();
        write!(statement, "INSERT INTO `tickets` VALUES ")?;
        for row in 0..2000 {
            statement.write_all(if row == 0 { b"" } else { b"," })?;
            write_row(&mut statement, id, &mut random, &lists)?;
            id += 1 + random.below(3);
        }
        statement.write_all(b";\n")?;
        let count = statement.len().min(usize::try_from(left)?);
        output.write_all(statement.get(..count).unwrap_or_default())?;
        left -= count as u64;
    }
    output.flush()?;
    Ok(())
}

fn write_row(out: &mut Vec<u8>, id: u64, random: &mut Random, lists: &Lists) -> io::Result<()> {
    let (given, family) = (random.pick(&lists.given), random.pick(&lists.family));
    let mail = format!("{given}.{}", family.replace("\\'", "")).to_lowercase();
    let (host, state) = (random.pick(&lists.hosts), random.pick(&lists.states));
    write!(
        out,
        "({id},{},'{given} {family}','{mail}{}@{host}','{state}','2026-{:02}-{:02} {:02}:{:02}:{:02}',{}.{:02},'",
        random.below(40_000),
        random.below(1000),
        1 + random.below(12),
        1 + random.below(28),
        random.below(24),
        random.below(60),
        random.below(60),
        random.below(2000),
        random.below(100),
    )?;
    write_text(out, random, lists)?;
    write!(out, "',")?;
    match random.below(4) {
        0 => write!(out, "NULL")?,
        _ => write!(out, "'{:016x}{:016x}'", random.next(), random.next())?,
    }
    write!(out, ",{})", random.below(2))
}

/// Some sentences: half of them known ones, half words never seen in this order.
fn write_text(out: &mut Vec<u8>, random: &mut Random, lists: &Lists) -> io::Result<()> {
    for sentence in 0..1 + random.below(5) {
        out.write_all(if sentence == 0 { b"" } else { b". " })?;
        if random.below(2) == 0 {
            out.write_all(random.pick(&lists.phrases).as_bytes())?;
            continue;
        }
        for word in 0..3 + random.below(8) {
            out.write_all(if word == 0 { b"" } else { b" " })?;
            out.write_all(random.pick(&lists.words).as_bytes())?;
        }
        if random.below(3) == 0 {
            write!(out, " {}", random.below(100_000))?;
        }
    }
    Ok(())
}
