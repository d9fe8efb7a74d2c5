//! The files that the program carries and writes out: Telegraf's configuration, templates for InfluxDB, and what makes the
//! program at home in a system: its man page and the completions of its options.
//!
//! Some have an example in them that only their user can replace: InfluxDB takes the URL of an endpoint from nowhere but the
//! template itself. Such a URL is a secret (whoever knows it can post), so no error repeats a value.

use std::borrow::Cow;
use std::cell::Cell;

use clap::{Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use email_address::{EmailAddress, Options};
use url::{SyntaxViolation, Url};

const TELEGRAF_CONF: &str = include_str!("../../../telegraf/telegraf.conf");
const TELEGRAF_D_CONF: &str = include_str!("../../../telegraf/algorithmia.conf");
const SYSTEMD_DROPIN: &str = include_str!("../../../packaging/telegraf-algorithmia.conf");
const INFLUXDB: &str = include_str!("../../../telegraf/influxdb-template.yml");
const DRIFT: &str = include_str!("../../../telegraf/influxdb-drift.yml");
const SLACK: &str = include_str!("../../../telegraf/influxdb-slack.yml");
const PAGERDUTY: &str = include_str!("../../../telegraf/influxdb-pagerduty.yml");
const HTTP: &str = include_str!("../../../telegraf/influxdb-http.yml");
const EMAIL: &str = include_str!("../../../telegraf/influxdb-email.yml");

/// What the man page says beside what the command line knows of itself.
const MANUAL: &str = include_str!("manual.roff");

/// The versions of the Debian package, and when each was made.
const RELEASES: &str = include_str!("../../../packaging/debian/changelog");

/// How the program is called. All options at once would only hide it.
const USAGE: &str = "\
telegraf-algorithmia [OPTION]... [FILE]...
telegraf-algorithmia --replay DIR
telegraf-algorithmia --generate KIND [OPTION]...";

/// What is replaced in them, each the whole of a YAML value or of a string in Flux, which is within YAML's `|`.
const SLACK_URL: &str = "https://hooks.slack.com/services/REPLACE/WITH/YOURS";
const HTTP_URL: &str = "https://example.com/algorithmia-alerts";
const EMAIL_URL: &str = "https://api.sendgrid.com/v3/mail/send";
const EMAIL_FROM: &str = "alerts@example.com";
/// The only item of a list.
const EMAIL_TO: &str = "you@example.com";

/// What can be written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Telegraf's configuration
    TelegrafConf,
    /// InfluxDB template: bucket, dashboards, checks
    InfluxdbTemplate,
    /// InfluxDB template, on top of that: how far what models report has drifted; a dashboard, checks
    DriftTemplate,
    /// InfluxDB template: alerts go to Slack (`--slack-url`)
    SlackTemplate,
    /// InfluxDB template: alerts go to PagerDuty
    PagerdutyTemplate,
    /// InfluxDB template: alerts go to a server of your own (`--http-url`)
    HttpTemplate,
    /// InfluxDB template: alerts go out as email (`--email-from`, `--email-to`)
    EmailTemplate,
    /// Telegraf's configuration, to stand beside another in telegraf.d: inactive until its variables are set
    TelegrafDConf,
    /// Drop-in for telegraf.service: what Telegraf may not do any more
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

/// What the user knows, by the option that it is given with.
#[derive(Debug, Default)]
pub struct Values {
    pub slack_url: Option<String>,
    pub http_url: Option<String>,
    pub email_url: Option<String>,
    pub email_from: Option<String>,
    pub email_to: Vec<String>,
}

/// Why nothing is written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("`--generate {kind}` needs `--{option}`: with the example in its place, alerts would reach nobody")]
    Missing { kind: String, option: &'static str },
    #[error("the value of `--{option}` {why}")]
    Refused { option: &'static str, why: Refusal },
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

impl Kind {
    /// As it is called on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The options whose values go into it.
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Kind::SlackTemplate => &["slack-url"],
            Kind::HttpTemplate => &["http-url"],
            Kind::EmailTemplate => &["email-url", "email-from", "email-to"],
            _ => &[],
        }
    }

    /// The whole text; `command` is the program's command line, which some describe.
    ///
    /// # Errors
    /// Where a value is missing, or would not work; the error says what to give.
    pub fn text(self, values: &Values, command: Command) -> Result<Cow<'static, str>, Error> {
        Ok(match self {
            Kind::TelegrafConf => TELEGRAF_CONF.into(),
            Kind::TelegrafDConf => TELEGRAF_D_CONF.into(),
            Kind::SystemdDropin => SYSTEMD_DROPIN.into(),
            Kind::Man => man(command).into(),
            Kind::CompleteBash => completions(Shell::Bash, command).into(),
            Kind::CompleteZsh => completions(Shell::Zsh, command).into(),
            Kind::CompleteFish => completions(Shell::Fish, command).into(),
            Kind::InfluxdbTemplate => INFLUXDB.into(),
            Kind::DriftTemplate => DRIFT.into(),
            Kind::PagerdutyTemplate => PAGERDUTY.into(),
            Kind::SlackTemplate => {
                let url = self.checked("slack-url", values.slack_url.as_deref(), check_url)?;
                fill(SLACK, &[(SLACK_URL.to_owned(), yaml(url))]).into()
            }
            Kind::HttpTemplate => {
                let url = self.checked("http-url", values.http_url.as_deref(), check_url)?;
                fill(HTTP, &[(HTTP_URL.to_owned(), yaml(url))]).into()
            }
            Kind::EmailTemplate => {
                let url = values.email_url.as_deref().unwrap_or(EMAIL_URL);
                let url = self.checked("email-url", Some(url), check_url)?;
                let from = self.checked("email-from", values.email_from.as_deref(), check_address)?;
                if values.email_to.is_empty() {
                    return Err(self.missing("email-to"));
                }
                let to = values.email_to.iter().map(|to| self.checked("email-to", Some(to), check_address).map(flux));
                let to = to.collect::<Result<Vec<_>, _>>()?.join(", ");
                fill(EMAIL, &[(flux(EMAIL_URL), flux(url)), (flux(EMAIL_FROM), flux(from)), (flux(EMAIL_TO), to)])
                    .into()
            }
        })
    }

    /// The value of an option that has to be there, if `check` finds nothing wrong with it.
    fn checked<'a>(
        self,
        option: &'static str,
        value: Option<&'a str>,
        check: fn(&str) -> Result<(), Refusal>,
    ) -> Result<&'a str, Error> {
        let value = value.ok_or_else(|| self.missing(option))?;
        check(value).map(|()| value).map_err(|why| Error::Refused { option, why })
    }

    fn missing(self, option: &'static str) -> Error {
        Error::Missing { kind: self.name(), option }
    }
}

