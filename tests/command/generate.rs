//! `generate`: the files that the command carries, what it takes to put into them, and that InfluxDB takes them; the man
//! page and the completions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use fixtures::command::{command, exit_code, spawn, text};
use fixtures::generate::{HTTP_EXAMPLE, KINDS, SLACK_EXAMPLE, file, generate, generated};

/// URLs that are no good, whatever they are for.
const WRONG_URLS: [&str; 35] = [
    "",
    "REPLACE",
    "hooks.example.com/services/secret",
    "//hooks.example.com/secret",
    "/services/secret",
    "ftp://hooks.example.com/secret",
    "file:///etc/secret",
    "javascript:secret()",
    "mailto:secret@example.com",
    "https:",
    "https://",
    "https:///hooks.example.com/secret",
    "https:/hooks.example.com/secret",
    "https:hooks.example.com/secret",
    "https:\\\\hooks.example.com\\secret",
    "https://hooks.example.com\\secret",
    "https://?secret",
    "https://:8080/secret",
    "https://hooks.example.com:port/secret",
    "https://hooks.example.com:99999/secret",
    "https://user:secret@hooks.example.com/",
    "https://secret@hooks.example.com/",
    "https://@hooks.example.com/secret",
    "https://hooks example.com/secret",
    " https://hooks.example.com/secret",
    "https://hooks.example.com/secret ",
    "https://hooks.example.com/secret\n",
    "https://hooks.example.com/se\ncret",
    "https://hooks.example.com/se\tcret\u{7f}",
    "https://hooks.example.com/sécret\u{2028}",
    "https://hooks.example.com/%secret",
    "https://hooks%2eexample.com/secret",
    "https://[::1/secret",
    "https://hooks.example.com/\"secret\"",
    "https://hooks.example.com/secret${1+1}",
];

const WRONG_ADDRESSES: [&str; 12] = [
    "",
    "secret",
    "@secret.example",
    "secret@",
    "secret@localhost",
    "secret@example..com",
    "se cret@example.com",
    "Name <secret@example.com>",
    "secret@example.com\n",
    "sécret@example.com",
    "secret@[127.0.0.1]",
    "secret@example.com;other@example.com",
];

/// Asserts that it has written nothing but why, and not what was wrong.
fn check_refusal(output: &Output, option: &str, value: &str) -> String {
    let stderr = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""), "{value:?}: {stderr}");
    assert!(stderr.starts_with(&format!("error: the value of `{option}` ")), "{value:?}: {stderr}");
    for part in ["secret", "cret", "hooks"] {
        assert!(!value.contains(part) || !stderr.contains(part), "{value:?}: {stderr}");
    }
    stderr
}

#[test]
fn each_file_is_written_as_it_is() {
    for (kind, name, args) in KINDS {
        let mut expected = file(name);
        for (option, example) in [
            ("--slack-url", SLACK_EXAMPLE),
            ("--http-url", HTTP_EXAMPLE),
            ("--email-from", "alerts@example.com"),
            ("--email-to", "you@example.com"),
        ] {
            if let Some(at) = args.iter().position(|arg| *arg == option) {
                expected = expected.replace(example, args[at + 1]);
            }
        }
        let written = generated(kind, args);
        assert!(written == expected, "{kind}:\n{written}\ninstead of\n{expected}");
        assert_eq!(written == file(name), args.is_empty(), "{kind}");
    }
}

/// The settings of a configuration for Telegraf, each by its path. Of plugins there is one of each name.
fn telegraf_settings(file_name: &str) -> BTreeMap<String, String> {
    fn walk(path: &str, value: &toml::Value, settings: &mut BTreeMap<String, String>) {
        match value {
            toml::Value::Table(table) => table.iter().for_each(|(key, value)| {
                let separator = if path.is_empty() { "" } else { "." };
                walk(&format!("{path}{separator}{key}"), value, settings);
            }),
            toml::Value::Array(items) if items.iter().all(toml::Value::is_table) => {
                assert_eq!(items.len(), 1, "{path}");
                walk(path, &items[0], settings);
            }
            value => drop(settings.insert(path.to_owned(), value.to_string())),
        }
    }
    let mut settings = BTreeMap::new();
    walk("", &toml::Value::Table(file(file_name).parse().unwrap()), &mut settings);
    settings
}

