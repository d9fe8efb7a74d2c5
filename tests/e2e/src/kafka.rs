//! Kafka: one broker that is its own controller, and what tests do with topics.

mod client;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::client::Client;
use crate::dir::{Dir, Shared};
use crate::install::{java, kafka_libs, kcat_binary};
use crate::process::{Process, free_port, on_free_ports};

/// How long Kafka may take to start or to answer a request.
const PATIENCE: Duration = Duration::from_secs(180);

/// A listener that asks who comes, beside the plain one of every [`Kafka`], which
/// tests use themselves.
pub struct Listener {
    /// What it is called: capital letters and digits.
    pub name: &'static str,
    /// The file that holds the broker's certificate and its key, as PEM. It is read
    /// whenever the broker starts. Without it there is no TLS.
    pub certificate: Option<PathBuf>,
    /// The file of the CA, as PEM, that a client's certificate has to come from.
    /// Without it clients need no certificate.
    pub client_ca: Option<PathBuf>,
    /// Who may come in, if not everybody.
    pub login: Option<Login>,
}

/// A user of Kafka's.
#[derive(Clone)]
pub struct Login {
    /// `PLAIN` or `SCRAM-SHA-512`.
    pub mechanism: &'static str,
    /// The name.
    pub user: String,
    /// The password, without quotes.
    pub password: String,
}

/// A Kafka broker. Dereferences to its [`Process`].
pub struct Kafka {
    process: Process,
    broker: String,
    client: Client,
    /// `localhost:PORT` of each [`Listener`], by its name.
    listeners: BTreeMap<&'static str, String>,
    jvm: Jvm,
    dir: Arc<Shared>,
}

impl Kafka {
    /// Starts a broker with data of its own and waits until it serves topics and
    /// consumer groups. Topics have to be created before they are used.
    pub fn start(dir: &Dir) -> Result<Kafka> {
        Kafka::start_with(dir, &[])
    }

    /// The same with more listeners.
    pub fn start_with(dir: &Dir, listeners: &[Listener]) -> Result<Kafka> {
        let jvm = Jvm { java: java()?, libs: kafka_libs()? };
        let data = dir.path().join(dir.unique("kafka-data"));
        fs::create_dir_all(&data)?;
        let properties = data.join("server.properties");
        let (process, broker, ports) = on_free_ports(|| {
            let broker = format!("127.0.0.1:{}", free_port()?);
            let controller = format!("127.0.0.1:{}", free_port()?);
            let ports = listeners.iter().map(|_| free_port()).collect::<Result<Vec<_>>>()?;
            let secured = listeners.iter().zip(ports.iter().copied()).collect::<Vec<_>>();
            fs::write(&properties, self::properties(&broker, &controller, &secured, &data))?;
            jvm.format_storage(dir, &properties, listeners)?;
            let mut command = jvm.command("kafka.Kafka", "info");
            command.arg(&properties);
            let process = Process::spawn(dir, "kafka", command)?;
            wait_until_ready(&process, &broker)?;
            Ok((process, broker, ports))
        })?;
        let listeners =
            listeners.iter().zip(ports).map(|(listener, port)| (listener.name, format!("localhost:{port}")));
        let client = Client::new(&broker);
        Ok(Kafka { process, broker, client, listeners: listeners.collect(), jvm, dir: Arc::clone(&dir.0) })
    }

    /// Starts a broker that has ended, on the same data and port.
    pub fn restart(&self) -> Result<()> {
        self.process.spawn_again()?;
        wait_until_ready(&self.process, &self.broker)
    }

    /// `127.0.0.1:PORT`.
    pub fn broker(&self) -> &str {
        &self.broker
    }

    /// `localhost:PORT` of a [`Listener`].
    pub fn listener(&self, name: &str) -> &str {
        self.listeners.get(name).unwrap_or_else(|| panic!("the broker has no listener {name}"))
    }

    /// Gives a SCRAM user another password.
    pub fn set_password(&self, Login { mechanism, user, password }: &Login) -> Result<()> {
        let password = format!("{mechanism}=[password={password}]");
        let arguments = ["--alter", "--entity-type", "users", "--entity-name", user, "--add-config", &password];
        self.administrate("kafka.admin.ConfigCommand", &arguments)
            .with_context(|| format!("cannot change the password of {user}"))
    }

    /// Lets a user do something with resources, such as `--topic NAME`, of a broker
    /// with a [`Listener`]. A resource that somebody has been let do something with is
    /// closed to others; but those without a name, as on the plain listener, may do
    /// everything.
    pub fn allow(&self, user: &str, operation: &str, resources: &[&str]) -> Result<()> {
        let user = format!("User:{user}");
        let arguments = ["--add", "--allow-principal", &user, "--operation", operation];
        self.administrate("org.apache.kafka.tools.AclCommand", &[&arguments[..], resources].concat())
            .with_context(|| format!("cannot allow {user} anything"))
    }

