//! A provider by commands: each reads a JSON object and prints one.

use super::{Machine, Provider, Snapshot, State, Wanted};
use crate::config::ExternalConfig;
use crate::error::{Code, Error, Result};
use crate::resolve::resolve;
use crate::secret::Scrubber;
use crate::shell;
use crate::transport::{Command, Transport};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The commands of a source.
pub struct Commands {
    config: ExternalConfig,
    transport: Transport,
}

/// A snapshot, as a command prints it.
#[derive(Deserialize)]
struct SaidSnapshot {
    id: String,
    name: Option<String>,
    #[serde(default)]
    state: SaidState,
    detail: Option<String>,
    bytes: Option<u64>,
    created: Option<Timestamp>,
    machine: Option<String>,
    region: Option<String>,
    account: Option<String>,
}

/// A machine, as a command prints it.
#[derive(Deserialize)]
struct SaidMachine {
    id: String,
    name: Option<String>,
    #[serde(default)]
    state: SaidState,
    detail: Option<String>,
    address: Option<String>,
    path: Option<String>,
    #[serde(default)]
    host_keys: Vec<String>,
}

/// How far it is.
#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SaidState {
    Pending,
    #[default]
    Available,
    Error,
}

#[derive(Deserialize)]
struct SaidSnapshots {
    snapshots: Vec<SaidSnapshot>,
}

#[derive(Deserialize)]
struct SaidMachines {
    machines: Vec<SaidMachine>,
}

/// Where an address leads.
#[derive(Deserialize)]
struct SaidHolder {
    id: Option<String>,
}

/// What is printed by a command that only does something.
#[derive(Deserialize)]
struct Nothing {}

impl SaidState {
    fn state(self, detail: Option<String>) -> State {
        match self {
            SaidState::Pending => State::Pending,
            SaidState::Available => State::Ready,
            SaidState::Error => {
                State::Broken(detail.unwrap_or_else(|| "its state is error".to_owned()))
            }
        }
    }
}

impl From<SaidSnapshot> for Snapshot {
    fn from(said: SaidSnapshot) -> Self {
        Snapshot {
            name: said.name.unwrap_or_else(|| said.id.clone()),
            id: said.id,
            state: said.state.state(said.detail),
            bytes: said.bytes,
            created: said.created,
            machine: said.machine,
            region: said.region,
            account: said.account,
        }
    }
}

impl From<SaidMachine> for Machine {
    fn from(said: SaidMachine) -> Self {
        Machine {
            name: said.name.unwrap_or_else(|| said.id.clone()),
            id: said.id,
            state: said.state.state(said.detail),
            address: said.address,
            path: said.path,
            host_keys: said.host_keys,
        }
    }
}

impl Commands {
    /// Those of a configuration.
    pub fn new(config: ExternalConfig) -> Self {
        let transport = config.place.transport();
        Commands { config, transport }
    }

    /// Runs one of them. What it prints on standard error is told when it fails.
    fn ask<T: DeserializeOwned>(&self, verb: &str, mut input: Value) -> Result<T> {
        let commands = self.config.commands();
        let words = commands.iter().find(|(key, _)| *key == verb);
        let words = words.map(|(_, words)| words.as_slice()).unwrap_or_default();
        let Some((program, arguments)) = words.split_first() else {
            let message = format!("there is no command `{verb}`");
            return Err(Error::new(Code::Configuration, message)
                .hint(format!("add {verb} = [\"PROGRAM\"] to the source")));
        };
        if let Some(input) = input.as_object_mut() {
            input.insert("verb".to_owned(), json!(verb));
            input.insert("machine".to_owned(), json!(self.config.machine));
        }
        let scrubber = Scrubber::default();
        let mut command = Command::new(program)
            .args(arguments)
            .stdin_piped()
            .scrub_with(&scrubber);
        for (name, reference) in &self.config.env {
            command = command.secret_env(name, &resolve(reference)?);
        }
        // A machine is destroyed, and an address led back, although somebody asked to end.
        if matches!(verb, "destroy" | "delete" | "move") {
            command = command.cleanup();
        }
        let mut text = input.to_string().into_bytes();
        text.push(b'\n');
        let output = self.transport.output_of(&command, text)?;
        let failed = |how: String| {
            let words: Vec<String> = words.iter().map(|word| shell::quote(word)).collect();
            let question = shell::quote(&input.to_string());
            Error::new(Code::SourceFailed, format!("{program} ({verb}) {how}")).hint(format!(
                "run it by hand as the user that runs lifeboat: echo {question} | {}",
                words.join(" ")
            ))
        };
        if !output.status.success() {
            return Err(failed(format!("ended with {}", output.status)).cause(output.stderr));
        }
        let printed = match output.stdout.trim_ascii() {
            b"" => b"{}".as_slice(),
            printed => printed,
        };
        serde_json::from_slice(printed).map_err(|error| {
            failed("printed something else than is expected".to_owned()).cause(error)
        })
    }
}

impl Provider for Commands {
    fn describe(&self) -> String {
        let program = self.config.list.first().map_or("", String::as_str);
        match self.transport.place() {
            Some(place) => format!("{program} on {place}"),
            None => program.to_owned(),
        }
    }

    fn original(&self) -> &str {
        &self.config.machine
    }

    fn create(&self, _machine: &str, name: &str) -> Result<Snapshot> {
        let said: SaidSnapshot = self.ask("create", json!({ "name": name }))?;
        Ok(said.into())
    }

    fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let said: SaidSnapshots = self.ask("list", json!({}))?;
        Ok(said.snapshots.into_iter().map(Snapshot::from).collect())
    }

    fn delete(&self, id: &str) -> Result<()> {
        let Nothing {} = self.ask("delete", json!({ "id": id }))?;
        Ok(())
    }

    fn restore(&self, wanted: &Wanted<'_>) -> Result<Machine> {
        let snapshot = wanted.snapshot;
        let expires = wanted.expires;
        let expires = expires.map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        let input = json!({ "id": snapshot.id, "name": wanted.name, "expires": expires });
        let said: SaidMachine = self.ask("restore", input)?;
        Ok(said.into())
    }

    fn holder(&self, address: &str) -> Result<Option<String>> {
        let said: SaidHolder = self.ask("holder", json!({ "address": address }))?;
        Ok(said.id)
    }

    fn lead(&self, address: &str, to: &str) -> Result<()> {
        let Nothing {} = self.ask("move", json!({ "address": address, "id": to }))?;
        Ok(())
    }

    fn machines(&self) -> Result<Option<Vec<Machine>>> {
        if self.config.machines.is_empty() {
            return Ok(None);
        }
        let said: SaidMachines = self.ask("machines", json!({}))?;
        Ok(Some(said.machines.into_iter().map(Machine::from).collect()))
    }

    fn destroy(&self, id: &str) -> Result<()> {
        let Nothing {} = self.ask("destroy", json!({ "id": id }))?;
        Ok(())
    }
}
