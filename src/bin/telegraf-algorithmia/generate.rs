//! `generate`: the files that the program carries, such as Telegraf's configuration and templates for InfluxDB.
//!
//! Some have an example in them that only their user can replace: the URL that a task of InfluxDB sends to. Such a URL is a
//! secret (anyone who knows it can post), so no error repeats a value.

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::builder::{StringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, Command, Subcommand};
use clap_complete::Shell;
use email_address::{EmailAddress, Options};
use url::{SyntaxViolation, Url};

use crate::output::quietly;
use crate::{cli, manual};

const TELEGRAF_CONF: &str = include_str!("../../../telegraf/telegraf.conf");
const TELEGRAF_D_CONF: &str = include_str!("../../../telegraf/algorithmia.conf");
const SYSTEMD_DROPIN: &str = include_str!("../../../packaging/telegraf-algorithmia.conf");
const INFLUXDB: &str = include_str!("../../../telegraf/influxdb-template.yml");
const DRIFT: &str = include_str!("../../../telegraf/influxdb-drift.yml");
const SLACK: &str = include_str!("../../../telegraf/influxdb-slack.yml");
const PAGERDUTY: &str = include_str!("../../../telegraf/influxdb-pagerduty.yml");
const HTTP: &str = include_str!("../../../telegraf/influxdb-http.yml");
const EMAIL: &str = include_str!("../../../telegraf/influxdb-email.yml");
const GRAFANA: &str = include_str!("../../../telegraf/grafana-dashboard.json");

/// The placeholders in the templates. Each is a whole string in Flux, within a block scalar (`|`) of YAML.
const SLACK_URL: &str = "https://hooks.slack.com/services/REPLACE/WITH/YOURS";
const HTTP_URL: &str = "https://example.com/algorithmia-alerts";
const EMAIL_URL: &str = "https://api.sendgrid.com/v3/mail/send";
const EMAIL_FROM: &str = "alerts@example.com";
/// The only item of a list.
const EMAIL_TO: &str = "you@example.com";

/// The options of `generate`.
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true, subcommand_value_name = "WHAT", subcommand_help_heading = "What")]
pub struct Generate {
    #[command(subcommand)]
    what: What,
}

/// What can be written.
#[derive(Debug, Subcommand)]
enum What {
    /// Telegraf's configuration
    TelegrafConf,
    /// InfluxDB template: dashboards, checks, Telegraf's configuration
    InfluxdbTemplate,
    /// InfluxDB template, in addition to that: a dashboard and checks for drift of what models report
    DriftTemplate,
    /// InfluxDB template: alerts to Slack
    SlackTemplate {
        /// URL of an incoming webhook of Slack
        #[arg(long, value_name = "URL", env = "ALGORITHMIA_SLACK_URL", hide_env_values = true, value_parser = URL)]
        slack_url: String,
    },
    /// InfluxDB template: alerts to PagerDuty
    PagerdutyTemplate,
    /// InfluxDB template: alerts to your own server, as JSON
    HttpTemplate {
        /// URL of the server
        #[arg(long, value_name = "URL", env = "ALGORITHMIA_HTTP_URL", hide_env_values = true, value_parser = URL)]
        http_url: String,
    },
    /// InfluxDB template: alerts by email
    EmailTemplate {
        /// Sender
        #[arg(long, value_name = "ADDRESS", env = "ALGORITHMIA_EMAIL_FROM", hide_env_values = true)]
        #[arg(value_parser = ADDRESS)]
        email_from: String,

        /// Recipients (repeatable, or separated by commas)
        #[arg(long, value_name = "ADDRESS", env = "ALGORITHMIA_EMAIL_TO", hide_env_values = true)]
        #[arg(value_parser = ADDRESS, value_delimiter = ',', required = true)]
        email_to: Vec<String>,

        /// API of the service that sends the mail
        #[arg(long, value_name = "URL", env = "ALGORITHMIA_EMAIL_URL", hide_env_values = true)]
        #[arg(value_parser = URL, default_value = EMAIL_URL)]
        email_url: String,
    },
    /// Grafana dashboard of the models, for an InfluxDB data source with InfluxQL
    GrafanaDashboard,
    /// Telegraf's configuration for the folder telegraf.d, inactive until its variables are set
    TelegrafDConf,
    /// Drop-in for telegraf.service that restricts what Telegraf may do
    SystemdDropin,
    /// The man page
    Man,
    /// Completions for bash
    CompleteBash,
    /// Completions for zsh
    CompleteZsh,
    /// Completions for fish
    CompleteFish,
}

