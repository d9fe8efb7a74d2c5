//! InfluxDB 2: a server with an organization, a bucket and a token, and what
//! tests want to know of it.

use std::ffi::OsStr;
use std::io::Read;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use ureq::Agent;
use ureq::http::Response;

use crate::dir::{Dir, Shared};
use crate::flux::{self, Point, Row, Value};
use crate::install::{influx_binary, influxd_binary};
use crate::process::{Process, free_port, on_free_ports};

/// The organization of every [`Influxdb`].
pub const ORG: &str = "stack";
/// The bucket that every [`Influxdb`] starts with; it keeps data for ever.
pub const BUCKET: &str = "insights";
/// The token that may do everything in every [`Influxdb`].
pub const TOKEN: &str = "token-of-the-stack";

/// The longest range of time that InfluxDB can store points in.
const ALL_TIME: &str = "start: 1677-09-21T00:12:43.145224194Z, stop: 2262-04-11T23:47:16.854775806Z";

/// An InfluxDB. Dereferences to its [`Process`].
pub struct Influxdb {
    process: Process,
    http: Agent,
    url: String,
    cli_configs: PathBuf,
    dir: Arc<Shared>,
}

impl Influxdb {
    /// Starts `influxd` with data of its own and sets up [`ORG`], [`BUCKET`] and
    /// [`TOKEN`].
    pub fn start(dir: &Dir) -> Result<Influxdb> {
        let binary = influxd_binary()?;
        let data = dir.path().join(dir.unique("influxdb-data"));
        let influxdb = on_free_ports(|| {
            let address = format!("127.0.0.1:{}", free_port()?);
            let mut command = Command::new(&binary);
            command
                .arg("--bolt-path")
                .arg(data.join("influxd.bolt"))
                .arg("--sqlite-path")
                .arg(data.join("influxd.sqlite"))
                .arg("--engine-path")
                .arg(data.join("engine"))
                .args(["--http-bind-address", &address, "--reporting-disabled"]);
            let influxdb = Influxdb {
                process: Process::spawn(dir, "influxd", command)?,
                http: agent(),
                url: format!("http://{address}"),
                cli_configs: data.join("cli-configs"),
                dir: Arc::clone(&dir.0),
            };
            influxdb.wait_until_healthy()?;
            Ok(influxdb)
        })?;
        influxdb.post(
            "/api/v2/setup",
            "application/json",
            json!({
                "username": "stack",
                "password": "password-of-the-stack",
                "org": ORG,
                "bucket": BUCKET,
                "token": TOKEN,
                "retentionPeriodSeconds": 0,
            })
            .to_string(),
        )?;
        Ok(influxdb)
    }