#[test]
fn the_configuration_for_telegraf_d_is_telegraf_conf_but_for_what_it_has_to_be() {
    let (whole, part) = (telegraf_settings("telegraf.conf"), telegraf_settings("algorithmia.conf"));
    // Settings of telegraf.conf, with what they are in the part; and those that only this has.
    let all_set = "${KAFKA_BROKER:+${KAFKA_TOPIC:+${INFLUX_ORG:+${INFLUX_TOKEN:+";
    let if_set = |value: &str| format!("{all_set}{value}}}}}}}}}");
    let quoted = |value: &str| format!("\"{value}\"");
    let differ: BTreeMap<&str, String> = [
        ("inputs.kafka_consumer.startup_error_behavior", quoted("ignore")),
        ("inputs.internal.interval", quoted(&format!("50{}000h", if_set("ms0")))),
        ("inputs.internal.tagpass.output", String::new()),
        ("processors.execd.namepass", format!("[\"algorithmia_message\", \"{}\"]", if_set("internal_write"))),
        ("outputs.influxdb_v2.namedrop", String::new()),
    ]
    .into();
    let security =
        ["tls_ca", "tls_server_name", "tls_cert", "tls_key", "sasl_mechanism", "sasl_username", "sasl_password"]
            .map(|name| format!("inputs.kafka_consumer.{name}"));
    let only_part = [
        "inputs.internal.alias",
        "inputs.internal.collection_jitter",
        "inputs.internal.tagpass.alias",
        "inputs.internal.tags.algorithmia",
        "inputs.kafka_consumer.alias",
        "inputs.kafka_consumer.consumer_fetch_max_wait",
        "inputs.kafka_consumer.metadata_full",
        "inputs.kafka_consumer.name_override",
        "outputs.influxdb_v2.alias",
        "outputs.influxdb_v2.flush_jitter",
        "outputs.influxdb_v2.namepass",
        "processors.execd.alias",
        "processors.execd.environment",
        "processors.execd.order",
    ];
    // A variable that has to be set there leaves the part inactive here.
    let lenient = |value: &str| {
        let mut lenient = String::new();
        let mut rest = value;
        while let Some((before, behind)) = rest.split_once(":?") {
            lenient += before;
            lenient += ":-";
            rest = &behind[behind.find('}').unwrap()..];
        }
        (lenient + rest).replace("${KAFKA_BROKER}", "${KAFKA_BROKER:-}").replace("${KAFKA_TOPIC}", "${KAFKA_TOPIC:-}")
    };
    for (path, value) in &whole {
        // Of one agent there is one table. What an output can have of its own stands there.
        let mut here = path.clone();
        if let Some(name) = path.strip_prefix("agent.") {
            if name == "skip_processors_after_aggregators" {
                continue;
            }
            here = format!("outputs.influxdb_v2.{name}");
        }
        if path == "processors.execd.command" {
            continue;
        }
        let expected = match differ.get(path.as_str()) {
            Some(other) => other.clone(),
            // A file that is missing must not keep a Telegraf from starting that has other uses for these variables.
            None if security.contains(path) => quoted(&if_set(value.trim_matches('"'))),
            None => lenient(value),
        };
        let is = part.get(&here).cloned().unwrap_or_default();
        assert_eq!(is, expected, "{path} in telegraf.conf, {here} in algorithmia.conf");
    }
    for path in part.keys() {
        let known = whole.contains_key(path)
            || path
                .strip_prefix("outputs.influxdb_v2.")
                .is_some_and(|name| whole.contains_key(&format!("agent.{name}")))
            || only_part.contains(&path.as_str())
            || security.contains(path)
            || path.starts_with("processors.starlark.");
        assert!(known, "{path} is in algorithmia.conf alone");
    }
    assert_eq!(
        part["inputs.kafka_consumer.consumer_fetch_max_wait"],
        quoted(&format!("5{}us", if_set("00000"))),
        "what decides over all"
    );

    // The command's options are variables here; those that both have are the same.
    let parsed: toml::Table = file("telegraf.conf").parse().unwrap();
    let command = parsed["processors"]["execd"][0]["command"].as_array().unwrap();
    let command: Vec<_> = command.iter().map(|item| item.as_str().unwrap()).collect();
    let parsed: toml::Table = file("algorithmia.conf").parse().unwrap();
    let execd = &parsed["processors"]["execd"][0];
    let variables = execd["environment"].as_array().unwrap().iter().map(|item| item.as_str().unwrap());
    let mut variables: BTreeMap<_, _> = variables.map(|item| item.split_once('=').unwrap()).collect();
    assert_eq!(execd["command"][3].as_str().unwrap(), if_set(command[0]));
    let mut options = command[1..].iter().peekable();
    assert_eq!(options.next(), Some(&"execd"));
    while let Some(option) = options.next() {
        let value = options.next_if(|next| !next.starts_with("--")).unwrap_or(&"true");
        let name = format!("ALGORITHMIA_{}", option.trim_start_matches('-').to_uppercase().replace('-', "_"));
        assert_eq!(variables.remove(name.as_str()), Some(*value), "{name}");
    }
    let others: Vec<_> = variables.into_iter().collect();
    assert_eq!(others, [("ALGORITHMIA_FLOW_OUTPUT", "algorithmia"), ("ALGORITHMIA_SOURCE", "algorithmia_message")]);
}