/// Why a value is refused. The text goes on from "the value".
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("is no URL that InfluxDB can use ({0}): give the whole of it, such as https://example.com/alerts")]
    NoUrl(String),
    #[error("has to start with `https://` or `http://`")]
    OtherScheme,
    #[error("holds a user or password (`USER:PASSWORD@`), and InfluxDB shows a URL to everybody: leave that out")]
    Credentials,
    #[error(
        "holds a space, `\"`, `\\`, a control character or one that is not ASCII: in a URL, write each byte of it as `%` and \
         two hexadecimal digits"
    )]
    Character,
    #[error("holds `${{`, which InfluxDB takes for the start of an expression: write `$%7B`")]
    Expression,
    #[error("is no email address ({0}): give one such as alerts@example.com")]
    NoAddress(String),
}

/// A parser that accepts the values that pass its check. Its errors do not repeat the value.
#[derive(Clone, Copy)]
struct Checked(fn(&str) -> Result<(), Refusal>);

const URL: Checked = Checked(check_url);
const ADDRESS: Checked = Checked(check_address);

impl TypedValueParser for Checked {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&clap::Arg>, value: &OsStr) -> Result<String, clap::Error> {
        let text = StringValueParser::new().parse_ref(command, arg, value)?;
        let option = arg.and_then(clap::Arg::get_long).unwrap_or_default();
        match (self.0)(&text) {
            Ok(()) => Ok(text),
            Err(why) => {
                let message = format!("the value of `--{option}` {why}");
                Err(command.clone().error(ErrorKind::ValueValidation, message))
            }
        }
    }
}

impl Generate {
    pub fn run(self) -> Result<ExitCode> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(self.what.text().as_bytes()).and_then(|()| stdout.flush());
        quietly(written.context("cannot write to stdout: check that there is room where it goes"))
    }
}

impl What {
    fn text(&self) -> Cow<'static, str> {
        match self {
            What::TelegrafConf => TELEGRAF_CONF.into(),
            What::TelegrafDConf => TELEGRAF_D_CONF.into(),
            What::SystemdDropin => SYSTEMD_DROPIN.into(),
            What::Man => manual::page(cli::command()).into(),
            What::CompleteBash => manual::completions(cli::command(), Shell::Bash).into(),
            What::CompleteZsh => manual::completions(cli::command(), Shell::Zsh).into(),
            What::CompleteFish => manual::completions(cli::command(), Shell::Fish).into(),
            What::InfluxdbTemplate => INFLUXDB.into(),
            What::DriftTemplate => DRIFT.into(),
            What::PagerdutyTemplate => PAGERDUTY.into(),
            What::GrafanaDashboard => GRAFANA.into(),
            What::SlackTemplate { slack_url } => fill(SLACK, &[(flux(SLACK_URL), flux(slack_url))]).into(),
            What::HttpTemplate { http_url } => fill(HTTP, &[(flux(HTTP_URL), flux(http_url))]).into(),
            What::EmailTemplate { email_from, email_to, email_url } => {
                let to = email_to.iter().map(|to| flux(to)).collect::<Vec<_>>().join(", ");
                let (url, from) = (flux(email_url), flux(email_from));
                fill(EMAIL, &[(flux(EMAIL_URL), url), (flux(EMAIL_FROM), from), (flux(EMAIL_TO), to)]).into()
            }
        }
    }
}

