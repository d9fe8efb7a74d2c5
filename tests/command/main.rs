//! The command, as people and Telegraf run it.

mod by_hand;
mod generate;
mod service;
mod usage;