#[test]
fn the_template_holds_telegraf_conf() {
    let indented = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") };
    let configuration: String = file("telegraf.conf").lines().map(indented).collect();
    let is_there = file("influxdb-template.yml").contains(&format!("\n  config: |\n{configuration}"));
    assert!(is_there, "copy telegraf.conf into the template");
}

/// The commands that have options.
const COMMANDS: [&[&str]; 7] = [
    &["convert"],
    &["execd"],
    &["inspect"],
    &["generate", "slack-template"],
    &["generate", "http-template"],
    &["generate", "email-template"],
    &["replay"],
];

/// Flux has no place for what several cells share, so each repeats it.
#[test]
fn cells_repeat_the_same_flux() {
    let templates = file("influxdb-template.yml") + &file("influxdb-drift.yml");
    let lines: Vec<_> = templates.lines().map(str::trim_start).collect();
    let escapes: BTreeSet<_> = lines.iter().filter(|line| line.starts_with("plain = ")).collect();
    assert_eq!(escapes.len(), 1, "{escapes:#?}");
    // How a cell finds out whether a field has one type.
    let mut kinds: Vec<String> = Vec::new();
    for (end, _) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("isNumeric = ")) {
        let start = lines[..end].iter().rposition(|line| line.starts_with("start = date.time(")).expect("the start");
        let field = lines[start..end].iter().find_map(|line| line.split_once("r._field == ")).expect("a field").1;
        let field = field.strip_suffix(')').expect("the end of a filter");
        kinds.push(lines[start..=end].join("\n").replace(field, "FIELD"));
    }
    assert!(kinds.len() > 1 && kinds.iter().all(|kind| *kind == kinds[0]), "{kinds:#?}");
}

#[test]
fn the_man_page_names_every_option_with_its_variable_and_default() {
    let page = generated("man", &[]).replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\fI", "");
    let help: String = COMMANDS.map(|args| text(&command().args(args).arg("--help").output().unwrap().stdout)).concat();
    let word = |text: &str, start: &str| -> Vec<String> {
        let at = text.match_indices(start).map(|(at, _)| at);
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        at.map(|at| text[at..].split(|c| !is_part(c)).next().unwrap().to_owned()).collect()
    };
    let options: BTreeSet<_> = help
        .lines()
        .filter(|line| line.trim_start().starts_with('-'))
        .flat_map(|line| word(line, "--").into_iter().take(1))
        .collect();
    assert!(options.len() > 25, "{options:?}");
    for option in options {
        let heads =
            |line: &str| line.strip_prefix(&option).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
        let is_there = page.lines().any(|line| heads(line.split_once(", ").map_or(line, |(_, long)| long)));
        assert!(is_there, "{option} is missing:\n{page}");
    }
    let variables: BTreeSet<_> = word(&help, "ALGORITHMIA_").into_iter().collect();
    assert!(variables.len() > 20, "{variables:?}");
    for variable in variables {
        assert!(page.contains(&variable), "{variable} is missing:\n{page}");
    }
    assert!(page.contains("--max-message <BYTES> [default: 1048576]"), "{page}");
    for command in ["convert", "execd", "inspect", "generate", "replay", "slack-template", "complete-zsh"] {
        assert!(page.lines().any(|line| line == command), "{command} is missing:\n{page}");
    }
    // The sections, each once.
    let sections: Vec<_> = page.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
    let expected = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "COMMANDS",
        "OPTIONS",
        "INPUT",
        "OUTPUT",
        "EXIT STATUS",
        "SIGNALS",
        "ENVIRONMENT",
        "FILES",
        "EXAMPLES",
        "SEE ALSO",
    ];
    assert_eq!(sections, expected);
}

