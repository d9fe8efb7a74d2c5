//! telegraf-algorithmia on real servers.

mod alerts;
mod certificates;
mod checks;
mod client;
mod dashboards;
mod demo;
mod drift;
mod generate;
mod hardening;
mod incidents;
mod operations;
mod package;
mod pagerduty;
mod pipeline;
mod readme;
mod recipes;
mod record_time;
mod release;
mod reliability;
mod secured;
mod senders;
mod shell;
mod stack_itself;
mod support;
mod template;
mod types;
