//! InfluxDB 2: a server with an organization, a bucket and a token, and what
//! tests want to know of it.

use std::ffi::OsStr;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use serde_json::json;
use ureq::Agent;
use ureq::http::{Request, Response};

use crate::dir::{Dir, Shared};
use crate::flux::{self, Point, Row, Value};
use crate::install::{influx_binary, influxd_binary};
use crate::process::{Process, free_port, on_free_ports};
use crate::wait::wait_for;

/// The organization of every [`Influxdb`].
pub const ORG: &str = "stack";
/// The bucket that [`Influxdb::start`] makes, and that [`Influxdb::write`] writes to.
pub const BUCKET: &str = "insights";
/// Who may log in to every [`Influxdb`].
pub const USER: &str = "stack";
/// The password of [`USER`].
pub const PASSWORD: &str = "password-of-the-stack";
/// The token that may do everything in every [`Influxdb`].
pub const TOKEN: &str = "token-of-the-stack";

const NO_ENV: [(&str, &str); 0] = [];

/// The longest range of time that InfluxDB can store points in.
const ALL_TIME: &str = "start: 1677-09-21T00:12:43.145224194Z, stop: 2262-04-11T23:47:16.854775806Z";

/// An InfluxDB. Dereferences to its [`Process`].
pub struct Influxdb {
    process: Process,
    http: Agent,
    url: String,
    org_id: String,
    cli_configs: PathBuf,
    dir: Arc<Shared>,
}

impl Influxdb {
    /// Starts `influxd` with data of its own and sets up [`ORG`], [`USER`],
    /// [`TOKEN`] and [`BUCKET`].
    pub fn start(dir: &Dir) -> Result<Influxdb> {
        Influxdb::start_with(dir, BUCKET, NO_ENV)
    }

    /// The same without [`BUCKET`], for what brings it. Setting up takes some
    /// bucket: this one is called `initial`.
    pub fn start_empty(dir: &Dir) -> Result<Influxdb> {
        Influxdb::start_with(dir, "initial", NO_ENV)
    }

