//! Kafka and InfluxDB where not everybody may come in, with the shipped telegraf.conf and nothing but environment variables. What
//! docs/security.md shows is what runs here: its variables, its commands, and the lines of the log that it explains.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::certificates::Authority;
use crate::support::{LONG, environment, shipped_configuration, turn};
use anyhow::{Context, Result, ensure};
use fixtures::{Call, repository};
use jiff::Timestamp;
use stack::{BUCKET, Descendant, Dir, Influxdb, Kafka, Listener, Login, ORG, Process, TOKEN, Telegraf, wait_for};

/// The section of docs/security.md on InfluxDB's tokens.
const TOKENS: &str = "InfluxDB's tokens";

/// The variables of a Telegraf.
type Variables = Vec<(&'static str, String)>;

fn documentation() -> String {
    fs::read_to_string(repository("docs/security.md")).unwrap()
}

/// The text below a heading of docs/security.md, up to the next heading.
fn section(heading: &str) -> String {
    let text = documentation();
    let (_, below) = text.split_once(&format!(" {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    below.split("\n##").next().unwrap_or_default().to_owned()
}

/// The blocks of code in a section that are in a language.
fn blocks(heading: &str, language: &str) -> Vec<String> {
    let text = section(heading);
    let blocks = text.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix(&format!("{language}\n")).map(str::to_owned)).collect()
}

/// What the first block of a section sets, as a shell reads it. systemd reads single quotes and what is in them alike.
fn documented_variables(dir: &Dir, heading: &str) -> Result<BTreeMap<String, String>> {
    let file = dir.write("environment", &blocks(heading, "sh")[0])?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "set -a; . \"$1\"; exec env -0", "sh"]).arg(file).env_clear();
    let output = String::from_utf8(command.output()?.stdout)?;
    let pairs = output.split('\0').filter_map(|pair| pair.split_once('='));
    let pairs = pairs.filter(|(name, _)| name.starts_with("KAFKA_")).map(|(name, value)| (name.into(), value.into()));
    Ok(pairs.collect())
}

/// What the lines of the log that a section explains have in common with what really comes: the first column of its table.
fn explained(heading: &str) -> BTreeSet<String> {
    let text = section(heading);
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap_or_default().to_owned()).collect()
}

/// A message that becomes a point of its own.
fn message(name: &str) -> String {
    Call { name: name.to_owned(), ..Call::numbered(0, "2021-02-20") }.to_string()
}

/// The algorithms that have a point in the bucket.
fn arrived(influxdb: &Influxdb) -> Result<BTreeSet<String>> {
    let points = influxdb.points(BUCKET, "algorithmia")?;
    Ok(points.into_iter().filter_map(|mut point| point.tags.remove("algorithm_name")).collect())
}

/// A Telegraf with a topic, a consumer group and a journal of its own, named after it, and one message in the topic.
fn start(dir: &Dir, kafka: &Kafka, influxdb: &str, name: &str, more: Variables) -> Result<Telegraf> {
    Telegraf::start(dir, shipped_configuration(), prepare(dir, kafka, influxdb, name, more)?)
}

fn prepare(dir: &Dir, kafka: &Kafka, influxdb: &str, name: &str, more: Variables) -> Result<Variables> {
    kafka.create_topic(name, 1)?;
    kafka.produce(name, [message(name)])?;
    let mut variables = environment(dir, "", influxdb);
    variables.extend([
        ("KAFKA_TOPIC", name.to_owned()),
        ("KAFKA_CONSUMER_GROUP", name.to_owned()),
        ("ALGORITHMIA_JOURNAL", dir.path().join(format!("journal-{name}")).display().to_string()),
    ]);
    variables.extend(more);
    Ok(variables)
}

fn path(file: &Path) -> String {
    file.display().to_string()
}

fn scram() -> Login {
    // What Kafka's own commands leave alone, and environment files and URLs might not.
    Login { mechanism: "SCRAM-SHA-512", user: "telegraf".to_owned(), password: "p4$$w0rd; #/+%=${HOME}".to_owned() }
}

fn listener(name: &'static str, certificate: &Path, login: Option<&Login>) -> Listener {
    Listener { name, certificate: Some(certificate.to_owned()), client_ca: None, login: login.cloned() }
}

