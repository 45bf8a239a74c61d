//! `lifeboat alarms` and `lifeboat ack`.

use super::Run;
use crate::args::AckArgs;
use crate::output::{self, Printer};
use jiff::Timestamp;
use lifeboat_core::alarm::{Alarms, ChannelDocument, OpenAlarm};
use lifeboat_core::finding::Severity;
use lifeboat_core::job;
use lifeboat_core::span::Span;
use lifeboat_core::{Code, Error, Exit, Result};

pub fn run(run: &Run<'_>) -> Result<Exit> {
    let alarms = job::alarms(&run.context()?)?;
    run.answer(&alarms, |out| show(out, &alarms))?;
    Ok(Exit::Done)
}

pub fn acknowledge(run: &Run<'_>, args: &AckArgs) -> Result<Exit> {
    let span: Span = args
        .span
        .parse()
        .map_err(|why: String| Error::new(Code::Usage, "--for is no length of time").cause(why))?;
    let alarm = job::acknowledge(&run.context()?, &args.alarm, span, &args.reason)?;
    run.answer(&alarm, |out| {
        let until = alarm.acknowledged.as_ref().map(|ack| ack.until.to_string());
        let until = until.unwrap_or_default();
        out.sentence(format!(
            "{} ({}) is not repeated until {until}",
            alarm.alarm, alarm.cause
        ));
    })?;
    Ok(Exit::Done)
}

fn show(out: &Printer, alarms: &Alarms) {
    match (alarms.alarms.is_empty(), alarms.looked) {
        (_, None) => out.sentence(
            "nobody looked yet: `lifeboat run` and the daemon of this host say what is wrong",
        ),
        (true, Some(at)) => {
            let ago = output::age(at, alarms.at);
            out.sentence(format!(
                "nothing is wrong, as the runner of this host saw {ago} ago"
            ));
        }
        (false, Some(_)) => {}
    }
    for alarm in &alarms.alarms {
        line(out, alarm);
        show_one(out, alarm, alarms.at);
    }
    let channels = alarms.channels.iter().map(|channel| {
        vec![
            channel.channel.to_string(),
            channel.kind.to_owned(),
            state(channel),
            channel
                .sent
                .map_or_else(|| "never".to_owned(), |at| output::age(at, alarms.at)),
            channel.waiting.to_string(),
        ]
    });
    match alarms.channels.is_empty() {
        true => out.sentence("nobody is told: there is no [notify.NAME] in the configuration"),
        false => out.table(
            &["channel", "kind", "state", "last sent", "waiting"],
            channels,
        ),
    }
    for channel in &alarms.channels {
        if let Some(error) = &channel.error {
            let name = &channel.channel;
            out.sentence(format!("channel {name}: {}", output::joined(error)));
        }
    }
}

fn state(channel: &ChannelDocument) -> String {
    match (channel.failing, channel.sent) {
        (Some(_), _) => "FAILING".to_owned(),
        (None, Some(_)) => "works".to_owned(),
        (None, None) => "not used yet".to_owned(),
    }
}

/// An alarm in a line.
pub fn line(out: &Printer, alarm: &OpenAlarm) {
    let mark = match alarm.severity {
        Severity::Error => "ALARM",
        Severity::Warning | Severity::Ok => "alarm",
    };
    let first = alarm.conditions.first();
    let text = first.map_or_else(String::new, |item| output::joined(&item.text));
    let more = match alarm.conditions.len() {
        0 | 1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    out.sentence(format!("{mark} {}: {text}{more}", alarm.alarm));
}

fn show_one(out: &Printer, alarm: &OpenAlarm, now: Timestamp) {
    let since = output::age(alarm.since, now);
    out.sentence(format!("  {}, for {since}", alarm.cause));
    for item in alarm.conditions.iter().skip(1) {
        out.sentence(format!("  {}", output::joined(&item.text)));
    }
    let mut hints: Vec<&str> = alarm
        .conditions
        .iter()
        .filter_map(|c| c.hint.as_deref())
        .collect();
    hints.dedup();
    for hint in hints {
        out.sentence(format!("  hint: {hint}"));
    }
    let told = alarm.told.iter();
    let told: Vec<String> = told
        .map(|(channel, at)| format!("{channel} {} ago", output::age(*at, now)))
        .collect();
    match told.is_empty() {
        true => out.sentence("  no channel took a message about it yet"),
        false => out.sentence(format!("  told: {}", told.join(", "))),
    }
    if let Some(ack) = &alarm.acknowledged {
        out.sentence(format!(
            "  {} takes care of it until {}: {}",
            ack.by,
            ack.until,
            output::joined(&ack.reason)
        ));
    }
    if let Some(since) = alarm.clear_since {
        let since = output::age(since, now);
        out.sentence(format!("  seems to be over for {since}"));
    }
}