/// Checks that a text is an absolute URL for InfluxDB, too. InfluxDB uses Go, which is stricter than browsers are.
fn check_url(text: &str) -> Result<(), Refusal> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\')) {
        return Err(Refusal::Character);
    }
    // For people who edit the Flux that contains the URL, this is the start of an expression.
    if text.contains("${") {
        return Err(Refusal::Expression);
    }
    let violation = Cell::new(None);
    let note = |found| match found {
        // For example braces: not strictly valid, but all programs read them the same way.
        SyntaxViolation::NonUrlCodePoint => {}
        found => violation.set(violation.get().or(Some(found))),
    };
    let url = Url::options().syntax_violation_callback(Some(&note)).parse(text);
    let url = url.map_err(|error| Refusal::NoUrl(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Refusal::OtherScheme);
    }
    match violation.get() {
        Some(SyntaxViolation::EmbeddedCredentials) => return Err(Refusal::Credentials),
        Some(violation) => return Err(Refusal::NoUrl(violation.description().to_owned())),
        None => {}
    }
    if text.split(['/', '?', '#']).nth(2).is_some_and(|host| host.contains('%')) {
        return Err(Refusal::NoUrl("`%` in the host's name".to_owned()));
    }
    Ok(())
}

fn check_address(text: &str) -> Result<(), Refusal> {
    let options = Options::default().with_required_tld().without_display_text().without_domain_literal();
    match EmailAddress::parse_with_options(text, options) {
        Err(error) => Err(Refusal::NoAddress(error.to_string())),
        Ok(_) if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(Refusal::NoAddress("it holds a space or what is not ASCII".to_owned()))
        }
        Ok(_) => Ok(()),
    }
}

/// A text without control characters as a string in Flux. The `$` is escaped as `\x24`, since Flux reads it together
/// with whatever follows, even an escape.
fn flux(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#).replace('$', r"\x24"))
}

/// The text with the placeholders replaced by values. Inserted values are not searched again, since a value may contain
/// another placeholder.
fn fill(text: &str, values: &[(String, String)]) -> String {
    let mut filled = String::new();
    let mut rest = text;
    let next = |rest: &str| {
        let found = values.iter().filter_map(|(example, value)| rest.find(example).map(|at| (at, example, value)));
        found.min_by_key(|(at, ..)| *at)
    };
    while let Some((at, example, value)) = next(rest) {
        filled += &rest[..at];
        filled += value;
        rest = &rest[at + example.len()..];
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_example_stands_in_one_place_and_is_the_whole_value_there() {
        for (file, example, context) in [
            (SLACK, SLACK_URL, format!("\n    url = {}\n", flux(SLACK_URL))),
            (HTTP, HTTP_URL, format!("\n    url = {}\n", flux(HTTP_URL))),
            (EMAIL, EMAIL_URL, flux(EMAIL_URL)),
            (EMAIL, EMAIL_FROM, flux(EMAIL_FROM)),
            (EMAIL, EMAIL_TO, format!("[{}]", flux(EMAIL_TO))),
        ] {
            assert_eq!(file.matches(example).count(), 1, "{example}");
            assert_eq!(file.matches(&context).count(), 1, "{context}");
        }
    }

    #[test]
    fn values_are_not_taken_for_examples() {
        let what = What::EmailTemplate {
            email_url: "https://example.com/you".to_owned(),
            email_from: EMAIL_TO.to_owned(),
            email_to: vec![EMAIL_FROM.to_owned(), EMAIL_TO.to_owned()],
        };
        let text = what.text();
        assert_eq!(text.matches(EMAIL_FROM).count(), 1, "{text}");
        assert_eq!(text.matches(EMAIL_TO).count(), 2, "{text}");
        assert!(text.contains(&format!("[{}, {}]", flux(EMAIL_FROM), flux(EMAIL_TO))), "{text}");
    }
}
