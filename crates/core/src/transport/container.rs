//! Containers, reached with their own clients: `docker exec` and `kubectl exec`.
//!
//! A container is only required to have `sh`. Errors of the clients are recognised by their English
//! words.

use crate::error::{Code, Error};
use std::ffi::OsString;

/// A running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Container {
    /// A container of this host's Docker.
    Docker {
        /// Name or id.
        name: String,
    },
    /// A pod of a cluster.
    Pod {
        namespace: String,
        pod: String,
        container: Option<String>,
    },
}

impl Container {
    /// The client.
    pub(super) fn client(&self) -> &'static str {
        match self {
            Container::Docker { .. } => "docker",
            Container::Pod { .. } => "kubectl",
        }
    }

    /// The client's arguments before the program to run.
    pub(super) fn words(&self) -> Vec<OsString> {
        let words: Vec<&str> = match self {
            Container::Docker { name } => vec!["exec", "-i", name],
            Container::Pod {
                namespace,
                pod,
                container,
            } => {
                let mut words = vec!["exec", "-i", "-n", namespace, pod];
                if let Some(container) = container {
                    words.extend(["-c", container]);
                }
                words.push("--");
                words
            }
        };
        words.into_iter().map(OsString::from).collect()
    }

    /// Its place, for messages.
    pub(super) fn place(&self) -> String {
        match self {
            Container::Docker { name } => format!("container {name}"),
            Container::Pod { namespace, pod, .. } => format!("pod {namespace}/{pod}"),
        }
    }

    /// The error for a client that could not connect, if its output shows one.
    pub(super) fn refused(&self, said: &str) -> Option<Error> {
        let place = self.place();
        let has = |needles: &[&str]| needles.iter().any(|needle| said.contains(needle));
        let list = match self {
            Container::Docker { .. } => "docker ps -a".to_owned(),
            Container::Pod { namespace, .. } => format!("kubectl get pods -n {namespace}"),
        };
        let (code, message, hint) = if has(&[
            "executable file not found",
            "no such file or directory: unknown",
        ]) {
            (
                Code::ToolMissing,
                format!("{place} has no shell"),
                "its programs are started with sh; use a container that has it, or reach the server over the network".to_owned(),
            )
        } else if has(&["No such container", "(NotFound)", "container not found"]) {
            (
                Code::SourceMissing,
                format!("{place} is not there"),
                format!("see which there are: {list}; then correct via"),
            )
        } else if has(&[
            "is not running",
            "is paused",
            "is restarting",
            "unable to upgrade connection",
            "does not have a host assigned",
        ]) {
            (
                Code::SourceUnreachable,
                format!("{place} is not running"),
                format!("see why: {list}; then start it"),
            )
        } else if has(&[
            "permission denied",
            "(Forbidden)",
            "(Unauthorized)",
            "must be logged in",
        ]) {
            (
                Code::SourceDenied,
                format!("{} may not be used by this user", self.client()),
                format!("let this user run: {list}"),
            )
        } else if has(&[
            "Cannot connect to the Docker daemon",
            "Unable to connect to the server",
            "connection refused",
            "was refused",
            "i/o timeout",
            "no configuration has been provided",
        ]) {
            (
                Code::SourceUnreachable,
                format!("{} cannot reach what it controls", self.client()),
                format!("try by hand, as the user that runs lifeboat: {list}"),
            )
        } else {
            return None;
        };
        Some(Error::new(code, message).cause(said).hint(hint))
    }
}