#[test]
fn every_secured_road_leads_to_influxdb() {
    let _turn = turn();
    stack::test("secured", |dir| {
        let documented = |heading| documented_variables(dir, heading);
        let login = |variables: &BTreeMap<String, String>, mechanism| Login {
            mechanism,
            user: variables["KAFKA_USERNAME"].clone(),
            password: variables["KAFKA_PASSWORD"].clone(),
        };
        let own = documented("TLS from a CA of your own, user and password")?;
        let azure = documented("Azure Event Hubs")?;
        let public = documented("Confluent Cloud, and others with public certificates")?;
        let mutual = documented("A certificate in place of the password")?;

        let ca = Authority::new(dir, "ca")?;
        let certificate = ca.issue("localhost")?;
        let kafka = Kafka::start_with(
            dir,
            &[
                listener("TLS", &certificate, None),
                listener("OTHERNAME", &ca.issue("kafka.example.com")?, None),
                Listener { client_ca: Some(ca.file.clone()), ..listener("MUTUAL", &certificate, None) },
                listener("OWN", &certificate, Some(&login(&own, "SCRAM-SHA-512"))),
                listener("AZURE", &certificate, Some(&login(&azure, "PLAIN"))),
                listener("PUBLIC", &certificate, Some(&login(&public, "PLAIN"))),
                listener("SCRAM", &certificate, Some(&scram())),
                Listener { certificate: None, ..listener("READABLE", &certificate, Some(&scram())) },
            ],
        )?;
        let influxdb = Influxdb::start(dir)?;

        // What this machine has elsewhere than the documentation says.
        let client = ca.issue("client")?;
        let (key, only_certificate) = split(dir, &client)?;
        let broker = |name: &str| ("KAFKA_BROKER", kafka.listener(name).to_owned());
        let ca = ("KAFKA_TLS_CA", path(&ca.file));
        let taken = |variables: &BTreeMap<String, String>, names: &[&'static str]| -> Variables {
            names.iter().map(|name| (*name, variables[*name].clone())).collect()
        };
        let version = |version: &str| ("KAFKA_VERSION", version.to_owned());
        let with_password = ["KAFKA_USERNAME", "KAFKA_PASSWORD"];
        let with_mechanism = ["KAFKA_USERNAME", "KAFKA_PASSWORD", "KAFKA_SASL_MECHANISM"];
        ensure!(own.keys().eq(["KAFKA_BROKER", "KAFKA_PASSWORD", "KAFKA_TLS_CA", "KAFKA_USERNAME"]), "{own:?}");
        ensure!(mutual.keys().eq(["KAFKA_BROKER", "KAFKA_TLS_CA", "KAFKA_TLS_CERT", "KAFKA_TLS_KEY"]), "{mutual:?}");
        let roads: Vec<(&str, Variables)> = vec![
            ("plain", vec![("KAFKA_BROKER", kafka.broker().to_owned())]),
            ("tls", vec![broker("TLS"), ca.clone()]),
            (
                "other-name",
                vec![broker("OTHERNAME"), ca.clone(), ("KAFKA_TLS_SERVER_NAME", "kafka.example.com".to_owned())],
            ),
            (
                "mutual",
                vec![
                    broker("MUTUAL"),
                    ca.clone(),
                    ("KAFKA_TLS_CERT", path(&only_certificate)),
                    ("KAFKA_TLS_KEY", path(&key)),
                ],
            ),
            ("mutual-in-one-file", vec![broker("MUTUAL"), ca.clone(), ("KAFKA_TLS_CERT", path(&client))]),
            ("own", [vec![broker("OWN"), ca.clone()], taken(&own, &with_password)].concat()),
            ("azure", [vec![broker("AZURE"), ca.clone()], taken(&azure, &with_mechanism)].concat()),
            // Where the broker's name ends in .servicebus.windows.net Telegraf speaks the protocol of this version, or of the
            // older one, if that is set.
            (
                "azure-1.0",
                [vec![broker("AZURE"), ca.clone(), version("1.0.0")], taken(&azure, &with_mechanism)].concat(),
            ),
            (
                "azure-0.11",
                [vec![broker("AZURE"), ca.clone(), version("0.11.0.2")], taken(&azure, &with_mechanism)].concat(),
            ),
            ("public", [vec![broker("PUBLIC"), ca.clone()], taken(&public, &with_mechanism)].concat()),
            (
                "scram",
                vec![
                    broker("SCRAM"),
                    ca.clone(),
                    ("KAFKA_USERNAME", scram().user),
                    ("KAFKA_PASSWORD", scram().password),
                ],
            ),
        ];
        let mut telegrafs = roads
            .iter()
            .map(|(name, variables)| start(dir, &kafka, influxdb.url(), name, variables.clone()))
            .collect::<Result<Vec<_>>>()?;
        let mut expected: BTreeSet<String> = roads.iter().map(|(name, _)| (*name).to_owned()).collect();

        // The one setting that has to be written into the file, on purpose.
        let shipped = fs::read_to_string(shipped_configuration())?;
        ensure!(shipped.contains("\n  # tls_enable = false\n"), "telegraf.conf does not say how to go without TLS");
        let readable = dir.write("readable.conf", shipped.replace("# tls_enable", "tls_enable"))?;
        let variables =
            vec![broker("READABLE"), ("KAFKA_USERNAME", scram().user), ("KAFKA_PASSWORD", scram().password)];
        let variables = prepare(dir, &kafka, influxdb.url(), "readable", variables)?;
        telegrafs.push(Telegraf::start(dir, readable, variables)?);
        expected.insert("readable".to_owned());
        wait_for("a point from each road", LONG, || {
            telegrafs.iter().try_for_each(|telegraf| telegraf.ensure_running())?;
            Ok((arrived(&influxdb)? == expected).then_some(()))
        })?;
        for telegraf in &telegrafs {
            ensure!(refusals(&telegraf.log()).is_empty(), "{}", telegraf.log());
            telegraf.terminate()?;
        }
        Ok(())
    });
}

