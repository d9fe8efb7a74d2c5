//! Telegraf with a shipped configuration, in which a benchmark changes what it wants to.

use std::ffi::OsStr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use fixtures::{program, repository};
use stack::{BUCKET, Dir, ORG, TOKEN, Telegraf, kcat_binary};
use toml::{Table, Value};

/// A shipped configuration, but for what a [`Sink`](super::sink::Sink) takes.
#[derive(Clone)]
pub struct Conf {
    table: Table,
    /// The kcat that it runs, if it does.
    kcat: Option<PathBuf>,
}

impl Conf {
    /// telegraf.conf.
    pub fn shipped() -> Result<Self> {
        Self::read("telegraf.conf", None)
    }

    /// telegraf-direct.conf.
    pub fn direct() -> Result<Self> {
        Self::read("telegraf-direct.conf", Some(kcat_binary()?))
    }

    fn read(name: &'static str, kcat: Option<PathBuf>) -> Result<Self> {
        let path = repository("telegraf").join(name);
        let mut conf = Conf { table: std::fs::read_to_string(path)?.parse().context(name)?, kcat };
        // Compression would take a share of the time that depends on what is compressed. And a request may take as long
        // as others have their turns.
        conf.add("[[outputs.influxdb_v2]]\ncontent_encoding = \"identity\"\ntimeout = \"60s\"")?;
        Ok(conf)
    }

    /// The settings of the agent.
    pub fn agent(&mut self) -> Result<&mut Table> {
        self.table.get_mut("agent").and_then(Value::as_table_mut).context("it has no [agent]")
    }

    /// The settings of the only plugin of that name.
    pub fn plugin(&mut self, kind: &str, name: &str) -> Result<&mut Table> {
        let plugins = self.table.get_mut(kind).and_then(|plugins| plugins.get_mut(name)).and_then(Value::as_array_mut);
        let plugin = plugins.and_then(|plugins| plugins.first_mut()).and_then(Value::as_table_mut);
        plugin.with_context(|| format!("it has no [[{kind}.{name}]]"))
    }

    /// Takes all plugins of a kind out.
    pub fn remove(&mut self, kind: &str) {
        self.table.remove(kind);
    }

    /// Adds plugins. What `text` says of one that is there already is set there.
    pub fn add(&mut self, text: &str) -> Result<()> {
        let kinds: Table = text.parse()?;
        for (kind, plugins) in kinds {
            let Value::Table(plugins) = plugins else { continue };
            for (name, tables) in plugins {
                let first = tables.get(0).and_then(Value::as_table).cloned();
                match (self.plugin(&kind, &name), first) {
                    (Ok(plugin), Some(settings)) => plugin.extend(settings),
                    _ => {
                        let kind = self.table.entry(kind.clone()).or_insert_with(|| Table::new().into());
                        kind.as_table_mut().context("not a kind of plugins")?.insert(name, tables);
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts a Telegraf that reads `topic` as a member of the consumer group `group`. Its files are named after `id`.
    pub fn start(&self, dir: &Dir, broker: &str, topic: &str, group: &str, output: &str, id: &str) -> Result<Telegraf> {
        let config = dir.write(&format!("telegraf-{id}.conf"), toml::to_string(&self.table)?)?;
        let journal = journal(dir, id);
        let environment: [(&str, &OsStr); 9] = [
            ("KAFKA_BROKER", broker.as_ref()),
            ("KAFKA_TOPIC", topic.as_ref()),
            ("KAFKA_CONSUMER_GROUP", group.as_ref()),
            ("INFLUX_HOST", output.as_ref()),
            ("INFLUX_TOKEN", TOKEN.as_ref()),
            ("INFLUX_ORG", ORG.as_ref()),
            ("INFLUX_BUCKET", BUCKET.as_ref()),
            ("TELEGRAF_ALGORITHMIA", program().as_ref()),
            ("ALGORITHMIA_JOURNAL", journal.as_os_str()),
        ];
        let kcat = self.kcat.iter().map(|kcat| ("KCAT", kcat.as_os_str()));
        Telegraf::start(dir, config, environment.into_iter().chain(kcat))
    }
}

/// Where the Telegraf that was started as `id` has its journal, if it keeps one.
pub fn journal(dir: &Dir, id: &str) -> PathBuf {
    dir.path().join(format!("journal-{id}"))
}