    /// Starts Kafka Connect with one connector, whose properties are given, and with its default converters' JSON: a schema and a
    /// payload. It goes on until it is ended.
    pub fn connect(&self, dir: &Dir, connector: &str) -> Result<Process> {
        let connect = |name: &str| dir.path().join(format!("connect-{name}"));
        let worker = format!(
            "\
bootstrap.servers={}
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
offset.storage.file.filename={}
plugin.discovery=only_scan
listeners=http://127.0.0.1:0
",
            self.broker,
            connect("offsets").display()
        );
        fs::write(connect("worker"), worker)?;
        fs::write(connect("source"), connector)?;
        let mut command = self.jvm.command("org.apache.kafka.connect.cli.ConnectStandalone", "info");
        command.arg(connect("worker")).arg(connect("source"));
        Process::spawn(dir, "connect", command)
    }

    /// Runs one of Kafka's own commands on this broker.
    fn administrate(&self, class: &str, arguments: &[&str]) -> Result<()> {
        let mut command = self.jvm.command(class, "warn");
        command.args(["--bootstrap-server", &self.broker]).args(arguments).stdin(Stdio::null());
        self.dir.group.adopt(&mut command);
        succeed(command)
    }

    /// Creates a topic.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        self.create_topic_with(topic, partitions, &[])
    }

    /// The same with settings of its own, such as `compression.type`.
    pub fn create_topic_with(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<()> {
        self.ask(|client| client.create_topic(topic, partitions, settings))
            .with_context(|| format!("cannot create the topic {topic}"))
    }

    /// Produces messages to the topic's partitions in turn. Returns when all are
    /// acknowledged.
    pub fn produce<M: AsRef<[u8]>>(&self, topic: &str, messages: impl IntoIterator<Item = M>) -> Result<()> {
        let messages = messages.into_iter().map(|message| (None, message));
        self.ask(|client| client.produce(topic, messages))
            .with_context(|| format!("cannot produce to the topic {topic}"))
    }

    /// The same with the time of each record, in milliseconds since 1970; -1 is none.
    pub fn produce_at<M: AsRef<[u8]>>(&self, topic: &str, messages: impl IntoIterator<Item = (i64, M)>) -> Result<()> {
        let messages = messages.into_iter().map(|(time, message)| (Some(time), message));
        self.ask(|client| client.produce(topic, messages))
            .with_context(|| format!("cannot produce to the topic {topic}"))
    }

    /// The offset of the next message of each partition.
    pub fn end_offsets(&self, topic: &str) -> Result<Vec<i64>> {
        self.ask(|client| client.end_offsets(topic)).with_context(|| format!("cannot get the end of the topic {topic}"))
    }

    /// The offset a consumer group has committed for each partition; 0 where it
    /// has not.
    pub fn committed(&self, group: &str, topic: &str) -> Result<Vec<i64>> {
        self.ask(|client| client.committed(group, topic, client.partitions(topic)?, PATIENCE))
            .with_context(|| format!("cannot get the offsets of {group} in the topic {topic}"))
    }

    /// How many messages of a topic a consumer group has still to commit.
    pub fn lag(&self, group: &str, topic: &str) -> Result<i64> {
        let end = self.end_offsets(topic)?;
        let committed = self.committed(group, topic)?;
        Ok(end.iter().zip(committed).map(|(end, committed)| end - committed).sum())
    }

    /// How many partitions of a topic each member of a consumer group reads, in
    /// order of the number. None while the group is about to share them out anew.
    pub fn shares(&self, group: &str, topic: &str) -> Result<Vec<usize>> {
        let mut shares = self
            .ask(|client| client.shares(group, topic))
            .with_context(|| format!("cannot get the members of {group}"))?;
        shares.sort_unstable();
        Ok(shares)
    }

    /// A command that prints every message's value and a newline, from the
    /// topic's beginning to its present end.
    pub fn cat(&self, topic: &str) -> Result<Command> {
        let mut command = Command::new(kcat_binary()?);
        command.args(["-C", "-e", "-q", "-b", &self.broker, "-t", topic]).stdin(Stdio::null());
        self.dir.group.adopt(&mut command);
        Ok(command)
    }

    fn ask<T>(&self, call: impl FnOnce(&Client) -> Result<T>) -> Result<T> {
        // A broker that is down would be waited for in vain.
        self.process.ensure_running()?;
        call(&self.client).with_context(|| format!("the broker is {}", self.broker))
    }
}