/// The key and the certificate of a file that holds both, each in a file of its own.
fn split(dir: &Dir, both: &Path) -> Result<(PathBuf, PathBuf)> {
    let text = fs::read_to_string(both)?;
    let at = text.find("-----BEGIN PRIVATE KEY").context("no key")?;
    Ok((dir.write("client.key", &text[at..])?, dir.write("client.pem", &text[..at])?))
}

/// What Telegraf says of an attempt to read from Kafka that failed: when, and why.
fn refusals(log: &str) -> Vec<(Timestamp, String)> {
    let lines = log.lines().filter_map(|line| {
        let (time, why) = line.split_once(" E! [inputs.kafka_consumer] Error in plugin: consume: ")?;
        Some((time.parse().ok()?, why.to_owned()))
    });
    lines.collect()
}

#[test]
fn what_kafka_refuses_is_said_and_forgotten_once_the_cause_is_gone() {
    stack::test("refused", |dir| {
        let ca = Authority::new(dir, "ca")?;
        let other = Authority::new(dir, "other")?;
        let good = ca.issue("localhost")?;
        let expired = ca.issue_expired("localhost")?;
        let foreign = other.issue("localhost")?;
        let misnamed = ca.issue("kafka.example.com")?;
        let plain = Login { mechanism: "PLAIN", user: "insights".to_owned(), password: "secret".to_owned() };
        let kafka = Kafka::start_with(
            dir,
            &[
                listener("SCRAM", &good, Some(&scram())),
                listener("PLAIN", &good, Some(&plain)),
                Listener { client_ca: Some(ca.file.clone()), ..listener("MUTUAL", &good, None) },
                listener("EXPIRED", &expired, None),
                listener("FOREIGN", &foreign, None),
                listener("MISNAMED", &misnamed, None),
            ],
        )?;
        let influxdb = Influxdb::start(dir)?;
        // Everything is closed to those with a name, but for what they are allowed: until then it is open to all.
        kafka.allow("nobody", "All", &["--cluster", "--topic", "*", "--group", "*"])?;
        let topics = ["--topic", "wrong-password", "--topic", "closed-group"];
        let groups = ["--group", "wrong-password", "--group", "closed-topic"];
        kafka.allow(&scram().user, "Read", &[topics, groups].concat())?;

        let broker = |name: &str| ("KAFKA_BROKER", kafka.listener(name).to_owned());
        let ca_file = ("KAFKA_TLS_CA", path(&ca.file));
        let user = ("KAFKA_USERNAME", scram().user);
        let password = ("KAFKA_PASSWORD", scram().password);
        let new_password = "another".to_owned();
        let by_address = kafka.listener("SCRAM").replace("localhost", "127.0.0.1");
        let no_cause = "kafka: client has run out of available brokers to talk to";
        let cases: Vec<(&str, String, Variables)> = vec![
            (
                "wrong-password",
                "kafka server: SASL Authentication failed".to_owned(),
                vec![broker("SCRAM"), ca_file.clone(), user.clone(), ("KAFKA_PASSWORD", new_password.clone())],
            ),
            (
                "wrong-mechanism",
                no_cause.to_owned(),
                vec![broker("PLAIN"), ca_file.clone(), user.clone(), password.clone()],
            ),
            (
                "closed-group",
                "kafka server: The client is not authorized to access this group".to_owned(),
                vec![broker("SCRAM"), ca_file.clone(), user.clone(), password.clone()],
            ),
            (
                "closed-topic",
                "kafka server: The client is not authorized to access this topic".to_owned(),
                vec![broker("SCRAM"), ca_file.clone(), user.clone(), password.clone()],
            ),
            (
                "wrong-ca",
                "x509: certificate signed by unknown authority".to_owned(),
                vec![broker("FOREIGN"), ca_file.clone()],
            ),
            (
                "no-ca-but-the-public-ones",
                "x509: certificate signed by unknown authority".to_owned(),
                vec![broker("SCRAM"), user.clone(), password.clone()],
            ),
            (
                "expired",
                "x509: certificate has expired or is not yet valid".to_owned(),
                vec![broker("EXPIRED"), ca_file.clone()],
            ),
            ("other-host", "x509: certificate is valid for".to_owned(), vec![broker("MISNAMED"), ca_file.clone()]),
            (
                "address",
                "x509: cannot validate certificate for".to_owned(),
                vec![("KAFKA_BROKER", by_address), ca_file.clone()],
            ),
            (
                "no-certificate",
                "remote error: tls: bad certificate".to_owned(),
                vec![broker("MUTUAL"), ca_file.clone()],
            ),
            (
                "foreign-certificate",
                "remote error: tls: bad certificate".to_owned(),
                vec![broker("MUTUAL"), ca_file.clone(), ("KAFKA_TLS_CERT", path(&foreign))],
            ),
            ("plain-on-a-tls-port", format!("{no_cause}: unexpected EOF"), vec![broker("SCRAM")]),
            (
                "tls-on-a-plain-port",
                format!("{no_cause}: EOF"),
                vec![("KAFKA_BROKER", kafka.broker().to_owned()), ca_file.clone()],
            ),
            ("no-user", format!("{no_cause}: EOF"), vec![broker("SCRAM"), ca_file.clone()]),
            (
                "no-topic",
                "kafka server: Request was for a topic or partition that does not exist on this broker".to_owned(),
                vec![("KAFKA_BROKER", kafka.broker().to_owned()), ("KAFKA_TOPIC", "missing".to_owned())],
            ),
            (
                "nobody-there",
                "connect: connection refused".to_owned(),
                vec![("KAFKA_BROKER", "127.0.0.1:1".to_owned())],
            ),
        ];
        let words: BTreeSet<String> = cases.iter().map(|(_, words, _)| words.clone()).collect();
        assert_eq!(words, explained("When Kafka does not let us in"));

        let telegrafs = cases
            .iter()
            .map(|(name, _, variables)| Ok((*name, start(dir, &kafka, influxdb.url(), name, variables.clone())?)))
            .collect::<Result<BTreeMap<_, _>>>()?;
        for (name, words, _) in &cases {
            let telegraf = &telegrafs[name];
            let refused = wait_for(&format!("refusals of {name}"), LONG, || {
                telegraf.ensure_running()?;
                let refused = refusals(&telegraf.log());
                let said = |why: &str| if words == no_cause { why == words } else { why.contains(words) };
                Ok((refused.iter().filter(|(_, why)| said(why)).count() >= 3).then_some(refused))
            })?;
            // It waits 5 s each time; the log has whole seconds.
            for pair in refused.windows(2) {
                let seconds = pair[1].0.as_second() - pair[0].0.as_second();
                ensure!(seconds >= 4, "{name} tries again after {seconds} s:\n{}", telegraf.log());
            }
            // Its beginning, and one line for each of three brokers.
            let lines = telegraf.log().lines().count();
            ensure!(lines <= 20 + 3 * (refused.len() + 1), "{name} fills the log:\n{}", telegraf.log());
        }

        let all_arrive = |names: &BTreeSet<String>| {
            wait_for("points once the causes are gone", LONG, || {
                telegrafs.values().try_for_each(|telegraf| telegraf.ensure_running())?;
                Ok((arrived(&influxdb)? == *names).then_some(()))
            })
        };
        // The broker gets the certificates that it should have had.
        for certificate in [&expired, &foreign, &misnamed] {
            fs::copy(&good, certificate)?;
        }
        kafka.terminate()?;
        kafka.restart()?;
        kafka.allow(&scram().user, "Read", &["--group", "closed-group", "--topic", "closed-topic"])?;
        kafka.create_topic("missing", 1)?;
        kafka.produce("missing", [message("no-topic")])?;
        let opened = ["closed-group", "closed-topic", "expired", "no-topic", "other-host", "wrong-ca"];
        let mut back: BTreeSet<String> = opened.map(str::to_owned).into();
        all_arrive(&back)?;
        // Only now, since this shuts the others out that log in as this user.
        kafka.set_password(&Login { password: new_password, ..scram() })?;
        back.insert("wrong-password".to_owned());
        all_arrive(&back)
    });
}
#[test]
fn what_telegraf_cannot_start_with_is_said() {
    stack::test("unusable", |dir| {
        let ca = Authority::new(dir, "ca")?;
        let (key, certificate) = split(dir, &ca.issue("client")?)?;
        let no_pem = dir.write("no.pem", "not a certificate")?;
        let missing = dir.path().join("missing");
        let store = dir.write("credentials.conf", &blocks("Secrets", "toml")[0])?;
        let nobody_there = environment(dir, "127.0.0.1:1", "http://127.0.0.1:1");
        let user = ("KAFKA_USERNAME", scram().user);
        let password = ("KAFKA_PASSWORD", scram().password);
        let ca = ("KAFKA_TLS_CA", path(&ca.file));
        let reference = ("KAFKA_PASSWORD", "@{credentials:kafka_password}".to_owned());
        let cases: Vec<(&str, Variables)> = vec![
            ("is missing a value: set it to", vec![("KAFKA_BROKER", String::new())]),
            ("Net.SASL.User must not be empty", vec![ca.clone(), password.clone()]),
            ("Net.SASL.User must not be empty", vec![("KAFKA_SASL_MECHANISM", "PLAIN".to_owned())]),
            ("Net.SASL.Password must not be empty", vec![ca.clone(), user.clone()]),
            (
                "The SASL mechanism configuration is invalid",
                vec![ca.clone(), user.clone(), password.clone(), ("KAFKA_SASL_MECHANISM", "plain".to_owned())],
            ),
            ("could not read certificate", vec![("KAFKA_TLS_CA", path(&missing))]),
            ("could not parse any PEM certificates", vec![("KAFKA_TLS_CA", path(&no_pem))]),
            (
                "could not load private key",
                vec![("KAFKA_TLS_CERT", path(&certificate)), ("KAFKA_TLS_KEY", path(&missing))],
            ),
            ("failed to load cert/key pair", vec![("KAFKA_TLS_CERT", path(&certificate))]),
            ("failed to load cert/key pair", vec![("KAFKA_TLS_KEY", path(&key))]),
            ("unknown secret store for", vec![ca.clone(), user.clone(), ("KAFKA_PASSWORD", "@{other:key}".to_owned())]),
            ("cannot read the secret's value", vec![ca.clone(), user.clone(), reference]),
        ];
        let words: BTreeSet<String> = cases.iter().map(|(words, _)| (*words).to_owned()).collect();
        assert_eq!(words, explained("When Telegraf does not start"));
        for (words, variables) in cases {
            let mut command = Command::new(stack::telegraf_binary()?);
            command
                .args(["--strict-env-handling", "--config"])
                .arg(shipped_configuration())
                .arg("--config")
                .arg(&store);
            command.envs(nobody_there.clone()).env("CREDENTIALS_DIRECTORY", dir.path()).envs(variables.clone());
            let telegraf = dir.spawn("telegraf", command)?;
            let status = telegraf.wait(LONG).with_context(|| format!("with {variables:?}"))?;
            let log = telegraf.log();
            let last = log.lines().last().unwrap_or_default();
            ensure!(!status.success() && last.contains(" E! ") && last.contains(words), "{variables:?}:\n{log}");
            ensure!(!log.contains(&scram().password), "the log shows the password:\n{log}");
        }
        Ok(())
    });
}