    /// Starts `influxd` with another bucket, which keeps data for ever, and with
    /// environment variables on top of the test's own, such as
    /// `INFLUXD_LOG_LEVEL`.
    pub fn start_with<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        dir: &Dir,
        bucket: &str,
        envs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Influxdb> {
        let binary = influxd_binary()?;
        let data = dir.path().join(dir.unique("influxdb-data"));
        let envs = envs.into_iter().collect::<Vec<_>>();
        let mut influxdb = on_free_ports(|| {
            let address = format!("127.0.0.1:{}", free_port()?);
            let mut command = Command::new(&binary);
            command
                .arg("--bolt-path")
                .arg(data.join("influxd.bolt"))
                .arg("--sqlite-path")
                .arg(data.join("influxd.sqlite"))
                .arg("--engine-path")
                .arg(data.join("engine"))
                .args(["--http-bind-address", &address, "--reporting-disabled"])
                .envs(envs.iter().map(|(key, value)| (key, value)));
            let influxdb = Influxdb {
                process: Process::spawn(dir, "influxd", command)?,
                http: agent(),
                url: format!("http://{address}"),
                org_id: String::new(),
                cli_configs: data.join("cli-configs"),
                dir: Arc::clone(&dir.0),
            };
            influxdb.wait_until_healthy()?;
            Ok(influxdb)
        })?;
        let answer = influxdb.post_json(
            "/api/v2/setup",
            &json!({
                "username": USER,
                "password": PASSWORD,
                "org": ORG,
                "bucket": bucket,
                "token": TOKEN,
                "retentionPeriodSeconds": 0,
            }),
        )?;
        influxdb.org_id = answer["org"]["id"].as_str().context("the setup gives no organization")?.to_owned();
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

    /// The id of [`ORG`], which some paths of the HTTP API take in place of its name.
    pub fn org_id(&self) -> &str {
        &self.org_id
    }

    /// Writes line protocol with times in nanoseconds to [`BUCKET`].
    pub fn write(&self, line_protocol: impl AsRef<[u8]>) -> Result<()> {
        self.write_to(BUCKET, line_protocol)
    }

    /// The same to another bucket, such as `_monitoring`.
    pub fn write_to(&self, bucket: &str, line_protocol: impl AsRef<[u8]>) -> Result<()> {
        let path = format!("/api/v2/write?org={ORG}&bucket={bucket}&precision=ns");
        self.post(&path, "text/plain; charset=utf-8", line_protocol.as_ref()).map(drop)
    }

    /// The rows a Flux query gives, from all its tables.
    pub fn query(&self, flux: &str) -> Result<Vec<Row>> {
        flux::rows(self.query_csv(flux)?).with_context(|| format!("the query was: {flux}"))
    }

    /// The series that an InfluxQL query gives, with times in milliseconds, at the API of InfluxDB 1: with a token, in the
    /// database [`BUCKET`].
    pub fn influxql(&self, token: &str, query: &str) -> Result<Vec<serde_json::Value>> {
        let encoded = query.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let request = self.http.get(format!("{}/query?db={BUCKET}&epoch=ms&q={encoded}", self.url));
        let response = request.header("Authorization", format!("Token {token}")).call()?;
        let mut answer = succeed(response).and_then(read_json).with_context(|| format!("the query was: {query}"))?;
        let result = answer["results"][0].take();
        ensure!(result["error"].is_null(), "InfluxDB says {}; the query was: {query}", result["error"]);
        Ok(result["series"].as_array().cloned().unwrap_or_default())
    }

    /// The annotated CSV text a Flux query gives, as it comes in.
    pub fn query_csv(&self, flux: &str) -> Result<impl Read + use<>> {
        self.query_with_extern(flux, &json!(null))
    }

    /// Runs a query together with another Flux file, given as its syntax tree.
    pub(crate) fn query_with_extern(&self, flux: &str, file: &serde_json::Value) -> Result<impl Read + use<>> {
        let body = json!({
            "query": flux,
            "extern": file,
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

    /// What `GET` answers at a path of the HTTP API, such as
    /// `/api/v2/buckets?name=insights`.
    pub fn get(&self, path: &str) -> Result<serde_json::Value> {
        read_json(self.request("GET", path, None, ())?)
    }

    /// What `POST` answers; null if that is nothing.
    pub fn post_json(&self, path: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
        read_json(self.post(path, "application/json", body.to_string())?)
    }

    /// Deletes what is at a path of the HTTP API.
    pub fn delete(&self, path: &str) -> Result<()> {
        self.request("DELETE", path, None, ()).map(drop)
    }

    /// All that [`ORG`] has of a kind: `buckets`, `checks`, `dashboards`, `labels`,
    /// `notificationEndpoints`, `notificationRules`, `stacks`, `tasks`, `telegrafs`,
    /// `variables`. InfluxDB's own are among them, such as the bucket `_monitoring`.
    pub fn list(&self, kind: &str) -> Result<Vec<serde_json::Value>> {
        const PAGE: usize = 100;
        let answer = self.get(&format!("/api/v2/{kind}?orgID={}&limit={PAGE}", self.org_id))?;
        // One list and links; the list has the name of the kind, but for telegrafs.
        let list = answer.as_object().and_then(|answer| answer.values().find_map(|value| value.as_array()));
        let list = list.with_context(|| format!("InfluxDB's {kind} are no list: {answer}"))?;
        ensure!(list.len() < PAGE, "there are {PAGE} {kind} or more, of which only the first {PAGE} are asked for");
        Ok(list.clone())
    }

    /// The id of the task of this name. InfluxDB does not list those of checks.
    pub fn task(&self, name: &str) -> Result<String> {
        let tasks = self.list("tasks")?;
        let task = tasks.iter().find(|task| task["name"] == name).and_then(|task| task["id"].as_str());
        task.map(str::to_owned).with_context(|| format!("there is no task {name}"))
    }

    /// Runs a task, or the task of a check, now or as at another tick, and waits for its end. Gives what InfluxDB says of the
    /// run, such as `startedAt` and `finishedAt`. It is picked up within a second.
    pub fn run_task(&self, id: &str, tick: Option<Timestamp>) -> Result<serde_json::Value> {
        let body = tick.map_or(json!({}), |tick| json!({"scheduledFor": tick.to_string()}));
        let run = self.post_json(&format!("/api/v2/tasks/{id}/runs"), &body)?;
        let run = run["id"].as_str().context("the run has no id")?.to_owned();
        wait_for("the end of a task's run", Duration::from_secs(3600), || {
            // While InfluxDB notes down that it is over, for a moment nothing is known of it; and where two are over at once, it
            // panics over its list of them (combineRuns), which is all there again the next moment.
            let Ok(runs) = self.get(&format!("/api/v2/tasks/{id}/runs?limit=500")) else {
                self.ensure_running()?;
                return Ok(None);
            };
            let mut runs = runs["runs"].as_array().into_iter().flatten();
            let run = runs.find(|other| other["id"] == *run).filter(|run| run["status"] != "scheduled");
            match run.filter(|run| run["status"] != "started") {
                // Its times may be written later.
                Some(run) if run["status"] == "success" => Ok(run["finishedAt"].is_string().then(|| run.clone())),
                Some(run) => bail!("a task's run did not succeed: {run}"),
                None => Ok(None),
            }
        })
    }

    /// Applies a template with the `influx` command-line client, as
    /// `influx apply --file TEMPLATE --force yes`, with more arguments such as
    /// `--env-ref=KEY=VALUE`, `--secret=KEY=VALUE` and `--stack-id=ID`. (It takes no
    /// second `=` in a value.)
    ///
    /// Gives what it reports: `diff` (by kind, with the `stateStatus` new, exists or
    /// remove), `summary` (what is there now, by kind) and `stackID`.
    pub fn apply(&self, template: &Path, args: &[&str]) -> Result<serde_json::Value> {
        let apply = ["apply", "--force", "yes", "--json", "--file"].map(OsStr::new);
        let args = args.iter().map(OsStr::new);
        let output = self.cli(apply.into_iter().chain([template.as_os_str()]).chain(args))?.output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!(
                "influx apply --file {} failed ({}):\n{}",
                template.display(),
                output.status,
                [complaint.trim(), said.trim()].join("\n").trim()
            );
        }
        // Two values, one after the other.
        let mut reports = serde_json::Deserializer::from_str(&said).into_iter::<serde_json::Value>();
        match (reports.next().transpose()?, reports.next().transpose()?) {
            (Some(diff), Some(mut result)) => Ok(json!({
                "diff": diff,
                "summary": result["Summary"].take(),
                "stackID": result["stackID"].take(),
            })),
            _ => bail!("influx apply did not report what it did: {said}"),
        }
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
        self.process.wait_until_ready(Duration::from_secs(180), || {
            let response = self.http.get(format!("{}/health", self.url)).call()?;
            succeed(response).map(drop)
        })
    }

    fn post(&self, path: &str, content_type: &str, body: impl ureq::AsSendBody) -> Result<Response<ureq::Body>> {
        self.request("POST", path, Some(content_type), body)
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: impl ureq::AsSendBody,
    ) -> Result<Response<ureq::Body>> {
        let url = format!("{}{path}", self.url);
        let mut request = Request::builder()
            .method(method)
            .uri(&url)
            .header("Authorization", format!("Token {TOKEN}"))
            .header("Accept", "*/*");
        if let Some(content_type) = content_type {
            request = request.header("Content-Type", content_type);
        }
        let response = self.http.run(request.body(body)?);
        response
            .map_err(anyhow::Error::from)
            .and_then(succeed)
            .with_context(|| format!("InfluxDB refused a request: {method} {url}"))
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
        // Most errors are an object with a message, among codes that say less.
        let object = serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default();
        let message = object["message"].as_str().unwrap_or(text.trim());
        bail!("{}: {message}", response.status());
    }
    Ok(response)
}

fn read_json(mut response: Response<ureq::Body>) -> Result<serde_json::Value> {
    let text = response.body_mut().with_config().limit(u64::MAX).read_to_string()?;
    if text.is_empty() {
        return Ok(serde_json::Value::Null);
    }
    serde_json::from_str(&text).with_context(|| format!("InfluxDB's answer is not JSON: {text}"))
}

/// A string in Flux.
fn literal(text: &str) -> String {
    let escaped = text.replace('\\', r"\\").replace('"', r#"\""#).replace("${", r"\${");
    format!("\"{escaped}\"")
}
