//! The open alarms as a metric. Pure.

use super::document::OpenAlarm;
use crate::finding::Severity;
use crate::status::{Metric, MetricKind, Metrics, Sample, Status};
use std::collections::BTreeMap;

/// The number of open alarms by severity.
pub fn metrics(status: &Status, open: &[OpenAlarm]) -> Metrics {
    let severities = [("warning", Severity::Warning), ("error", Severity::Error)];
    let samples = severities.map(|(word, severity)| {
        let of_severity = open.iter().filter(|alarm| alarm.severity == severity);
        let count = u32::try_from(of_severity.count()).unwrap_or(u32::MAX);
        Sample {
            labels: BTreeMap::from([
                ("app", status.app.to_string()),
                ("environment", status.environment.to_string()),
                ("severity", word.to_owned()),
            ]),
            value: f64::from(count),
        }
    });
    Metrics {
        metrics: vec![Metric {
            name: "lifeboat_alarms",
            kind: MetricKind::Gauge,
            unit: None,
            help: "Alarms that are open",
            samples: samples.into(),
        }],
    }
}