/// Runs the only block of commands in a section that has `part`, as somebody who has set `influx` up, and gives what it prints.
fn run_documented(influxdb: &Influxdb, heading: &str, part: &str) -> Result<String> {
    let blocks = blocks(heading, "sh");
    let block = blocks.iter().find(|block| block.contains(part)).with_context(|| format!("no {part} in {heading}"))?;
    let script = block.replace("my-org", ORG);
    let client = stack::influx_binary()?;
    let folder = client.parent().context("influx is in no folder")?;
    let search = format!("{}:{}", folder.display(), std::env::var("PATH")?);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-ec", &script]).env("PATH", search).env("INFLUX_HOST", influxdb.url()).env("INFLUX_TOKEN", TOKEN);
    let output = shell.stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{script}:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// What the `influx` command says with a token.
fn with_token(influxdb: &Influxdb, token: &str, args: &[&str]) -> Result<(bool, String)> {
    let output = influxdb.cli(args)?.env("INFLUX_TOKEN", token).output()?;
    Ok((output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()))
}

/// A process and all that it has started.
fn family(process: &Process) -> Result<Vec<u32>> {
    fn add(children: Vec<Descendant>, to: &mut Vec<u32>) -> Result<()> {
        for child in children {
            to.push(child.pid());
            add(child.children()?, to)?;
        }
        Ok(())
    }
    let mut pids = vec![process.pid()];
    add(process.children()?, &mut pids)?;
    Ok(pids)
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_token_for_one_bucket_is_enough_and_no_secret_is_shown() {
    let _turn = turn();
    stack::test("secrets", |dir| {
        let ca = Authority::new(dir, "ca")?;
        let certificate = ca.issue("localhost")?;
        let azure = documented_variables(dir, "Azure Event Hubs")?;
        let connection = azure["KAFKA_PASSWORD"].clone();
        let plain = Login { mechanism: "PLAIN", user: azure["KAFKA_USERNAME"].clone(), password: connection.clone() };
        let kafka = Kafka::start_with(
            dir,
            &[listener("SCRAM", &certificate, Some(&scram())), listener("AZURE", &certificate, Some(&plain))],
        )?;
        let influxdb = Influxdb::start(dir)?;
        let (done, said) = with_token(&influxdb, TOKEN, &["bucket", "create", "--name", "other"])?;
        ensure!(done, "{said}");
        let token = run_documented(&influxdb, TOKENS, "--write-bucket")?;
        ensure!(token.len() > 20 && !token.contains(char::is_whitespace), "this is no token: {token:?}");

        // The password and the token from the secret store, as the documentation has it.
        let credentials = dir.path().join("credentials");
        fs::create_dir(&credentials)?;
        fs::write(credentials.join("kafka_password"), scram().password)?;
        fs::write(credentials.join("influx_token"), &token)?;
        let store = dir.write("credentials.conf", &blocks("Secrets", "toml")[0])?;
        let references = blocks("Secrets", "sh").concat();
        let reference = |name: &str| {
            let line = references.lines().find_map(|line| line.strip_prefix(&format!("{name}='")));
            line.and_then(|line| line.strip_suffix('\'')).map(str::to_owned).with_context(|| format!("no {name}"))
        };
        let stored: Variables = vec![
            ("KAFKA_BROKER", kafka.listener("SCRAM").to_owned()),
            ("KAFKA_TLS_CA", path(&ca.file)),
            ("KAFKA_USERNAME", scram().user),
            ("KAFKA_PASSWORD", reference("KAFKA_PASSWORD")?),
            ("INFLUX_TOKEN", reference("INFLUX_TOKEN")?),
            ("CREDENTIALS_DIRECTORY", path(&credentials)),
        ];
        // And the connection string and the token from the environment, with all that Telegraf can log.
        let given: Variables = vec![
            ("KAFKA_BROKER", kafka.listener("AZURE").to_owned()),
            ("KAFKA_TLS_CA", path(&ca.file)),
            ("KAFKA_USERNAME", plain.user),
            ("KAFKA_PASSWORD", connection.clone()),
            ("KAFKA_SASL_MECHANISM", plain.mechanism.to_owned()),
            ("INFLUX_TOKEN", token.clone()),
        ];
        let shipped = fs::read_to_string(shipped_configuration())?;
        let mut talkative = shipped.clone();
        for plugin in ["[[inputs.kafka_consumer]]", "[[processors.execd]]", "[[outputs.influxdb_v2]]"] {
            ensure!(talkative.contains(plugin), "telegraf.conf has no {plugin}");
            talkative = talkative.replace(plugin, &format!("{plugin}\n  log_level = \"trace\""));
        }
        let talkative = dir.write("talkative.conf", talkative)?;

        let mut telegrafs = Vec::new();
        for (name, configurations, variables) in
            [("stored", vec![shipped_configuration(), store], stored), ("given", vec![talkative], given)]
        {
            let mut command = Command::new(stack::telegraf_binary()?);
            command.args(["--strict-env-handling", "--debug"]);
            for configuration in configurations {
                command.arg("--config").arg(configuration);
            }
            command.envs(prepare(dir, &kafka, influxdb.url(), name, variables)?);
            // Messages that the program has something to say of.
            kafka.produce(name, ["no JSON", r#"{"algorithm_name":"a","time":"yesterday"}"#])?;
            telegrafs.push((name, dir.spawn("telegraf", command)?));
        }
        let expected: BTreeSet<String> = ["stored", "given"].map(str::to_owned).into();
        wait_for("the points", LONG, || {
            telegrafs.iter().try_for_each(|(_, telegraf)| telegraf.ensure_running())?;
            Ok(arrived(&influxdb)?.is_superset(&expected).then_some(()))
        })?;
        wait_for("the rejected messages", LONG, || {
            let logged = telegrafs.iter().all(|(_, telegraf)| telegraf.log().contains("rejected a message"));
            Ok(logged.then_some(()))
        })?;

        let secrets = [scram().password, connection, token.clone()];
        let shown = |what: &str, bytes: &[u8]| -> Result<()> {
            for secret in &secrets {
                ensure!(!holds(bytes, secret), "{what} shows {secret}");
            }
            Ok(())
        };
        for (name, telegraf) in &telegrafs {
            let pids = family(telegraf)?;
            ensure!(pids.len() == 3, "Telegraf, what it starts, and the worker: {pids:?}");
            let mut environments = 0;
            for pid in pids {
                shown("a command line", &fs::read(format!("/proc/{pid}/cmdline"))?)?;
                let environment = fs::read(format!("/proc/{pid}/environ"))?;
                environments += secrets.iter().filter(|secret| holds(&environment, secret)).count();
            }
            // The look would see them: the environment that Telegraf was given has them, in each process.
            assert_eq!(environments, if *name == "given" { 6 } else { 0 }, "{name}");
        }
        for (name, telegraf) in &telegrafs {
            telegraf.terminate()?;
            let log = telegraf.log();
            ensure!(log.contains(" D! ") && (log.contains(" T! ") == (*name == "given")), "{log}");
            shown("the log", log.as_bytes())?;
            let mut bytes = 0;
            for file in fs::read_dir(dir.path().join(format!("journal-{name}")))? {
                let content = fs::read(file?.path())?;
                shown("the journal", &content)?;
                bytes += content.len();
            }
            ensure!(bytes > 0, "the journal is empty");
        }

        // The token can do nothing else, but take away points where it may write them.
        let delete =
            ["delete", "--bucket", BUCKET, "--start", "1970-01-01T00:00:00Z", "--stop", "2100-01-01T00:00:00Z"];
        for (args, refusal) in [
            (["query", "from(bucket: \"insights\") |> range(start: 0)"].as_slice(), Some("could not find bucket")),
            (&["query", "from(bucket: \"other\") |> range(start: 0)"], Some("could not find bucket")),
            (&["write", "--bucket", "other", "m f=1"], Some("insufficient permissions for write")),
            (&["bucket", "create", "--name", "third"], Some("no organization with name")),
            (&["auth", "list"], None),
            (&delete, None),
        ] {
            let (done, said) = with_token(&influxdb, &token, args)?;
            ensure!(done == refusal.is_none() && said.contains(refusal.unwrap_or_default()), "{args:?}: {said}");
            ensure!(!said.contains(TOKEN), "it sees other tokens: {said}");
            let (done, said) = with_token(&influxdb, TOKEN, args)?;
            ensure!(done, "{args:?} with a token for everything: {said}");
        }

        // Nor can it apply the template, which takes the other token of the documentation.
        let template = path(&repository("telegraf/influxdb-template.yml"));
        let apply = ["apply", "--force", "yes", "--file", &template];
        let (done, said) = with_token(&influxdb, &token, &apply)?;
        ensure!(!done, "{said}");
        let (done, said) = with_token(&influxdb, &run_documented(&influxdb, TOKENS, "--all-access")?, &apply)?;
        ensure!(done, "{said}");
        Ok(())
    });
}

#[test]
fn what_influxdb_refuses_is_said_and_comes_back() {
    let _turn = turn();
    stack::test("influxdb-refuses", |dir| {
        let kafka = Kafka::start(dir)?;
        let influxdb = Influxdb::start(dir)?;
        let create = |bucket: &str| -> Result<()> {
            let (done, said) = with_token(&influxdb, TOKEN, &["bucket", "create", "--name", bucket])?;
            ensure!(done, "{said}");
            Ok(())
        };
        create("other")?;
        let other =
            influxdb.list("buckets")?.into_iter().find(|bucket| bucket["name"] == "other").context("no bucket")?;
        let id = other["id"].as_str().context("no id")?;
        let (_, table) = with_token(&influxdb, TOKEN, &["auth", "create", "--write-bucket", id, "--hide-headers"])?;
        let of_another_bucket = table.split('\t').nth(2).context("no token")?.to_owned();
        let cases: [(&str, &str, Variables); 3] = [
            ("unknown-token", "401 Unauthorized", vec![("INFLUX_TOKEN", "nobody's".to_owned())]),
            ("token-of-another-bucket", "403 Forbidden", vec![("INFLUX_TOKEN", of_another_bucket)]),
            ("no-bucket", "404 Not Found", vec![("INFLUX_BUCKET", "later".to_owned())]),
        ];
        let words: BTreeSet<String> = cases.iter().map(|(_, words, _)| (*words).to_owned()).collect();
        assert_eq!(words, explained(TOKENS));

        let broker = [("KAFKA_BROKER", kafka.broker().to_owned())];
        let telegrafs = cases
            .iter()
            .map(|(name, _, variables)| {
                let mut variables = prepare(dir, &kafka, influxdb.url(), name, variables.clone())?;
                variables.extend(broker.clone());
                Ok((Telegraf::start(dir, shipped_configuration(), variables.clone())?, variables))
            })
            .collect::<Result<Vec<_>>>()?;
        for ((name, words, _), (telegraf, _)) in cases.iter().zip(&telegrafs) {
            wait_for(&format!("the refusal of {name}"), LONG, || {
                telegraf.ensure_running()?;
                let log = telegraf.log();
                let mut errors = log.lines().filter(|line| line.contains(" E! [outputs.influxdb_v2]"));
                Ok(errors.any(|line| line.contains(words)).then_some(()))
            })?;
        }
        // The journal has what Telegraf dropped, and what it had still.
        create("later")?;
        for (telegraf, mut variables) in telegrafs {
            telegraf.terminate()?;
            variables.extend([("INFLUX_TOKEN", TOKEN.to_owned()), ("INFLUX_BUCKET", BUCKET.to_owned())]);
            let telegraf = Telegraf::start(dir, shipped_configuration(), variables.clone())?;
            let (_, name) = variables.iter().rfind(|(variable, _)| *variable == "KAFKA_TOPIC").context("no topic")?;
            wait_for(&format!("the point of {name}"), LONG, || {
                telegraf.ensure_running()?;
                Ok(arrived(&influxdb)?.contains(name).then_some(()))
            })?;
        }
        Ok(())
    });
}