#[test]
fn what_describes_the_command_line_does_not_depend_on_the_environment() {
    for kind in ["man", "complete-bash", "complete-zsh", "complete-fish"] {
        let mut other = command();
        other
            .args(["generate", kind])
            .env("ALGORITHMIA_FIELD", "other")
            .env("ALGORITHMIA_SOURCE", "")
            .stdin(Stdio::null());
        assert!(text(&other.output().unwrap().stdout) == generated(kind, &[]), "{kind}");
    }
}

/// An option that the program gives itself, and one for tests.
#[test]
fn what_is_hidden_is_offered_nowhere() {
    let helps = ["--help", "-h"].into_iter().flat_map(|help| {
        [&["execd"][..], &["convert"], &["inspect"], &[]]
            .map(|args| text(&command().args(args).arg(help).output().unwrap().stdout))
    });
    let files = ["man", "complete-bash", "complete-zsh", "complete-fish"].map(|kind| generated(kind, &[]));
    for text in helps.chain(files) {
        assert!(text.replace('\\', "").contains("max-message"), "{text}");
        for hidden in ["--worker", "-l worker", "patience"] {
            assert!(!text.replace('\\', "").contains(hidden), "{hidden} is in {text}");
        }
    }
}

#[test]
fn bash_completes_options_and_their_values() {
    let script = generated("complete-bash", &[]);
    let complete = |words: &str| -> Vec<String> {
        let ask = "\nCOMP_WORDS=($1 \"$2\"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
                   $(complete -p telegraf-algorithmia | sed 's/.*-F \\([^ ]*\\).*/\\1/') telegraf-algorithmia \"$2\" \
                   \"${COMP_WORDS[COMP_CWORD - 1]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
        let (before, last) = words.rsplit_once(' ').unwrap();
        let output =
            Command::new("bash").args(["-c", &format!("{script}{ask}"), "bash", before, last]).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{words}");
        text(&output.stdout).lines().map(str::to_owned).collect()
    };
    assert_eq!(
        complete("telegraf-algorithmia execd --jour"),
        ["--journal", "--journal-window", "--journal-size", "--journal-sync"]
    );
    assert_eq!(complete("telegraf-algorithmia in"), ["inspect"]);
    assert_eq!(complete("telegraf-algorithmia generate complete-"), ["complete-bash", "complete-zsh", "complete-fish"]);
    assert_eq!(complete("telegraf-algorithmia generate slack-template --sl"), ["--slack-url"]);
    assert_eq!(complete("telegraf-algorithmia inspect --format "), ["table", "json", "summary"]);
    for command in ["telegraf-algorithmia", "telegraf-algorithmia convert", "telegraf-algorithmia execd"] {
        assert_eq!(complete(&format!("{command} --input ")), ["auto", "influx", "json", "json-lines"]);
    }
    assert_eq!(complete("telegraf-algorithmia --exact-time --str"), ["--strict"]);
    assert_eq!(complete("telegraf-algorithmia convert --exact-time --str"), ["--strict"]);
    let all = complete("telegraf-algorithmia execd --");
    assert!(all.contains(&"--stats".to_owned()) && !all.contains(&"--worker".to_owned()), "{all:?}");
    assert!(!all.contains(&"--threads".to_owned()), "{all:?}");
}

#[test]
fn wrong_urls_are_refused_and_not_repeated() {
    for (kind, option, variable) in [
        ("slack-template", "--slack-url", "ALGORITHMIA_SLACK_URL"),
        ("http-template", "--http-url", "ALGORITHMIA_HTTP_URL"),
        ("email-template", "--email-url", "ALGORITHMIA_EMAIL_URL"),
    ] {
        let addresses: &[&str] = if kind == "email-template" {
            &["--email-from", "a@example.com", "--email-to", "b@example.com"]
        } else {
            &[]
        };
        for url in WRONG_URLS {
            let args = [addresses, &[option, url]].concat();
            let refusal = check_refusal(&generate(kind, &args), option, url);
            if url.is_empty() {
                continue;
            }
            let mut by_environment = command();
            by_environment.args(["generate", kind]).args(addresses).env(variable, url).stdin(Stdio::null());
            assert_eq!(check_refusal(&by_environment.output().unwrap(), option, url), refusal);
        }
    }
}

