//! The command, as people and Telegraf run it.

#[cfg(unix)]
mod by_hand;
#[cfg(unix)]
mod generate;
#[cfg(unix)]
mod json;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod service;
#[cfg(unix)]
mod usage;

#[cfg(not(unix))]
#[test]
#[ignore = "NOT TESTED here: these tests of the command take Unix"]
fn command() {}

#[cfg(not(target_os = "linux"))]
#[test]
#[ignore = "NOT TESTED here: the tests of service.rs take Linux"]
fn service() {}