impl Deref for Kafka {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

/// Kafka's classes and the machine they run on.
struct Jvm {
    java: PathBuf,
    libs: PathBuf,
}

impl Jvm {
    fn command(&self, class: &str, log_level: &str) -> Command {
        let mut command = Command::new(&self.java);
        command
            .args(["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC"])
            .args(["-Dorg.slf4j.simpleLogger.showDateTime=true", "-Djava.awt.headless=true"])
            .arg("-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS")
            .arg(format!("-Dorg.slf4j.simpleLogger.defaultLogLevel={log_level}"))
            .arg("-cp")
            .arg(self.libs.join("*"))
            .arg(class);
        command
    }

    /// Makes the data folder one that Kafka starts on, if it is not yet.
    fn format_storage(&self, dir: &Dir, properties: &Path, listeners: &[Listener]) -> Result<()> {
        let mut command = self.command("kafka.tools.StorageTool", "warn");
        command
            // Any identifier will do: clusters of different tests never meet.
            .args(["format", "--ignore-formatted", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c"])
            .arg(properties)
            .stdin(Stdio::null());
        // Users of PLAIN are in the properties.
        for login in listeners.iter().filter_map(|listener| listener.login.as_ref()) {
            if let Login { mechanism: mechanism @ "SCRAM-SHA-512", user, password } = login {
                command.arg("--add-scram").arg(format!("{mechanism}=[name={user},password={password}]"));
            }
        }
        dir.0.group.adopt(&mut command);
        succeed(command).context("Kafka cannot format its storage")
    }
}

/// Runs one of Kafka's own commands to its end.
fn succeed(mut command: Command) -> Result<()> {
    let output = command.output().context("cannot run java")?;
    if !output.status.success() {
        bail!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn properties(broker: &str, controller: &str, secured: &[(&Listener, u16)], data: &Path) -> String {
    let mut listeners = format!("PLAINTEXT://{broker},CONTROLLER://{controller}");
    let mut advertised = format!("PLAINTEXT://{broker}");
    let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    let mut settings = String::new();
    if !secured.is_empty() {
        settings += "\
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=true
";
    }
    for (listener, port) in secured {
        let name = listener.name;
        listeners += &format!(",{name}://127.0.0.1:{port}");
        // The name that the certificates are for.
        advertised += &format!(",{name}://localhost:{port}");
        protocols += &format!(",{name}:{}", listener.protocol());
        settings += &listener.settings();
    }
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
controller.listener.names=CONTROLLER
listeners={listeners}
advertised.listeners={advertised}
listener.security.protocol.map={protocols}
inter.broker.listener.name=PLAINTEXT
log.dirs={}
# Messages stay, whatever time they bear.
log.retention.ms=-1
auto.create.topics.enable=false
# After SIGKILL the broker may return only when its last session has timed out.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# There is one broker only.
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Tests should not wait for consumers that will not come.
group.initial.rebalance.delay.ms=0
{settings}",
        data.join("log").display()
    )
}

impl Listener {
    fn protocol(&self) -> &'static str {
        match (&self.certificate, &self.login) {
            (None, None) => "PLAINTEXT",
            (None, Some(_)) => "SASL_PLAINTEXT",
            (Some(_), None) => "SSL",
            (Some(_), Some(_)) => "SASL_SSL",
        }
    }

    /// Its own lines of the properties.
    fn settings(&self) -> String {
        let mut settings = Vec::new();
        if let Some(certificate) = &self.certificate {
            settings.push("ssl.keystore.type=PEM".to_owned());
            settings.push(format!("ssl.keystore.location={}", certificate.display()));
        }
        if let Some(ca) = &self.client_ca {
            settings.extend([
                "ssl.client.auth=required".to_owned(),
                "ssl.truststore.type=PEM".to_owned(),
                format!("ssl.truststore.location={}", ca.display()),
            ]);
        }
        if let Some(Login { mechanism, user, password }) = &self.login {
            let module = match *mechanism {
                "PLAIN" => format!("plain.PlainLoginModule required user_{user}=\"{password}\""),
                _ => "scram.ScramLoginModule required".to_owned(),
            };
            settings.extend([
                format!("sasl.enabled.mechanisms={mechanism}"),
                format!("{}.sasl.jaas.config=org.apache.kafka.common.security.{module};", mechanism.to_lowercase()),
            ]);
        }
        let name = self.name.to_lowercase();
        settings.iter().map(|setting| format!("listener.name.{name}.{setting}\n")).collect()
    }
}

/// Ready means ready for consumer groups, which take longer than topics.
fn wait_until_ready(process: &Process, broker: &str) -> Result<()> {
    let mut patience = Duration::from_millis(125);
    process.wait_until_ready(PATIENCE, || {
        TcpStream::connect(broker)?;
        // A client that has once been told to wait does so for seconds, so each look takes a new one.
        patience *= 2;
        Client::new(broker).committed("stack", "none", 1, patience).map(drop)
    })
}