#[test]
fn wrong_addresses_are_refused_and_not_repeated() {
    for address in WRONG_ADDRESSES {
        for (option, args) in [
            ("--email-from", ["--email-to", "b@example.com", "--email-from", address]),
            ("--email-to", ["--email-from", "a@example.com", "--email-to", address]),
            ("--email-to", ["--email-from", "a@example.com", "--email-to", &format!("b@example.com,{address}")]),
        ] {
            check_refusal(&generate("email-template", &args), option, address);
        }
    }
}

#[test]
fn a_refusal_says_what_to_give() {
    for (url, advice) in [
        ("hooks.example.com/x", "give the whole of it, such as https://"),
        ("ftp://hooks.example.com/x", "has to start with `https://` or `http://`"),
        ("https://a:b@hooks.example.com/x", "holds a user or password"),
        ("https://hooks.example.com/a b", "write each byte of it as `%` and two hexadecimal digits"),
        ("https://hooks.example.com/%x", "expected 2 hex digits after %"),
        ("https://hooks.example.com/${x}", "write `$%7B`"),
    ] {
        let stderr = text(&generate("slack-template", &["--slack-url", url]).stderr);
        assert!(stderr.contains(advice), "{url}: {stderr}");
    }
    let args = ["--email-from", "a", "--email-to", "b@example.com"];
    let stderr = text(&generate("email-template", &args).stderr);
    assert!(stderr.contains("give one such as alerts@example.com"), "{stderr}");
}

#[test]
fn no_template_is_written_with_an_example_that_would_alert_nobody() {
    for (kind, args, option) in [
        ("slack-template", &[][..], "--slack-url <URL>"),
        ("http-template", &[], "--http-url <URL>"),
        ("email-template", &[], "--email-from <ADDRESS>"),
        ("email-template", &["--email-to", "b@example.com"], "--email-from <ADDRESS>"),
        ("email-template", &["--email-from", "a@example.com"], "--email-to <ADDRESS>"),
    ] {
        let output = generate(kind, args);
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""), "{kind} {args:?}: {stderr}");
        let missing = format!("error: the following required arguments were not provided:\n  {option}\n");
        assert!(stderr.starts_with(&missing), "{stderr}");
    }
}

#[test]
fn each_file_has_its_own_options_and_no_others() {
    let url = "https://hooks.example.com/secret";
    for (args, says) in [
        (&["http-template", "--slack-url", url][..], "unexpected argument '--slack-url' found"),
        (&["influxdb-template", "--email-from", "secret@x.org"], "unexpected argument '--email-from' found"),
        (&["--slack-url", url, "slack-template"], "unexpected argument '--slack-url' found"),
        (&["telegraf-conf", "file"], "unexpected argument 'file' found"),
        (&["telegraf-conf", "--journal", "d"], "unexpected argument '--journal' found"),
        (&["telegraf-conf", "--strict"], "unexpected argument '--strict' found"),
        (&["telegraf-conf", "telegraf-conf"], "unexpected argument 'telegraf-conf' found"),
        (&["nonsense"], "unrecognized subcommand 'nonsense'"),
        (&[], "telegraf-conf       Telegraf's configuration\n"),
        (&["slack-template", "--slack-uri", url], "unexpected argument '--slack-uri' found"),
        (&["slack-template", "--slack-url", url, "--slack-url", url], "cannot be used multiple times"),
    ] {
        let output = command().arg("generate").args(args).stdin(Stdio::null()).output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""), "{args:?}: {stderr}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
        assert!(!stderr.contains("secret"), "{args:?}: {stderr}");
    }
    let output = command().args(["--slack-url", url]).stdin(Stdio::null()).output().unwrap();
    let stderr = text(&output.stderr);
    assert!(stderr.contains("unexpected argument '--slack-url' found") && !stderr.contains("secret"), "{stderr}");
}

