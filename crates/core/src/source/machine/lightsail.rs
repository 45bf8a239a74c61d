//! Instances of Amazon Lightsail. A name there is unique in its region; what is to be made is looked for
//! under its name before it counts as not made.

use super::amazon::{self, Client};
use super::quarantine::DRILL;
use super::{Machine, Provider, Snapshot, State, Wanted};
use crate::aws::Lightsail;
use crate::config::{AccountConfig, LightsailConfig};
use crate::error::{Code, Error, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Lightsail counts in these.
const GIB: u64 = 1 << 30;

/// What Lightsail calls the snapshots that it takes by itself.
const AUTOMATIC: &str = "AutoSnapshot";

/// An instance.
pub struct Instance {
    config: LightsailConfig,
    client: Client<Lightsail>,
}

impl Instance {
    /// That of a configuration.
    pub fn new(config: LightsailConfig) -> Self {
        Instance {
            config,
            client: Client::new(),
        }
    }

    fn client(&self) -> Result<&Lightsail> {
        self.client.of(&self.config.account, Lightsail::new)
    }

    fn in_region(&self) -> &str {
        &self.config.account.region
    }

    /// The same instance, asked for in another region.
    fn elsewhere(&self, region: &str) -> Instance {
        let mut config = self.config.clone();
        config.account = config.account.in_region(region);
        config.snapshots.address = None;
        Instance::new(config)
    }

    /// All snapshots in the region, of whatever.
    fn listed(&self, client: &Lightsail) -> Result<Vec<Value>> {
        let doing = format!("the snapshots of {} cannot be listed", self.config.instance);
        let all = client.all("GetInstanceSnapshots", "instanceSnapshots");
        all.map_err(|e| e.into_error(&doing, "lightsail:GetInstanceSnapshots"))
    }

    /// A snapshot of this name, of whatever.
    fn named(&self, client: &Lightsail, name: &str) -> Result<Option<Value>> {
        let all = self.listed(client)?.into_iter();
        Ok(all.into_iter().find(|one| text(one, "name") == Some(name)))
    }

    /// Whether it is the machine, or was made to take its place.
    fn is_own(&self, name: &str) -> bool {
        let rest = name.strip_prefix(self.config.instance.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(super::RESTORED))
    }

    /// Attaches an address that is attached to nothing, and looks whether it is.
    fn attach(&self, address: &str, to: &str) -> Result<()> {
        let question = json!({ "staticIpName": address, "instanceName": to });
        let attached = self.client()?.call("AttachStaticIp", &question);
        if self.holder(address)?.as_deref() == Some(to) {
            return Ok(());
        }
        let doing = format!("address {address} cannot be led to {to}");
        Err(match attached {
            Err(failed) => failed.into_error(&doing, "lightsail:AttachStaticIp"),
            Ok(_) => amazon::not_shown(&doing, "Lightsail"),
        })
    }

    /// The ports that may be reached of a machine in quarantine.
    fn ports(&self) -> Vec<Value> {
        let port = |port: &u16| json!({ "fromPort": port, "toPort": port, "protocol": "tcp", "cidrs": self.config.reach_from });
        match self.config.reach_from.is_empty() {
            true => Vec::new(),
            false => self.config.ports.iter().map(port).collect(),
        }
    }
}

impl Provider for Instance {
    fn describe(&self) -> String {
        format!("Lightsail in {}", self.in_region())
    }

    fn original(&self) -> &str {
        &self.config.instance
    }

    fn account(&self) -> Option<&AccountConfig> {
        Some(&self.config.account)
    }

    fn keeper_in(&self, region: &str) -> Option<Box<dyn Provider>> {
        Some(Box::new(self.elsewhere(region)))
    }

    fn copy(&self, taken: &Snapshot, region: &str, name: &str) -> Result<Snapshot> {
        let there = self.elsewhere(region);
        let client = there.client()?;
        let question = json!({
            "sourceRegion": self.in_region(),
            "sourceSnapshotName": taken.name,
            "targetSnapshotName": name,
        });
        let made = client.call("CopySnapshot", &question);
        let found = there.named(client, name)?;
        if let Err(failed) = made
            // The name was free a moment ago: it was made by a call whose answer was lost.
            && !(failed.is_unsure() && found.is_some())
        {
            let doing = format!("snapshot {} cannot be copied to {region}", taken.name);
            return Err(failed.into_error(&doing, "lightsail:CopySnapshot"));
        }
        match found {
            Some(one) => snapshot(&one, region),
            None => Ok(Snapshot::unseen(String::new(), name)),
        }
    }

    fn machine(&self) -> Result<String> {
        match &self.config.snapshots.address {
            None => Ok(self.config.instance.clone()),
            Some(address) => {
                let attach = "aws lightsail attach-static-ip";
                amazon::at(self, address, |holder| Ok(self.is_own(holder)), attach)
            }
        }
    }

    fn create(&self, machine: &str, name: &str) -> Result<Snapshot> {
        let client = self.client()?;
        let question = json!({
            "instanceName": machine,
            "instanceSnapshotName": name,
            "tags": [{ "key": "lifeboat" }],
        });
        let made = client.call("CreateInstanceSnapshot", &question);
        if let Err(failed) = made {
            let there = match failed.is_unsure() {
                true => self.named(client, name)?,
                false => None,
            };
            // The name was free a moment ago: it was made by a call whose answer was lost.
            let ours = there.as_ref().and_then(|one| text(one, "fromInstanceName"));
            if ours != Some(machine) {
                let doing = format!("no snapshot of {machine} can be taken");
                return Err(failed.into_error(&doing, "lightsail:CreateInstanceSnapshot"));
            }
        }
        // What says that it did is believed once it is seen.
        match self.named(client, name)? {
            Some(one) => snapshot(&one, self.in_region()),
            None => Ok(Snapshot::unseen(String::new(), name)),
        }
    }

    fn automatic(&self, machine: &str) -> Result<Option<String>> {
        let Some(wanted) = &self.config.automatic else {
            return Ok(None);
        };
        let question = json!({ "instanceName": machine });
        let said = self.client()?.call("GetInstance", &question);
        let said = said.map_err(|failed| {
            let doing = format!("the automatic snapshots of {machine} cannot be looked up");
            failed.into_error(&doing, "lightsail:GetInstance")
        })?;
        let add_ons = said.pointer("/instance/addOns").and_then(Value::as_array);
        let found = add_ons.into_iter().flatten().find(|add_on| {
            text(add_on, "name") == Some(AUTOMATIC) && text(add_on, "status") == Some("Enabled")
        });
        let at = found.and_then(|found| text(found, "snapshotTimeOfDay"));
        Ok(match at {
            Some(at) if at == wanted => None,
            Some(at) => Some(format!(
                "automatic snapshots of {machine} are taken at {at} UTC, and not at {wanted}"
            )),
            None => Some(format!("automatic snapshots of {machine} are off")),
        })
    }

    fn switch_on_automatic(&self, machine: &str) -> Result<()> {
        let question = json!({
            "resourceName": machine,
            "addOnRequest": {
                "addOnType": AUTOMATIC,
                "autoSnapshotAddOnRequest": { "snapshotTimeOfDay": self.config.automatic },
            },
        });
        let done = self.client()?.call("EnableAddOn", &question);
        done.map(|_| ()).map_err(|failed| {
            let doing = format!("automatic snapshots of {machine} cannot be switched on");
            failed.into_error(&doing, "lightsail:EnableAddOn")
        })
    }

    fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let all = self.listed(self.client()?)?;
        let own = all
            .iter()
            .filter(|one| text(one, "fromInstanceName").is_none_or(|from| self.is_own(from)));
        own.map(|one| snapshot(one, self.in_region())).collect()
    }

    fn delete(&self, id: &str) -> Result<()> {
        let client = self.client()?;
        let all = self.listed(client)?;
        let found = all.iter().find(|one| text(one, "arn") == Some(id));
        let Some(name) = found.and_then(|one| text(one, "name")) else {
            return Ok(());
        };
        let question = json!({ "instanceSnapshotName": name });
        match client.call("DeleteInstanceSnapshot", &question) {
            Err(failed) if !failed.is_missing() => {
                let doing = format!("snapshot {name} cannot be deleted");
                Err(failed.into_error(&doing, "lightsail:DeleteInstanceSnapshot"))
            }
            _ => Ok(()),
        }
    }

    fn restore(&self, wanted: &Wanted<'_>) -> Result<Machine> {
        let client = self.client()?;
        let name = &wanted.snapshot.name;
        let Some(found) = self.named(client, name)? else {
            let message = format!("snapshot {name} is not in {}", self.in_region());
            return Err(Error::new(Code::ObjectMissing, message));
        };
        if text(&found, "arn") != Some(&wanted.snapshot.id) {
            let message = format!("snapshot {name} is another one by now");
            return Err(Error::new(Code::ObjectMissing, message)
                .hint("choose a newer point: `lifeboat points`"));
        }
        let zone = self.config.zone.clone();
        let (bundle, tags) = match wanted.expires {
            Some(expires) => (
                self.config.bundle.as_deref(),
                json!([
                    { "key": "lifeboat", "value": "drill" },
                    { "key": "lifeboat-expires", "value": expires.as_second().to_string() },
                ]),
            ),
            None => (None, json!([{ "key": "lifeboat", "value": "restored" }])),
        };
        let question = json!({
            "instanceNames": [wanted.name],
            "availabilityZone": zone.unwrap_or_else(|| format!("{}a", self.in_region())),
            "bundleId": bundle.or(text(&found, "fromBundleId")),
            "instanceSnapshotName": name,
            "tags": tags,
        });
        let made = client.call("CreateInstancesFromSnapshot", &question);
        let there = || -> Result<Option<Machine>> {
            let all = self.machines()?.unwrap_or_default();
            Ok(all.into_iter().find(|machine| machine.name == wanted.name))
        };
        if let Err(failed) = made {
            let there = if failed.is_unsure() { there()? } else { None };
            let doing = format!("no machine can be made of snapshot {name}");
            return there
                .ok_or_else(|| failed.into_error(&doing, "lightsail:CreateInstancesFromSnapshot"));
        }
        Ok(there()?.unwrap_or_else(|| Machine {
            id: wanted.name.to_owned(),
            name: wanted.name.to_owned(),
            state: State::Pending,
            address: None,
            path: None,
            host_keys: Vec::new(),
        }))
    }

    fn fence(&self, machine: &Machine) -> Result<()> {
        let question = json!({ "instanceName": machine.name, "portInfos": self.ports() });
        let done = self.client()?.call("PutInstancePublicPorts", &question);
        done.map(|_| ()).map_err(|failed| {
            let doing = format!("machine {} cannot be closed to others", machine.name);
            failed.into_error(&doing, "lightsail:PutInstancePublicPorts")
        })
    }

    fn open_like(&self, machine: &Machine, other: &str) -> Result<Option<String>> {
        let client = self.client()?;
        let asked = client.call("GetInstancePortStates", &json!({ "instanceName": other }));
        let known = match asked {
            Ok(known) => known,
            Err(failed) if failed.is_missing() => {
                return Ok(Some(format!(
                    "{other} is gone, and its firewall with it: {} is open at the ports that Lightsail opens",
                    machine.name
                )));
            }
            Err(failed) => {
                let doing = format!("the firewall of {other} cannot be read");
                return Err(failed.into_error(&doing, "lightsail:GetInstancePortStates"));
            }
        };
        let states = known.get("portStates").and_then(Value::as_array);
        let ports: Vec<Value> = states.into_iter().flatten().map(port_of).collect();
        let question = json!({ "instanceName": machine.name, "portInfos": ports });
        let done = client.call("PutInstancePublicPorts", &question);
        done.map(|_| None).map_err(|failed| {
            let doing = format!("the firewall of {} cannot be set", machine.name);
            failed.into_error(&doing, "lightsail:PutInstancePublicPorts")
        })
    }

    /// As Lightsail saw them on the machine's console. Whoever may ask may log in to the machine.
    fn host_keys(&self, machine: &Machine) -> Result<Vec<String>> {
        let question = json!({ "instanceName": machine.name, "protocol": "ssh" });
        let said = self.client()?.call("GetInstanceAccessDetails", &question);
        let said = said.map_err(|failed| {
            let doing = format!(
                "the host keys of machine {} cannot be asked for",
                machine.name
            );
            failed.into_error(&doing, "lightsail:GetInstanceAccessDetails")
        })?;
        let keys = said
            .pointer("/accessDetails/hostKeys")
            .and_then(Value::as_array);
        Ok(keys.into_iter().flatten().filter_map(host_key).collect())
    }

    fn holder(&self, address: &str) -> Result<Option<String>> {
        let question = json!({ "staticIpName": address });
        let said = self.client()?.call("GetStaticIp", &question);
        let said = said.map_err(|failed| {
            let doing = format!("address {address} cannot be looked up");
            failed.into_error(&doing, "lightsail:GetStaticIp")
        })?;
        let holder = said.pointer("/staticIp/attachedTo").and_then(Value::as_str);
        Ok(holder
            .filter(|holder| !holder.is_empty())
            .map(str::to_owned))
    }

    fn lead(&self, address: &str, to: &str) -> Result<()> {
        let before = self.holder(address)?;
        if before.as_deref() == Some(to) {
            return Ok(());
        }
        if before.is_some() {
            let question = json!({ "staticIpName": address });
            let detached = self.client()?.call("DetachStaticIp", &question);
            // A call whose answer was lost may have been carried out.
            if let Err(failed) = detached
                && self.holder(address)?.is_some()
            {
                let doing = format!("address {address} cannot be taken from where it leads");
                return Err(failed.into_error(&doing, "lightsail:DetachStaticIp"));
            }
        }
        let Err(error) = self.attach(address, to) else {
            return Ok(());
        };
        let Some(before) = before else {
            return Err(error);
        };
        let back = self.attach(address, &before);
        let leads = match (back, self.holder(address)) {
            // It did what it was asked to, and its answer was lost.
            (_, Ok(Some(holder))) if holder == to => return Ok(()),
            (_, Ok(Some(holder))) => format!("it leads to {holder} again"),
            (_, Ok(None)) => "it leads to no machine now".to_owned(),
            (_, Err(unknown)) => format!("where it leads now is not known: {}", unknown.message),
        };
        let hint = match leads.ends_with("again") {
            true => error.hint,
            false => Some(format!(
                "let it lead somewhere at once: aws lightsail attach-static-ip --region {} --static-ip-name {address} --instance-name {before}",
                self.in_region()
            )),
        };
        Err(Error {
            message: format!("{}; {leads}", error.message),
            hint,
            ..error
        })
    }

    fn machines(&self) -> Result<Option<Vec<Machine>>> {
        let all = self.client()?.all("GetInstances", "instances");
        let all = all.map_err(|failed| {
            failed.into_error("the instances cannot be listed", "lightsail:GetInstances")
        })?;
        Ok(Some(all.iter().filter_map(machine).collect()))
    }

    fn destroy(&self, id: &str) -> Result<()> {
        if !id.starts_with(DRILL) {
            let message = format!("{id} is no machine of a drill, and is not destroyed");
            return Err(Error::new(Code::Target, message));
        }
        let question = json!({ "instanceName": id, "forceDeleteAddOns": true });
        match self.client()?.call("DeleteInstance", &question) {
            Err(failed) if !failed.is_missing() => {
                let doing = format!("machine {id} cannot be deleted");
                Err(failed.into_error(&doing, "lightsail:DeleteInstance"))
            }
            _ => Ok(()),
        }
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}

/// A rule of a firewall, as it is set, from one as it is shown.
fn port_of(state: &Value) -> Value {
    let keys = [
        "fromPort",
        "toPort",
        "protocol",
        "cidrs",
        "ipv6Cidrs",
        "cidrListAliases",
    ];
    let known = keys
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), state.get(key)?.clone())));
    Value::Object(known.collect())
}

