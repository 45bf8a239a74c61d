//! One MariaDB or MySQL database, taken with its own dump program and restored with its own client.

mod client;
mod connection;
mod programs;
mod url;

pub use client::{
    Server, command, error_number, identifier, literal, query, refused, release_of, row_counts,
    rows,
};
pub use connection::{Connection, Flavor};
pub use programs::{Program, Tool};
