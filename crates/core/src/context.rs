//! Everything that a run works with: a snapshot of the configuration, the state of this host, the
//! stores, and the observer of its progress.

use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::observe::Reporter;
use crate::ownership;
use crate::removal::Stays;
use crate::scratch::Directory;
use crate::secret::Scrubber;
use crate::sign::TrustedSigners;
use crate::state::State;
use crate::stores::{Access, Stores};
use crate::transport::ssh::Sessions;
use jiff::Timestamp;
use std::sync::Arc;

/// Everything that a run works with. Several runs in one process each have their own.
pub struct Context {
    /// The configuration, as it was when the run began.
    pub config: Config,
    /// Source of time and randomness.
    pub clock: Clock,
    /// Reports progress.
    pub reporter: Reporter,
    /// Removes known secrets from the output of tools.
    pub scrubber: Scrubber,
    /// Signers whose manifests and evidence are trusted: this host, and those configured.
    pub trusted: TrustedSigners,
    /// State that this host keeps between runs.
    pub state: Arc<State>,
    /// The stores of the configuration.
    pub stores: Stores,
    /// Set when a store is read without a configuration.
    cold: Option<Cold>,
    /// Set when the stores are read as they stood at a time.
    as_of: Option<Timestamp>,
    /// Keeps connections to other hosts open for the run.
    _sessions: Sessions,
}

/// State for reading a store without a configuration.
struct Cold {
    /// One application was chosen; until then, points of all are shown.
    settled: bool,
}

impl Context {
    /// Opens the state and starts a run. `trust` lists ids (`SHA256:…`) of further signers to
    /// believe in this run.
    pub fn open(
        config: Config,
        clock: Clock,
        reporter: Reporter,
        trust: &[String],
    ) -> Result<Self> {
        config.check_state()?;
        let scrubber = Scrubber::default();
        config.learn_environment(&scrubber);
        let state = State::open(&config.app, &scrubber)?;
        Self::with_state(config, Arc::new(state), clock, reporter, scrubber, trust)
    }

    /// Starts a run on an open state, which other runs may share.
    fn with_state(
        config: Config,
        state: Arc<State>,
        clock: Clock,
        reporter: Reporter,
        scrubber: Scrubber,
        trust: &[String],
    ) -> Result<Self> {
        let mut trusted = open_trusted(&config, trust)?;
        trusted.add(&state.signer.public());
        state.keep_allowed_signers(&trusted, &config.app.name)?;
        Ok(Context {
            stores: Stores::new(&config, Access::Write, clock.clone(), scrubber.clone()),
            config,
            clock,
            reporter,
            scrubber,
            trusted,
            state,
            cold: None,
            as_of: None,
            _sessions: Sessions::hold(),
        })
    }

    /// Context for reading a store by URL, without a configuration; all its state is in `home`. Its
    /// signing key is temporary and goes with the context. Only the signers named in `trust` are
    /// trusted. With `as_of`, the store is read as it stood at that time.
    pub(crate) fn cold(
        config: Config,
        home: Directory,
        clock: Clock,
        reporter: Reporter,
        trust: &[String],
        as_of: Option<Timestamp>,
    ) -> Result<Self> {
        let scrubber = Scrubber::default();
        config.learn_environment(&scrubber);
        let access = as_of.map_or(Access::Read, Access::AsOf);
        Ok(Context {
            trusted: open_trusted(&config, trust)?,
            state: Arc::new(State::passing(home)?),
            stores: Stores::new(&config, access, clock.clone(), scrubber.clone()),
            config,
            clock,
            reporter,
            scrubber,
            cold: Some(Cold { settled: false }),
            as_of,
            _sessions: Sessions::hold(),
        })
    }

    /// Context for reading the stores of `present` as they stood at a time. It believes the same
    /// signers. All its state is in `home`, so that nothing of the past enters the catalog of this
    /// host, or its memory of what is missing.
    pub(crate) fn past(present: &Context, at: Timestamp, home: Directory) -> Result<Self> {
        let (config, clock) = (present.config.clone(), present.clock.clone());
        let scrubber = present.scrubber.clone();
        let access = Access::AsOf(at);
        Ok(Context {
            stores: Stores::new(&config, access, clock.clone(), scrubber.clone()),
            trusted: present.trusted.clone(),
            state: Arc::new(State::passing(home)?),
            config,
            clock,
            reporter: present.reporter.clone(),
            scrubber,
            cold: None,
            as_of: Some(at),
            _sessions: Sessions::hold(),
        })
    }

    /// Chooses the application whose points are read.
    pub(crate) fn settle(&mut self, app: &Name, environment: &Name) {
        self.config.app.name = app.clone();
        self.config.app.environment = environment.clone();
        if let Some(cold) = &mut self.cold {
            cold.settled = true;
        }
    }

    /// Returns whether a store is read without a configuration.
    pub fn is_cold(&self) -> bool {
        self.cold.is_some()
    }

    /// The time as of which the stores are read; `None` if they are read as they are now.
    pub fn as_of(&self) -> Option<Timestamp> {
        self.as_of
    }

    /// Returns whether the state goes with the run: nothing of it is kept on this host, and its
    /// signing key is nobody's.
    pub fn is_passing(&self) -> bool {
        self.cold.is_some() || self.as_of.is_some()
    }

    /// Returns whether points of every application are shown.
    pub fn shows_every_app(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| !cold.settled)
    }

    /// Removes what killed runs left in scratch directories. Warns of what cannot be removed, and
    /// returns it.
    pub fn sweep(&self) -> Vec<Stays> {
        let stays = self.state.sweep();
        for stays in &stays {
            self.reporter.warn(&format!(
                "what a run that was killed had restored is there in clear: {stays}"
            ));
        }
        stays
    }
}

fn open_trusted(config: &Config, trust: &[String]) -> Result<TrustedSigners> {
    let mut trusted = match &config.app.trusted_signers {
        None => TrustedSigners::default(),
        Some(path) => {
            let what = format!("trusted_signers {}", path.display());
            ownership::named_file(path, &config.origin).map_err(|error| Error {
                message: format!("{what} {}", error.message),
                ..error
            })?;
            let text = crate::plain::read_to_string(path).map_err(|error| {
                Error::new(Code::Configuration, format!("trusted_signers {} cannot be read", path.display()))
                    .cause(error)
                    .hint("create it: one line `NAME ssh-ed25519 KEY` for each signer, or remove the setting")
            })?;
            TrustedSigners::parse(&text)?
        }
    };
    for id in trust {
        trusted.add_id(id)?;
    }
    Ok(trusted)
}
