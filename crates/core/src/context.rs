//! What a run has: a snapshot of the configuration, the state of this host, the stores, and who hears
//! of progress.

use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::observe::Reporter;
use crate::ownership;
use crate::removal::Stays;
use crate::scratch::Directory;
use crate::secret::{Reference, Scrubber};
use crate::sign::TrustedSigners;
use crate::state::State;
use crate::stores::{Access, Stores};
use crate::transport::resolve;
use crate::transport::ssh::Sessions;
use std::sync::Arc;

/// What a run has. A process may do several, each with its own.
pub struct Context {
    /// The configuration, as it was when the run began.
    pub config: Config,
    /// Where time and randomness come from.
    pub clock: Clock,
    /// Tells of progress.
    pub reporter: Reporter,
    /// Removes known secrets from what tools say.
    pub scrubber: Scrubber,
    /// Whose manifests and evidence are believed: our own, and those configured.
    pub trusted: TrustedSigners,
    /// What this host keeps beyond the run.
    pub state: Arc<State>,
    /// The stores of the configuration.
    pub stores: Stores,
    /// Only a given store is read: what is believed, shown and written differs.
    cold: Option<Cold>,
    /// Connections to other hosts last as long as this.
    _sessions: Sessions,
}

/// A run without a configuration.
struct Cold {
    /// The application is chosen; otherwise those of all are shown.
    settled: bool,
}

impl Context {
    /// Opens the state. `trust` are further ids (`SHA256:…`) of signers to believe in this run.
    pub fn open(
        config: Config,
        clock: Clock,
        reporter: Reporter,
        trust: &[String],
    ) -> Result<Self> {
        config.check_state()?;
        let scrubber = Scrubber::default();
        learn_environment(&config, &scrubber);
        let state = State::open(&config.app, &scrubber)?;
        Self::with_state(config, Arc::new(state), clock, reporter, scrubber, trust)
    }

    /// A run with a state that is open, which other runs may share.
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
            _sessions: Sessions::hold(),
        })
    }

    /// For a given store alone, with everything in `home`. The signing key is nobody's and is
    /// gone with the value; nobody is trusted but who is named.
    pub(crate) fn cold(
        config: Config,
        home: Directory,
        clock: Clock,
        reporter: Reporter,
        trust: &[String],
    ) -> Result<Self> {
        let scrubber = Scrubber::default();
        learn_environment(&config, &scrubber);
        Ok(Context {
            trusted: open_trusted(&config, trust)?,
            state: Arc::new(State::passing(home)?),
            stores: Stores::new(&config, Access::Read, clock.clone(), scrubber.clone()),
            config,
            clock,
            reporter,
            scrubber,
            cold: Some(Cold { settled: false }),
            _sessions: Sessions::hold(),
        })
    }

    /// Chooses the application of a given store.
    pub(crate) fn settle(&mut self, app: &Name, environment: &Name) {
        self.config.app.name = app.clone();
        self.config.app.environment = environment.clone();
        if let Some(cold) = &mut self.cold {
            cold.settled = true;
        }
    }

    /// Whether there is no configuration, only a given store that is read.
    pub fn is_cold(&self) -> bool {
        self.cold.is_some()
    }

    /// Whether points of every application are shown.
    pub fn shows_every_app(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| !cold.settled)
    }

    /// Removes what runs that were killed left in scratch directories. What cannot be removed is
    /// told as a warning, and returned.
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

/// Every child inherits our environment and may print it, also before we resolve what is in it.
fn learn_environment(config: &Config, scrubber: &Scrubber) {
    for reference in config.references() {
        if let Reference::Env(_) = reference
            && let Ok(secret) = resolve(reference)
        {
            scrubber.learn(&secret);
        }
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