/// A host key as a line of `known_hosts` has it.
fn host_key(key: &Value) -> Option<String> {
    let (algorithm, public) = (text(key, "algorithm")?, text(key, "publicKey")?);
    let public = public
        .split_whitespace()
        .find(|word| word.starts_with("AAAA"))?;
    Some(format!("{algorithm} {public}"))
}

fn snapshot(one: &Value, region: &str) -> Result<Snapshot> {
    let (Some(arn), Some(name)) = (text(one, "arn"), text(one, "name")) else {
        let message = "Lightsail tells of a snapshot without a name";
        return Err(Error::new(Code::SourceFailed, message));
    };
    let state = match text(one, "state") {
        Some("available") => State::Ready,
        Some("error") => State::Broken("its state is error".to_owned()),
        _ => State::Pending,
    };
    let seconds = one.get("createdAt").and_then(Value::as_f64);
    // Whole milliseconds, as it tells them.
    #[expect(clippy::cast_possible_truncation, reason = "the time of a snapshot")]
    let created = seconds.and_then(|s| Timestamp::from_millisecond((s * 1000.0) as i64).ok());
    Ok(Snapshot {
        id: arn.to_owned(),
        name: name.to_owned(),
        state,
        bytes: one
            .get("sizeInGb")
            .and_then(Value::as_u64)
            .map(|gib| gib * GIB),
        created,
        machine: text(one, "fromInstanceName").map(str::to_owned),
        region: Some(region.to_owned()),
        account: arn.split(':').nth(4).map(str::to_owned),
    })
}

fn machine(one: &Value) -> Option<Machine> {
    let name = text(one, "name")?.to_owned();
    let state = one.pointer("/state/name").and_then(Value::as_str);
    Some(Machine {
        id: name.clone(),
        name,
        state: match state {
            Some("running") => State::Ready,
            Some("stopped" | "stopping" | "shutting-down" | "terminated") => {
                State::Broken(format!("its state is {}", state.unwrap_or_default()))
            }
            _ => State::Pending,
        },
        address: text(one, "publicIpAddress").map(str::to_owned),
        path: None,
        host_keys: Vec::new(),
    })
}