#[test]
fn values_come_from_the_environment_too() {
    let variables = [
        ("ALGORITHMIA_SLACK_URL", "https://hooks.example.com/slack"),
        ("ALGORITHMIA_HTTP_URL", "https://hooks.example.com/http"),
        ("ALGORITHMIA_EMAIL_URL", "https://hooks.example.com/email"),
        ("ALGORITHMIA_EMAIL_FROM", "from@example.org"),
        ("ALGORITHMIA_EMAIL_TO", "to@example.org,too@example.org"),
        // What is set for the work itself is no reason to refuse.
        ("ALGORITHMIA_JOURNAL", "/nonexistent"),
        ("ALGORITHMIA_STATS", "60s"),
        ("ALGORITHMIA_STRICT", "1"),
    ];
    let run = |args: &[&str]| {
        let output = command().args(args).envs(variables).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    for (kind, args) in [
        ("slack-template", &["--slack-url", "https://hooks.example.com/slack"][..]),
        ("http-template", &["--http-url", "https://hooks.example.com/http"]),
        (
            "email-template",
            &[
                "--email-from=from@example.org",
                "--email-to=to@example.org",
                "--email-to=too@example.org",
                "--email-url=https://hooks.example.com/email",
            ],
        ),
        ("telegraf-conf", &[]),
    ] {
        assert!(run(&["generate", kind]) == generated(kind, args), "{kind}");
    }
    let other = ["--slack-url", "https://hooks.example.com/other"];
    let written = run(&["generate", "slack-template", "--slack-url", other[1]]);
    assert_eq!(written, generated("slack-template", &other), "the command line counts");

    let mut empty = command();
    empty.args(["generate", "slack-template"]).env("ALGORITHMIA_SLACK_URL", "").stdin(Stdio::null());
    let stderr = text(&empty.output().unwrap().stderr);
    assert!(stderr.contains("--slack-url <URL>"), "one that is empty is not set: {stderr}");

    // Nor does a value that is no good keep from the work.
    let mut work = spawn(command().env("ALGORITHMIA_SLACK_URL", "nonsense").env("ALGORITHMIA_EMAIL_TO", "nobody"));
    work.stdin.take().unwrap().write_all(br#"{"algorithm_name":"a","x":1}"#).unwrap();
    let output = work.wait_with_output().unwrap();
    assert!(text(&output.stdout).starts_with("algorithmia,algorithm_name=a x=1 "), "{}", text(&output.stderr));
}

#[test]
fn help_names_the_files_and_hides_the_environment() {
    let secrets = ["SLACK_URL", "HTTP_URL", "EMAIL_URL", "EMAIL_FROM", "EMAIL_TO"];
    let variables = secrets.map(|name| (format!("ALGORITHMIA_{name}"), "https://hooks.example.com/secret"));
    let help = |args: &[&str], help: &str| {
        let output = command().arg("generate").args(args).arg(help).envs(variables.clone()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let written = text(&output.stdout);
        assert!(!written.contains("secret"), "{written}");
        written
    };
    for option in ["--help", "-h"] {
        let written = help(&[], option);
        for (kind, ..) in KINDS {
            assert!(
                written.lines().any(|line| line.trim_start().starts_with(kind)),
                "{kind} is missing in:\n{written}"
            );
        }
        let of_kinds = ["slack-template", "http-template", "email-template"].map(|kind| help(&[kind], option)).concat();
        let of_kinds = of_kinds.split_whitespace().collect::<Vec<_>>().join(" ");
        for (name, _) in &variables {
            assert!(of_kinds.contains(&format!("[env: {name}]")), "{name} is missing in:\n{of_kinds}");
        }
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    for (kind, _, args) in KINDS {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut generate = command();
        generate.args(["generate", kind]).args(args).stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
        let output = generate.spawn().unwrap().wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{kind}");
    }
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut generate = command();
    generate.args(["generate", "telegraf-conf"]).stdin(Stdio::null()).stdout(full).stderr(Stdio::piped());
    let output = generate.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("E! cannot write to stdout: check that there is room"), "{stderr}");
}

#[test]
fn stdin_is_nothing_to_it() {
    for (args, code) in [
        (&["generate", "telegraf-conf"][..], 0),
        (&["generate", "slack-template"], 2),
        (&["generate", "nonsense"], 2),
        (&["generate", "slack-template", "--slack-url", "nonsense"], 2),
        (&["inspect", "--no-such-option"], 2),
        (&["inspect", "--measurement", "_x"], 2),
        (&["replay"], 2),
    ] {
        // Three pipes that stay open, as Telegraf's child has them.
        let (reader, mut writer) = std::io::pipe().unwrap();
        let message = b"{\"algorithm_name\":\"a\",\"x\":1}\n";
        writer.write_all(message).unwrap();
        let mut generate = command();
        generate.args(args).stdin(reader.try_clone().unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = generate.spawn().unwrap();
        assert_eq!(exit_code(&mut child), code, "{args:?}");
        let written = text(&child.wait_with_output().unwrap().stdout);
        assert_eq!(written == file("telegraf.conf"), code == 0, "{args:?}");
        assert_eq!(rustix::io::ioctl_fionread(&reader).unwrap(), message.len() as u64, "{args:?}");
    }
}