    /// Starts a server that has ended, on the same data and port.
    pub fn restart(&self) -> Result<()> {
        self.process.spawn_again()?;
        self.wait_until_healthy()
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Writes line protocol with times in nanoseconds to [`BUCKET`].
    pub fn write(&self, line_protocol: impl AsRef<[u8]>) -> Result<()> {
        let path = format!("/api/v2/write?org={ORG}&bucket={BUCKET}&precision=ns");
        self.post(&path, "text/plain; charset=utf-8", line_protocol.as_ref()).map(drop)
    }

    /// The rows a Flux query gives, from all its tables.
    pub fn query(&self, flux: &str) -> Result<Vec<Row>> {
        flux::rows(self.query_csv(flux)?).with_context(|| format!("the query was: {flux}"))
    }

    /// The annotated CSV text a Flux query gives, as it comes in.
    pub fn query_csv(&self, flux: &str) -> Result<impl Read + use<>> {
        let body = json!({
            "query": flux,
            "dialect": {"header": true, "annotations": ["datatype", "group", "default"]},
        });
        let path = format!("/api/v2/query?org={ORG}");
        let response =
            self.post(&path, "application/json", body.to_string()).with_context(|| format!("the query was: {flux}"))?;
        Ok(response.into_body().into_reader())
    }

    /// Every stored point of a measurement, ordered by time, then tags.
    pub fn points(&self, bucket: &str, measurement: &str) -> Result<Vec<Point>> {
        let flux = format!(
            "from(bucket: {}) |> range({ALL_TIME}) |> filter(fn: (r) => r._measurement == {})",
            literal(bucket),
            literal(measurement)
        );
        flux::points(self.query_csv(&flux)?, measurement).with_context(|| format!("the query was: {flux}"))
    }

    /// The values of a string field of a measurement, one for each point that has
    /// it, in no order. Much faster than [`Influxdb::points`].
    pub fn strings(&self, bucket: &str, measurement: &str, field: &str) -> Result<Vec<String>> {
        let flux = format!(
            "from(bucket: {}) |> range({ALL_TIME}) \
             |> filter(fn: (r) => r._measurement == {} and r._field == {}) |> keep(columns: [\"_value\"])",
            literal(bucket),
            literal(measurement),
            literal(field)
        );
        flux::strings(self.query_csv(&flux)?).with_context(|| format!("the query was: {flux}"))
    }

    /// How many points of a measurement have a certain field.
    pub fn count(&self, bucket: &str, measurement: &str, field: &str) -> Result<u64> {
        let rows = self.query(&format!(
            "from(bucket: {}) |> range({ALL_TIME}) \
             |> filter(fn: (r) => r._measurement == {} and r._field == {}) \
             |> count() |> group() |> sum()",
            literal(bucket),
            literal(measurement),
            literal(field)
        ))?;
        match rows.first().and_then(|row| row.get("_value")) {
            None => Ok(0),
            Some(Value::Integer(count)) => Ok((*count).try_into()?),
            Some(other) => bail!("InfluxDB counted {other:?}"),
        }
    }

    /// How many bytes of writes it has taken since it started. They grow with points
    /// that are there already, too.
    pub fn bytes_taken(&self) -> Result<u64> {
        let response = self.http.get(format!("{}/metrics", self.url)).call()?;
        let text = succeed(response)?.body_mut().read_to_string()?;
        let taken =
            text.lines().filter(|line| line.starts_with("http_write_request_bytes") && line.contains("\"204\""));
        let numbers = taken.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(numbers.sum::<f64>() as u64)
    }

    /// The `influx` command-line client with these arguments, set to this server
    /// and [`ORG`]. The user's own configurations of it have no influence.
    pub fn cli<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Command> {
        let mut command = Command::new(influx_binary()?);
        command
            .args(args)
            .env("INFLUX_HOST", &self.url)
            .env("INFLUX_TOKEN", TOKEN)
            .env("INFLUX_ORG", ORG)
            .env("INFLUX_CONFIGS_PATH", &self.cli_configs)
            .stdin(Stdio::null());
        self.dir.group.adopt(&mut command);
        Ok(command)
    }

    fn wait_until_healthy(&self) -> Result<()> {
        self.process.wait_until_ready(Duration::from_secs(60), || {
            let response = self.http.get(format!("{}/health", self.url)).call()?;
            succeed(response).map(drop)
        })
    }

    fn post(&self, path: &str, content_type: &str, body: impl ureq::AsSendBody) -> Result<Response<ureq::Body>> {
        let url = format!("{}{path}", self.url);
        self.http
            .post(&url)
            .header("Authorization", format!("Token {TOKEN}"))
            .content_type(content_type)
            .header("Accept", "*/*")
            .send(body)
            .map_err(anyhow::Error::from)
            .and_then(succeed)
            .with_context(|| format!("InfluxDB refused a request to {url}"))
    }
}

impl Deref for Influxdb {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        // The answer's text says more than its status.
        .http_status_as_error(false)
        // The user's proxy has no business on the loopback interface.
        .proxy(None)
        .build();
    Agent::new_with_config(config)
}

fn succeed(mut response: Response<ureq::Body>) -> Result<Response<ureq::Body>> {
    if !response.status().is_success() {
        let text = response.body_mut().read_to_string().unwrap_or_default();
        bail!("{}: {}", response.status(), text.trim());
    }
    Ok(response)
}

/// A string in Flux.
fn literal(text: &str) -> String {
    let escaped = text.replace('\\', r"\\").replace('"', r#"\""#).replace("${", r"\${");
    format!("\"{escaped}\"")
}
