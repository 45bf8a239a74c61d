//! Restores a machine: a new one is made of the snapshot, proved while nobody uses it, and given the address that
//! leads users to the old one. The old one stays.

use super::{Restoring, Wanted};
use crate::backup;
use crate::config::{CheckConfig, SnapshotConfig};
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::machines;
use crate::name::Name;
use crate::point::{External, Selector};
use crate::probe::{CheckOutcome, CheckResult, Subject, name_of};
use crate::restore::checks::{self, Checked};
use crate::restore::{Restored, held};
use crate::source::machine::{self, Accepted, Address, Machine, Provider};
use crate::source::{Arrived, Placed};
use crate::verify::{self, Which};
use std::path::Path;

/// A machine that is to be restored.
struct Replaced<'a> {
    source: &'a Name,
    config: &'a SnapshotConfig,
    provider: Box<dyn Provider>,
    snapshot: External,
    address: Address,
}

/// Returns whether what is to be restored is a machine. Fails if it is one of several sources: what lives on a
/// machine is restored once that is back.
pub fn is_of_machine(context: &Context, wanted: &[Wanted<'_>]) -> Result<bool> {
    let is_machine = |wanted: &&Wanted<'_>| {
        let config = context.config.source.get(wanted.name());
        config.is_some_and(|config| config.kind.snapshots().is_some())
    };
    match wanted.iter().find(is_machine).map(Wanted::name) {
        Some(machine) if wanted.len() > 1 => {
            let message = format!("source {machine} is a machine, and is restored by itself");
            Err(Error::new(Code::Usage, message).hint(format!(
                "restore it first (--source {machine}), and then what is newer than its snapshot"
            )))
        }
        machine => Ok(machine.is_some()),
    }
}

/// Returns whether a check asks a machine as it came back, rather than what is live.
pub fn is_aside(check: &CheckConfig) -> bool {
    check.parsed().is_ok_and(|check| check.machine().is_some())
}

/// The steps of such a restore. Nothing is changed, and nobody is asked but the provider.
pub fn plan(context: &Context, wanted: &Wanted<'_>) -> Result<Vec<String>> {
    let replaced = Replaced::look(context, wanted)?;
    let Replaced {
        source,
        config,
        provider,
        snapshot,
        address,
    } = &replaced;
    let from = address.from.as_deref().unwrap_or("no machine");
    let new = format!("{}{}…", provider.original(), machine::RESTORED);
    let plan = &wanted.fetched.copy.manifest.plan;
    let mut steps = vec![format!(
        "make machine {new} of snapshot {} by {}, wait until it runs, open it as {} is",
        snapshot.name,
        provider.describe(),
        replaced.like()
    )];
    steps.push(match config.holds.is_empty() {
        true => format!("compare nothing of it, since source {source} is said to hold nothing"),
        false => format!(
            "compare {} on it with what this point has of them; stop if they differ",
            names(&config.holds)
        ),
    });
    let checks = &context.config.restore.checks;
    let aside = checks.iter().filter(|check| is_aside(check));
    steps.extend(aside.map(|check| {
        format!(
            "check {} while nobody uses it; stop if it fails",
            name_of(check)
        )
    }));
    steps.push(format!("take a safety point by plan {plan}"));
    steps.push(format!(
        "let address {} lead to it, and not to {from} any more",
        address.name
    ));
    let outside = checks.iter().filter(|check| !is_aside(check));
    steps.extend(outside.map(|check| {
        format!(
            "check {}; if it fails, let the address lead to {from} again",
            name_of(check)
        )
    }));
    steps.push(format!("take a point by plan {plan}, and verify it"));
    steps.push("sign the evidence".to_owned());
    steps.push(format!(
        "leave {from} as it is: delete it by hand once you are sure"
    ));
    Ok(steps)
}

fn names(all: &[Name]) -> String {
    let all: Vec<&str> = all.iter().map(Name::as_str).collect();
    all.join(", ")
}

impl<'a> Replaced<'a> {
    fn look(context: &'a Context, wanted: &Wanted<'a>) -> Result<Replaced<'a>> {
        let name = wanted.name();
        let known = context.config.source.get_key_value(name);
        let provider = machines::provider(&context.config, name);
        let found = known.and_then(|(source, config)| Some((source, config.kind.snapshots()?)));
        let Some(((source, config), provider)) = found.zip(provider) else {
            let message = format!("source {name} is no machine that is configured here");
            return Err(Error::new(Code::Target, message));
        };
        let external = wanted.source.external.clone().ok_or_else(|| {
            let message = format!("the point names no snapshot of source {name}");
            Error::new(Code::ObjectMissing, message).hint("choose another point: `lifeboat points`")
        })?;
        let hint =
            "it was deleted there: choose a newer point, or restore its data onto a fresh machine";
        let snapshot = machine::there(provider.as_ref(), &external, hint)?.clone();
        let notes = machines::quarantine(context)?.notes;
        let address = Address::look(provider.as_ref(), source, config, &notes)?;
        Ok(Replaced {
            source,
            config,
            provider,
            snapshot,
            address,
        })
    }
}

