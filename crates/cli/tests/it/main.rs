//! The program as its users meet it: every test runs the real binary on a temporary application
//! of its own. One test binary, one module for each topic; what they share is in `support`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs,
    reason = "tests fail by panicking, and break things on purpose"
)]

mod age_plugins;
mod alarms;
mod anomaly;
mod as_of;
mod bad_input;
mod boot;
mod bucket;
mod bucket_stores;
mod cold;
mod cold_targets;
mod cost;
mod crash;
mod credentials;
mod daemon;
mod demo;
mod diff;
mod docs;
mod drill_controls;
mod drill_mariadb;
mod drill_postgres;
mod drill_verified;
mod ec2;
mod evidence_chain;
mod evidence_race;
mod evidence_sealed;
mod forge;
mod hostile_names;
mod init;
mod instructions;
mod jobs;
mod json;
mod killed;
mod kinds;
mod kit;
mod layout;
mod layout_faults;
mod left_behind;
mod lightsail;
mod live;
mod machine_restore;
mod machines;
mod man;
mod managed;
mod manifest;
mod mariadb_capture;
mod mariadb_faults;
mod metrics;
mod missing;
mod notify;
mod object_lock;
mod objectives;
mod openpgp;
mod others;
mod package;
mod packaging;
mod partial;
mod policy;
mod posture;
mod prune;
mod prune_marks;
mod prune_stores;
mod public;
mod read_only;
mod repo;
mod repo_backup;
mod repo_change;
mod repo_check;
mod repo_dump;
mod repo_kills;
mod repo_mount;
mod report;
mod restore_md;
mod restored_live;
mod restores;
mod rights;
mod roundtrip;
mod run;
mod s3;
mod secrets;
mod set_aside;
mod sftp;
mod signals;
mod smoke;
mod state;
mod stranger;
mod strangers;
mod support;
mod swap_killed;
mod systems;
mod together;
mod unchanged;
mod unproven;
mod via;
mod via_mariadb;