/// The man page: the options as the command line knows them, and the sections that are written by hand.
fn man(command: Command) -> String {
    let version = format!("telegraf-algorithmia {}", command.get_version().unwrap_or_default());
    let command = command.override_usage(USAGE).after_help(None::<&str>).after_long_help(None::<&str>);
    let man = Man::new(command).section("1").date(release_date()).source(version).manual("User Commands");
    let page = written(|out| man.render(out));
    let (page, _) = page.split_once(".SH VERSION\n").unwrap_or((&page, ""));
    // A group of options is no section of its own: what is about the input, say, has one already. And of a break, an empty line
    // and a break, man pages take offence at the breaks.
    let (start, options) = page.split_once(".SH OPTIONS\n").unwrap_or((page, ""));
    let options = options.replace(".SH ", ".SS ").replace(".br\n\n.br\n", ".sp\n");
    format!("{start}.SH OPTIONS\n{options}{MANUAL}")
}

/// The day of this version, in the form YYYY-MM-DD: so the same version always gives the same page.
fn release_date() -> String {
    let latest = RELEASES.lines().find_map(|line| line.strip_prefix(" -- ")?.rsplit_once("  "));
    let time = latest.and_then(|(_, time)| jiff::fmt::rfc2822::parse(time).ok());
    time.map_or_else(String::new, |time| time.date().to_string())
}

fn completions(shell: Shell, command: Command) -> String {
    let name = "telegraf-algorithmia";
    // What is hidden in the help is not offered either.
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned();
    let mut shown = Command::new(name).version(env!("CARGO_PKG_VERSION")).args(shown);
    written(|out| {
        clap_complete::generate(shell, &mut shown, name, out);
        Ok(())
    })
}

/// The text that `write` writes. Memory takes all that is written to it, and it is text.
fn written(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    let _ = write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether a text is an absolute URL as InfluxDB reads it too, which in Go is stricter than browsers are.
fn check_url(text: &str) -> Result<(), Refusal> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\')) {
        return Err(Refusal::Character);
    }
    // InfluxDB writes the URL into the Flux that sends alerts, and does not escape this.
    if text.contains("${") {
        return Err(Refusal::Expression);
    }
    let violation = Cell::new(None);
    let note = |found| match found {
        // Such as braces: not quite right, but everybody reads them the same.
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

/// A text without control characters as a string in YAML.
fn yaml(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A text without control characters as a string in Flux, which takes `$` together with whatever follows it, even an escape.
fn flux(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#).replace('$', r"\x24"))
}

/// The text with values in the place of examples. What is put in is not searched again: it may be what another example is.
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
            (SLACK, SLACK_URL, format!("\n  url: {SLACK_URL}\n")),
            (HTTP, HTTP_URL, format!("\n  url: {HTTP_URL}\n")),
            (EMAIL, EMAIL_URL, flux(EMAIL_URL)),
            (EMAIL, EMAIL_FROM, flux(EMAIL_FROM)),
            (EMAIL, EMAIL_TO, format!("[{}]", flux(EMAIL_TO))),
        ] {
            assert_eq!(file.matches(example).count(), 1, "{example}");
            assert_eq!(file.matches(&context).count(), 1, "{context}");
        }
    }

    #[test]
    fn the_version_has_a_day() {
        let date = release_date();
        assert!(date.starts_with("20") && date.len() == "2026-11-25".len(), "{date:?}");
        let version = format!("telegraf-algorithmia ({}-", env!("CARGO_PKG_VERSION"));
        assert!(RELEASES.starts_with(&version), "the package's changelog begins with this version");
    }

    #[test]
    fn values_are_not_taken_for_examples() {
        let given = |text: &str| Some(text.to_owned());
        let values = Values {
            email_url: given("https://example.com/you"),
            email_from: given(EMAIL_TO),
            email_to: vec![EMAIL_FROM.to_owned(), EMAIL_TO.to_owned()],
            ..Values::default()
        };
        let text = Kind::EmailTemplate.text(&values, Command::new("test")).unwrap();
        assert_eq!(text.matches(EMAIL_FROM).count(), 1, "{text}");
        assert_eq!(text.matches(EMAIL_TO).count(), 2, "{text}");
        assert!(text.contains(&format!("[{}, {}]", flux(EMAIL_FROM), flux(EMAIL_TO))), "{text}");
    }

    #[test]
    fn every_option_belongs_to_one_kind() {
        let mut options: Vec<_> = Kind::value_variants().iter().flat_map(|kind| kind.options()).collect();
        let count = options.len();
        options.sort_unstable();
        options.dedup();
        assert_eq!(options.len(), count);
    }
}
