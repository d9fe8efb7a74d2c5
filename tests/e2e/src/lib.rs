/*!
Real servers for tests and examples: Kafka, Telegraf and InfluxDB, built once
from package registries and started on free loopback ports.

```no_run
use std::time::Duration;

stack::test("kafka-to-influxdb", |dir| {
    let kafka = stack::Kafka::start(dir)?;
    kafka.create_topic("insights", 3)?;
    kafka.produce("insights", ["{}", "{}"])?;

    let influxdb = stack::Influxdb::start(dir)?;
    let telegraf = stack::Telegraf::start(
        dir,
        "telegraf.conf",
        [("KAFKA_BROKER", kafka.broker()), ("INFLUX_HOST", influxdb.url())],
    )?;
    stack::wait_for("two points", Duration::from_secs(60), || {
        telegraf.ensure_running()?;
        let points = influxdb.points(stack::BUCKET, "algorithmia")?;
        Ok((points.len() == 2).then_some(()))
    })?;
    telegraf.terminate()?;
    Ok(())
});
```

Templates are applied, and what is in them is read and run as InfluxDB's own UI
does it; a [`Receiver`] takes what InfluxDB sends to Slack and the like:

```no_run
use std::path::Path;

stack::test("template", |dir| {
    let influxdb = stack::Influxdb::start(dir)?;
    let slack = stack::Receiver::start()?;
    influxdb.apply(Path::new("template.yml"), &["--secret=slack=token"])?;

    let mut v = stack::Variables::new("-1h", "now()")?;
    v.set("algorithmia_algorithm", "credit_card_approval");
    influxdb.resolve_variables(&mut v)?;
    for cell in &influxdb.dashboards()?[0].cells {
        for query in &cell.queries {
            let rows = influxdb.query_with(query, &v)?;
            println!("{}: {} rows", cell.name, rows.len());
        }
    }
    println!("{} calls of the webhook", slack.requests().len());
    Ok(())
});
```

# Where the servers come from

The environment variables `TELEGRAF`, `OLD_TELEGRAF`, `INFLUXD`, `INFLUX`,
`KCAT`, `PYTHON_WITH_SCIPY` (paths of binaries) and `KAFKA_LIBS` (a folder with Kafka's
jars) are used as they are. Without them each server is built the first time it is needed, from the recipes
in `servers/`, into `telegraf-algorithmia/` in the user's cache folder
(`$XDG_CACHE_HOME` or `~/.cache`), which takes `go`, a C compiler, `cargo`,
`mvn` and `java`. `kcat`, where it is not on the PATH, is fetched as a package
of Debian's, which takes `apt-get`, but no root; so is pip, where Python, of
which version 3.11 is needed, has none for numpy and scipy. `cargo run -p e2e
--example install` does all that ahead of time.

# What is left behind

Nothing. The servers of a [`Dir`] end with it, and with the process that made
it, however that ends: see [`Process`]. Data and logs are removed too, unless
the test failed: then the folder stays and its path is printed.

Unix only.
*/

#![deny(missing_docs)]

mod dashboard;
mod descendant;
mod dir;
mod flux;
mod influxdb;
mod install;
mod kafka;
mod process;
mod proxy;
mod receiver;
mod screen;
mod telegraf;
mod variables;
mod wait;

pub use dashboard::{Cell, Dashboard};
pub use descendant::Descendant;
pub use dir::{Dir, test};
pub use flux::{Point, Row, Value, rows};
pub use influxdb::{BUCKET, Influxdb, ORG, PASSWORD, TOKEN, USER};
pub use install::{
    actionlint_binary, algorithmia_binary, cargo_about_binary, cargo_cyclonedx_binary, cargo_deb_binary,
    cargo_generate_rpm_binary, cloudevents_binary, crane_binary, debian_root, debian_rpm_root, debian_tools_root,
    grafana_schema, influx_binary, influxd_binary, kafka_libs, kcat_binary, kubeconform_binary, kubernetes_schemas,
    old_telegraf_binary, python_binary, qemu_aarch64_binary, telegraf_binary,
};
pub use kafka::{Kafka, Listener, Login};
pub use process::Process;
pub use proxy::Proxy;
pub use receiver::{Receiver, Request};
pub use telegraf::Telegraf;
pub use variables::{Arguments, Moment, Variable, Variables};
pub use wait::wait_for;