impl Replaced<'_> {
    /// The machine to whose users the new one is opened: the one that has them now.
    fn like(&self) -> &str {
        self.address
            .from
            .as_deref()
            .unwrap_or(&self.snapshot.machine)
    }
}

impl Restoring<'_> {
    /// Carries it out. An error means that users are where they were.
    pub fn as_new_machine(&mut self, reason: Option<String>) -> Result<()> {
        let context = self.context;
        self.warnings.extend(machines::mend(context));
        let Some(wanted) = self.wanted.first().cloned() else {
            return Ok(());
        };
        let replaced = Replaced::look(context, &wanted)?;
        let new = self.make(&replaced, &wanted)?;
        self.look_aside(&replaced, &new)?;
        self.take_safety_points(reason);
        let provider = replaced.provider.as_ref();
        self.watch
            .time("move the address", || {
                replaced.address.lead_to(provider, &new.id)
            })
            .map_err(|error| Error {
                message: format!(
                    "{}; machine {} was made, and is left as it is",
                    error.message, new.name
                ),
                ..error
            })?;
        let accepted = self.accept_host_keys(&replaced, &new);
        if self.fails_outside() {
            self.lead_back(&replaced, &new);
            for error in accepted.iter().filter_map(|accepted| accepted.undo().err()) {
                self.warnings.push(error.with_hint());
            }
            return Ok(());
        }
        self.kept.push(match &replaced.address.from {
            Some(from) => {
                format!("machine {from} is left as it is: delete it by hand once you are sure")
            }
            None => format!("address {} led to no machine before", replaced.address.name),
        });
        self.rearm(&wanted);
        Ok(())
    }

    /// Makes the machine, and proves what it holds.
    fn make(&mut self, replaced: &Replaced<'_>, wanted: &Wanted<'_>) -> Result<Machine> {
        let clock = &self.context.clock;
        let provider = replaced.provider.as_ref();
        let name = machine::name_of_new(provider, clock.now(), clock.random());
        self.context
            .reporter
            .step(&format!("make machine {name}"), None);
        let what = format!("make {}", replaced.source);
        let made = self.watch.time(what, || {
            machine::make_new(
                provider,
                &name,
                &replaced.snapshot,
                replaced.like(),
                replaced.config,
            )
        });
        let (new, told) = made?;
        self.warnings.extend(told);
        let source = replaced.source.clone();
        let kind = wanted.source.kind.known(&source)?;
        let arrived = Arrived::at(Placed::Machine(new.clone()));
        let mut restored = Restored::at(source, kind, arrived);
        let proved = held::prove_all(self.context, wanted.fetched, &mut restored, &mut self.watch);
        self.checks.extend(proved);
        self.keep_machine(restored);
        match self.restored.last().map(|restored| &restored.placed) {
            Some(Placed::Machine(machine)) => Ok(machine.clone()),
            _ => Ok(new),
        }
    }

    /// Records a machine that was made.
    fn keep_machine(&mut self, restored: Restored) {
        if let Placed::Machine(machine) = &restored.placed {
            let place = match &machine.address {
                Some(address) => format!("{} ({address})", machine.name),
                None => machine.name.clone(),
            };
            self.places.push((restored.source.to_string(), place));
        }
        let prefixed = |text: &dyn std::fmt::Display| format!("source {}: {text}", restored.source);
        self.warnings
            .extend(restored.warnings.iter().map(|w| prefixed(w)));
        self.limits
            .extend(restored.limits.iter().map(|l| prefixed(l)));
        if restored.differences.is_none() {
            let name = Subject::content(&restored.source);
            let why = "it runs, and nothing proves its content equal";
            self.checks.push(CheckResult::unknown(
                name,
                "equal to what was captured",
                why,
            ));
        }
        self.restored.push(restored);
    }

    /// Fails if the new machine differs from what was captured, or does not answer as it must, while nobody
    /// uses it.
    fn look_aside(&mut self, replaced: &Replaced<'_>, new: &Machine) -> Result<()> {
        let all = &self.context.config.restore.checks;
        let results = self.ask(all.iter().filter(|check| is_aside(check)));
        self.checks.extend(results);
        let failed = self.checks.iter().find(|check| is_bad(check));
        let Some(failed) = failed else {
            return Ok(());
        };
        let message = format!("machine {} is not as it must be: {}", new.name, failed.name);
        Err(Error::new(Code::NotProved, message)
            .cause(failed.observed())
            .hint(format!(
                "address {} was not touched; look at the machine, then delete it by hand",
                replaced.address.name
            )))
    }

    /// Accepts the host keys of the new machine for the databases that it holds, where its provider tells them.
    fn accept_host_keys(&mut self, replaced: &Replaced<'_>, new: &Machine) -> Vec<Accepted> {
        let mut all = Vec::new();
        for name in &replaced.config.holds {
            let Some(config) = self.context.config.source.get(name) else {
                continue;
            };
            match machine::accept_host_keys(&config.kind, new) {
                Ok(Some(accepted)) => {
                    self.warnings.push(format!(
                        "source {name}: the host key of machine {} is accepted in {}, as its provider tells it",
                        new.name,
                        accepted.file.display()
                    ));
                    all.push(accepted);
                }
                Ok(None) => {}
                Err(error) => self
                    .warnings
                    .push(format!("source {name}: {}", error.with_hint())),
            }
        }
        // Where two share a file, it is as it was once the first is undone last.
        all.reverse();
        all
    }

    /// Asks what users see. Returns true if it is not as it must be.
    fn fails_outside(&mut self) -> bool {
        let all = &self.context.config.restore.checks;
        let own = self.restored.len();
        let untouched = checks::untouched(&self.context.config, &self.restored);
        self.restored.extend(untouched);
        let results = self.ask(all.iter().filter(|check| !is_aside(check)));
        self.restored.truncate(own);
        let bad = results.iter().any(is_bad);
        self.checks.extend(results);
        bad
    }

    fn ask<'c>(&self, all: impl Iterator<Item = &'c CheckConfig>) -> Vec<CheckResult> {
        let checked = Checked {
            context: self.context,
            restored: &self.restored,
            points: self.points,
            directory: Path::new("/"),
        };
        all.map(|check| checks::run(&checked, check)).collect()
    }

    /// Lets the address lead where it led before.
    fn lead_back(&mut self, replaced: &Replaced<'_>, new: &Machine) {
        let Address { name, from, .. } = &replaced.address;
        let Some(from) = from else {
            self.undone = Some(false);
            self.warnings.push(format!(
                "address {name} leads to {}, since it led to no machine before",
                new.name
            ));
            return;
        };
        let back = replaced.address.lead_to(replaced.provider.as_ref(), from);
        self.undone = Some(back.is_ok());
        match back {
            Ok(()) => {
                self.places.clear();
                self.warnings.push(format!(
                    "address {name} leads to {from} again; machine {} is left as it is: look at it, then delete it by hand",
                    new.name
                ));
            }
            Err(error) => {
                let (subject, expected) = (Subject::word("undo"), "the address leads where it led");
                self.checks
                    .push(CheckResult::failed(subject, expected, &error));
            }
        }
    }

    /// Takes a point of the new machine, and verifies it: only then it is protected as the old one was.
    fn rearm(&mut self, wanted: &Wanted<'_>) {
        let plan = wanted.fetched.copy.manifest.plan.clone();
        let (subject, expected) = (Subject::word("rearm"), "a new point is complete and intact");
        let taken = self
            .watch
            .time("rearm", || take_and_verify(self.context, &plan));
        self.checks.push(match taken {
            Ok(()) => CheckResult::new(subject, expected, expected, CheckOutcome::Passed),
            Err(error) => {
                self.warnings.push(format!(
                    "the new machine is not backed up yet: {}",
                    error.with_hint()
                ));
                CheckResult::unknown(subject, expected, error.to_string())
            }
        });
    }
}

/// Whether what was asked is not as it must be. A comparison that could not be made is a limit, and no fault.
fn is_bad(check: &CheckResult) -> bool {
    match check.outcome {
        CheckOutcome::Passed => false,
        CheckOutcome::Failed => true,
        CheckOutcome::Unknown => check.code.is_some(),
    }
}

fn take_and_verify(context: &Context, plan: &Name) -> Result<()> {
    let options = backup::Options {
        safety: false,
        slot: None,
        plan: Some(plan.to_string()),
        reason: Some("after a machine was restored".to_owned()),
    };
    let report = backup::run(context, &options)?;
    if let Some(error) = report.errors.first() {
        let message = format!("plan {plan}: {error}");
        return Err(report
            .failure
            .unwrap_or_else(|| Error::new(Code::SourceFailed, message)));
    }
    let which = Which::One(Selector::parse(report.point.as_str())?);
    let verified = verify::run(context, &which, None)?;
    match verified.exit() {
        Exit::Done => Ok(()),
        _ => Err(Error::new(
            Code::NotProved,
            format!("{} was taken, and is not intact", report.point),
        )
        .hint(format!("lifeboat verify {}", report.point))),
    }
}
