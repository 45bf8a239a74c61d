//! A world in which hosts run the real jobs against simulated stores and sources, in virtual time.
//!
//! Time passes between the wakes of hosts, and within jobs: while one captures a source or reads an
//! artifact, everything else goes on, and may put that job off, kill it, or take its stores away.

use super::diary::Diary;
use super::fault::{Fault, What};
use super::host::Host;
use super::model::Model;
use super::place::{Life, Place, Reached};
use super::real::Real;
use super::system::{Ground, ROOT, System};
use crate::error::{Code, Error, Result};
use crate::history::JobKind;
use crate::source::Captured;
use crate::source::simulated as source;
use crate::status::tests::simulator::Dice;
use crate::stores::simulated as stores;
use jiff::Timestamp;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

thread_local! {
    /// The world that this thread lives.
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// What a source has now.
#[derive(Debug, Clone, Default)]
struct Truth {
    rows: u64,
    fails: u32,
    shrunk: u32,
}

/// Seconds after which a job refreshes its leases.
const REFRESH_SECONDS: i64 = 60;

/// The beginning of something that happens, or its end.
struct Edge {
    at: Timestamp,
    begins: bool,
    /// True if it has an end.
    lasts: bool,
    what: What,
}

pub(super) struct World {
    pub(super) ground: Ground,
    pub(super) system: System,
    pub(super) name: String,
    pub(super) home: tempfile::TempDir,
    pub(super) begin: Timestamp,
    pub(super) end: Timestamp,
    now: Cell<Timestamp>,
    pub(super) places: Vec<Arc<Place>>,
    pub(super) hosts: RefCell<Vec<Host>>,
    sources: RefCell<Vec<Truth>>,
    slow: Cell<u32>,
    pub(super) channels_down: Cell<u32>,
    pub(super) changed: Cell<bool>,
    pub(super) model: RefCell<Model>,
    pub(super) diary: RefCell<Diary>,
    dice: RefCell<Dice>,
    /// What is still to happen, the next one last: a beginning, or an end.
    edges: RefCell<Vec<Edge>>,
    /// When leases were refreshed last.
    refreshed: Cell<Timestamp>,
}

/// When every world begins: a Monday.
pub(super) fn begin() -> Timestamp {
    "2026-01-05T00:00:00Z".parse().expect("a time")
}

/// The time so many seconds on.
pub(super) fn plus(time: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_second(time.as_second().saturating_add(seconds)).unwrap_or(Timestamp::MAX)
}

/// The world of this thread, if it lives one.
pub(super) fn current() -> Option<Rc<World>> {
    WORLD.with_borrow(Clone::clone)
}

/// When what happens begins and ends, the first last.
fn edges(begin: Timestamp, faults: &[Fault]) -> Vec<Edge> {
    let mut edges = Vec::new();
    for fault in faults {
        let at = plus(begin, fault.at);
        let lasts = fault.lasts > 0;
        let what = &fault.what;
        let edge = |at, begins| Edge {
            at,
            begins,
            lasts,
            what: what.clone(),
        };
        edges.push(edge(at, true));
        if lasts {
            edges.push(edge(plus(at, fault.lasts), false));
        }
    }
    edges.sort_by_key(|edge| std::cmp::Reverse(edge.at));
    edges
}

impl World {
    /// A world that begins at a time and lasts so many days, with what happens in it.
    pub(super) fn new(
        ground: Ground,
        system: System,
        seed: u64,
        days: i64,
        faults: &[Fault],
    ) -> Rc<World> {
        let begin = begin();
        let home = tempfile::Builder::new()
            .prefix("lifeboat-year-")
            .tempdir_in(match Path::new("/dev/shm").is_dir() {
                true => Path::new("/dev/shm").to_owned(),
                false => std::env::temp_dir(),
            })
            .expect("a directory");
        let name = home
            .path()
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let places = system.stores.iter().map(|store| match &ground {
            Ground::Memory => Place::memory(store),
            Ground::Real | Ground::Servers(_) => {
                Place::directory(store, &home.path().join("stores").join(store))
            }
        });
        let places = places.collect();
        let truths = system.sources.iter().enumerate();
        let truths = truths.map(|(number, _)| Truth {
            rows: 200 + 50 * number as u64,
            ..Truth::default()
        });
        let world = Rc::new(World {
            ground,
            system,
            begin,
            end: plus(begin, days * 86_400),
            now: Cell::new(begin),
            places,
            hosts: RefCell::default(),
            sources: RefCell::new(truths.collect()),
            slow: Cell::new(0),
            channels_down: Cell::new(0),
            changed: Cell::new(false),
            model: RefCell::default(),
            diary: RefCell::default(),
            dice: RefCell::new(Dice(seed)),
            edges: RefCell::new(edges(begin, faults)),
            refreshed: Cell::new(begin),
            name,
            home,
        });
        std::fs::write(world.home.path().join("signers"), "").expect("a file");
        for number in 0..system.hosts {
            world.add_host(number, seed);
        }
        world
    }

    /// Adds a host, with its own way to each store and source.
    fn add_host(&self, number: usize, seed: u64) {
        let life = Life::new();
        for place in &self.places {
            let path = format!("{ROOT}/{}/{number}/{}", self.name, place.name);
            let reached = Reached {
                place: Arc::clone(place),
                host: number,
                life: Arc::clone(&life),
                reading: |host| {
                    if let Some(world) = current() {
                        world.take_time(host, 30);
                    }
                },
            };
            stores::put_at(Path::new(&path), Arc::new(reached));
        }
        for (index, source) in self.system.sources.iter().enumerate() {
            let name = format!("{}/{number}/{source}", self.name);
            source::put_at(
                &name,
                Arc::new(move |output| capture(number, index, output)),
            );
        }
        let host = Host::new(self, number, life, seed);
        self.hosts.borrow_mut().push(host);
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now.get()
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.dice.borrow_mut().below(bound)
    }

    /// Lives to the end, or to the first thing that is not as it should be.
    pub(super) fn live(self: &Rc<Self>) {
        WORLD.set(Some(Rc::clone(self)));
        self.set_now(self.begin);
        self.advance(self.end, None);
        super::end::check(self);
        WORLD.set(None);
        stores::clear(&Path::new(ROOT).join(&self.name));
        source::clear(&self.name);
    }

    fn set_now(&self, now: Timestamp) {
        self.now.set(now);
        for host in self.hosts.borrow().iter() {
            host.clock.set(plus(now, host.offset));
        }
        for place in &self.places {
            place.set_time(now);
        }
    }

    pub(super) fn set_clocks(&self) {
        self.set_now(self.now());
    }

    /// Lets time pass. Within a job of a host, it ends early where that job is to end.
    fn advance(self: &Rc<Self>, until: Timestamp, within: Option<usize>) {
        let stopped = || {
            let hosts = self.hosts.borrow();
            within
                .and_then(|host| hosts.get(host))
                .is_some_and(Host::is_stopped)
        };
        while !stopped() && !self.model.borrow().is_broken() {
            let edge = self.edges.borrow().last().map(|edge| edge.at);
            let wakes = self.hosts.borrow();
            let wake = wakes
                .iter()
                .enumerate()
                .map(|(number, host)| (host.wakes(), number));
            let wake = wake.min();
            drop(wakes);
            let next = edge.into_iter().chain(wake.map(|(at, _)| at)).min();
            let next = next.unwrap_or(until).max(self.now());
            // A job refreshes its leases while nothing else happens, too.
            let minute = plus(self.refreshed.get().max(self.now()), REFRESH_SECONDS);
            if minute < next.min(until) && self.hosts.borrow().iter().any(Host::is_running) {
                self.set_now(minute);
                self.refresh_leases();
                continue;
            }
            if next >= until {
                self.set_now(until.max(self.now()));
                return;
            }
            self.set_now(next);
            if edge.is_some_and(|at| at <= next) {
                self.pass_edge();
            } else if let Some((_, number)) = wake {
                self.refresh_leases();
                super::host::wake(self, number);
            }
        }
    }

    /// Every job that lives refreshes its leases.
    fn refresh_leases(&self) {
        self.refreshed.set(self.now());
        let lives: Vec<bool> = {
            let hosts = self.hosts.borrow();
            let lives = hosts
                .iter()
                .map(|host| host.is_running() && !host.life.is_dead());
            lives.collect()
        };
        if lives.contains(&true) {
            let holds = |host: usize| lives.get(host) == Some(&true);
            self.places.iter().for_each(|place| place.refresh(&holds));
        }
    }

    /// Time that something takes within a job of a host, around so many seconds.
    pub(super) fn take_time(self: &Rc<Self>, host: usize, about: u64) {
        let is_running = self.hosts.borrow().get(host).is_some_and(Host::is_running);
        if !is_running {
            return;
        }
        let mut seconds = 1 + about / 2 + self.below(about);
        if self.slow.get() > 0 {
            seconds *= 15;
        }
        let until = plus(self.now(), i64::try_from(seconds).unwrap_or(0));
        self.advance(until, Some(host));
    }

    fn pass_edge(self: &Rc<Self>) {
        let Some(edge) = self.edges.borrow_mut().pop() else {
            return;
        };
        let Edge {
            begins,
            lasts,
            what,
            ..
        } = edge;
        let sign = |count: &Cell<u32>| match begins {
            true => count.set(count.get() + 1),
            false => count.set(count.get().saturating_sub(1)),
        };
        self.diary
            .borrow_mut()
            .happens(self.now(), begins, &what, &self.system);
        self.model
            .borrow_mut()
            .disturbed(self.now(), begins, lasts, &what);
        match &what {
            What::Away(store) => self.trouble(*store, |t| t.away = begins),
            What::Denied(store) => self.trouble(*store, |t| t.denied = begins),
            What::Full(store) => self.trouble(*store, |t| t.full = begins),
            What::Lies(store) => self.trouble(*store, |t| t.lies = begins),
            What::Loses(store) => self.lose(*store),
            What::Rots(store) => self.rot(*store),
            What::Slow => sign(&self.slow),
            What::ChannelDown => sign(&self.channels_down),
            What::SourceFails(source) | What::SourceShrinks(source) => {
                let mut sources = self.sources.borrow_mut();
                let Some(truth) = sources.get_mut(*source) else {
                    return;
                };
                let count = match what {
                    What::SourceFails(_) => &mut truth.fails,
                    _ => &mut truth.shrunk,
                };
                *count = match begins {
                    true => *count + 1,
                    false => count.saturating_sub(1),
                };
            }
            What::Changed => {
                self.changed.set(!self.changed.get());
                for host in self.hosts.borrow_mut().iter_mut() {
                    host.reconfigure(self);
                }
            }
            What::Acknowledge => super::host::acknowledge(self, 0),
            What::Manual => super::host::manual(self, 0, Some("before an upgrade")),
            What::Called => super::host::manual(self, 0, None),
            What::Pin => super::host::pin(self, 0),
            What::Prune => super::host::make_room(self, 0),
            What::Mend => (0..self.system.hosts).for_each(|host| super::host::mend(self, host)),
            What::Down(host)
            | What::Kill(host)
            | What::KillAfter(host, _)
            | What::Clock(host, _)
            | What::NewKey(host)
            | What::NoCatalog(host)
            | What::NoState(host) => super::host::happens(self, *host, &what, begins),
        }
    }

    /// The objects of a store whose content is not what was sent.
    pub(super) fn damaged(&self, store: &str) -> BTreeSet<String> {
        let mut places = self.places.iter();
        let place = places.find(|place| place.name == store);
        place
            .map(|place| place.spoilt().into_iter().collect())
            .unwrap_or_default()
    }

    fn trouble(&self, store: usize, change: impl FnOnce(&mut super::place::Trouble)) {
        if let Some(place) = self.places.get(store) {
            place.set_trouble(change);
        }
    }

    /// Somebody deletes a point, or a part of one.
    fn lose(&self, store: usize) {
        let Some(place) = self.places.get(store) else {
            return;
        };
        let objects = place.content.list("lifeboat/points/").unwrap_or_default();
        let manifests: Vec<String> = objects
            .into_iter()
            .map(|object| object.key)
            .filter(|key| key.ends_with(".json") && !key.contains(".details."))
            .collect();
        let count = manifests.len() as u64;
        if count == 0 {
            return;
        }
        let chosen = usize::try_from(self.below(count)).unwrap_or(0);
        let key = &manifests[chosen];
        place.lose(key);
        place.lose(&format!("{key}.sig"));
        self.model.borrow_mut().lost(self, &place.name, key);
    }

    fn rot(&self, store: usize) {
        let Some(place) = self.places.get(store) else {
            return;
        };
        let objects = place.content.list("").unwrap_or_default();
        let artifacts: Vec<String> = objects
            .into_iter()
            .map(|object| object.key)
            .filter(|key| !key.starts_with("lifeboat/"))
            .collect();
        let count = artifacts.len() as u64;
        if count > 0 {
            let chosen = usize::try_from(self.below(count)).unwrap_or(0);
            place.spoil(&artifacts[chosen]);
        }
    }
}

impl World {
    /// A row of a source.
    fn row(&self, name: &str, number: u64) -> String {
        let text = format!("{name} row {number} is worth keeping for a long time");
        format!("{text:.<width$}\n", width = self.system.row_bytes)
    }

    /// What a source holds when it is captured next, in rows; fails if it is away.
    fn grow(&self, source: usize) -> Result<u64> {
        let name = self.system.sources[source];
        let mut sources = self.sources.borrow_mut();
        let truth = &mut sources[source];
        // Secrets change rarely; everything else grows a little.
        let grows = !matches!(name, "secrets" | "settings" | "keys") || self.below(40) == 0;
        truth.rows += u64::from(grows);
        if truth.fails > 0 {
            return Err(Error::new(Code::SourceFailed, format!("{name} went away")));
        }
        Ok(match truth.shrunk > 0 {
            true => truth.rows / 5,
            false => truth.rows,
        })
    }

    /// Returns whether most rows of a source are missing now, and are enough to be told.
    pub(super) fn is_shrunk(&self, source: &str) -> bool {
        let number = self.system.sources.iter().position(|name| *name == source);
        let sources = self.sources.borrow();
        number.is_some_and(|number| {
            let enough = match self.real(number) {
                Some(real) => real.has_rows(),
                None => self.system.row_bytes > 0,
            };
            enough && sources[number].shrunk > 0
        })
    }

    /// What a source is made of where it is real.
    pub(super) fn real(&self, number: usize) -> Option<Real> {
        Real::of(&self.ground, number)
    }

    /// Before a backup of a host: real sources are what they are then, and reading them takes time.
    pub(super) fn prepare(self: &Rc<Self>, host: usize, kind: JobKind) {
        if matches!(self.ground, Ground::Memory) || kind != JobKind::Backup {
            return;
        }
        self.take_time(host, 120);
        let data = self.home.path().join("data");
        std::fs::create_dir_all(&data).expect("a directory");
        for (number, name) in self.system.sources.iter().enumerate() {
            let rows = self.grow(number).ok();
            let rows = rows.map(|rows| (0..rows).map(|number| self.row(name, number)).collect());
            if let Some(real) = self.real(number) {
                real.write(&data.join(name), rows);
            }
        }
    }
}

/// Captures a simulated source: that takes time, and then it is what it is.
fn capture(host: usize, source: usize, output: &mut dyn Write) -> Result<Captured> {
    let world = current().ok_or_else(|| Error::new(Code::SourceFailed, "there is no world"))?;
    world.take_time(host, 120);
    crate::cancel::check()?;
    let name = world.system.sources[source];
    let rows = world.grow(source)?;
    for number in 0..rows {
        output
            .write_all(world.row(name, number).as_bytes())
            .map_err(|error| Error::from_io(Code::Io, "the source", error))?;
    }
    Ok(Captured::of_bytes())
}
