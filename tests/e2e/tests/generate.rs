//! `generate`: InfluxDB takes the files that it writes.

use std::collections::BTreeSet;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use fixtures::command::{command, text};
use fixtures::generate::{HTTP_EXAMPLE, KINDS, SLACK_EXAMPLE, file, generated};
use stack::{Influxdb, Value};

use crate::support::turn;

/// URLs that are good, however they look.
fn good_urls() -> Vec<String> {
    let without = |not: &str| -> String {
        let all = (b'!'..=b'~').map(char::from).filter(|c| !"\"\\".contains(*c) && !not.contains(*c));
        all.map(|c| if c == '%' { "%25".to_owned() } else { c.to_string() }).collect()
    };
    let everything = format!("https://example.com/{}?{}#{}", without("?#"), without("#"), without(""));
    let others = [
        SLACK_EXAMPLE,
        HTTP_EXAMPLE,
        "https://example.com",
        "HTTPS://EXAMPLE.com/A",
        "http://127.0.0.1:9999/hook?a=1&b=2",
        "http://[::1]:8086/",
        "https://xn--bcher-kva.example/it''s/'quoted'",
        "https://user_name.example.com:65535/?q=%20%27%22#:@!$&*",
        "https://example.com/a:",
        "https://example.com/#",
        "https://example.com/{a}-{{b}}/[c]?d={e}&f=$g$",
        "https://example.com/|>~`^<b>",
    ];
    others.into_iter().map(str::to_owned).chain([everything]).collect()
}

/// Pipes what the command writes into `influx apply`, as its help says.
fn apply(influxdb: &Influxdb, kind: &str, args: &[&str]) -> Result<()> {
    let mut generate = command().args(["generate", kind]).args(args).stdout(Stdio::piped()).spawn()?;
    let file = generate.stdout.take().context("it has a stdout")?;
    let applied = influxdb.cli(["apply", "--force", "yes"])?.stdin(file).output()?;
    ensure!(generate.wait()?.success(), "generate {kind} has failed");
    let stderr = text(&applied.stderr);
    ensure!(applied.status.success() && stderr.is_empty(), "{kind} {args:?}: {stderr}");
    Ok(())
}

/// The kinds of all that the organization has.
fn kinds(influxdb: &Influxdb) -> Result<BTreeSet<String>> {
    let output = influxdb.cli(["export", "all"])?.output()?;
    ensure!(output.status.success(), "{}", text(&output.stderr));
    Ok(kinds_in(&text(&output.stdout)))
}

fn kinds_in(template: &str) -> BTreeSet<String> {
    template.lines().filter_map(|line| line.strip_prefix("kind: ")).map(str::to_owned).collect()
}

#[test]
fn influx_applies_what_is_piped_into_it() {
    let _turn = turn();
    stack::test("generate", |dir| {
        for (kind, _, args) in KINDS.into_iter().filter(|(kind, ..)| kind.ends_with("-template")) {
            let influxdb = Influxdb::start_empty(dir)?;
            apply(&influxdb, kind, args)?;
            let (there, expected) = (kinds(&influxdb)?, kinds_in(&generated(kind, args)));
            assert!(!expected.is_empty() && expected.is_subset(&there), "{kind}: {expected:?} of {there:?}");
        }

        // However a URL looks, InfluxDB takes the task that sends alerts there.
        let influxdb = Influxdb::start_empty(dir)?;
        for (kind, option) in [("slack-template", "--slack-url"), ("http-template", "--http-url")] {
            for url in good_urls() {
                apply(&influxdb, kind, &[option, &url])?;
                for task in influxdb.list("tasks")? {
                    influxdb.delete(&format!("/api/v2/tasks/{}", task["id"].as_str().context("no id")?))?;
                }
            }
        }
        Ok(())
    });
}

#[test]
fn flux_reads_values_as_they_were_given() {
    stack::test("generate-email", |dir| {
        let influxdb = Influxdb::start_empty(dir)?;
        let addresses =
            ["a$${b}{c}@example.com", r#""q$\"{}"@example.com"#, "it's+#%&~@sub.example.com", "plain@example.com"];
        for (kind, option, example) in
            [("slack-template", "--slack-url", SLACK_EXAMPLE), ("http-template", "--http-url", HTTP_EXAMPLE)]
        {
            let original = generated(kind, &[option, example]);
            let (head, tail) = original.split_once(&format!("\"{example}\"")).context("the URL")?;
            for url in good_urls() {
                let written = generated(kind, &[option, &url]);
                let literal =
                    written.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail)).context("the rest")?;
                let rows = format!("import \"array\" array.from(rows: [{{_value: {literal}}}])");
                let read = influxdb.query(&rows)?.first().and_then(|row| row.get("_value").cloned());
                assert_eq!(read, Some(Value::String(url)), "{literal}");
            }
        }
        let original = file("influxdb-email.yml");
        let (head, rest) = original.split_once("\"https://api.sendgrid.com/v3/mail/send\"").context("the URL")?;
        let (middle, rest) = rest.split_once("\"alerts@example.com\"").context("the sender")?;
        let (last, tail) = rest.split_once("\"you@example.com\"").context("the recipient")?;
        for url in good_urls() {
            let args = ["--email-url", &url, "--email-from", addresses[0], "--email-to", &addresses.join(",")];
            let written = generated("email-template", &args);
            // The text around the values is as it was.
            let rest = written.strip_prefix(head).context("what is before the URL")?;
            let rest = rest.strip_suffix(tail).context("what is behind the recipients")?;
            let (url_in_flux, rest) = rest.split_once(middle).context("what is between URL and sender")?;
            let (from, to) = rest.split_once(last).context("what is between sender and recipients")?;
            for (literals, expected) in
                [(url_in_flux, &[url.as_str()][..]), (from, &addresses[..1]), (to, &addresses[..])]
            {
                let rows = format!("array.map(arr: [{literals}], fn: (x) => ({{_value: x}}))");
                let rows = influxdb.query(&format!("import \"array\" array.from(rows: {rows})"))?;
                let read: Vec<_> = rows.iter().filter_map(|row| row.get("_value").cloned()).collect();
                let expected: Vec<_> = expected.iter().map(|text| Value::String((*text).to_owned())).collect();
                assert_eq!(read, expected, "{literals}");
            }
        }
        Ok(())
    });
}
