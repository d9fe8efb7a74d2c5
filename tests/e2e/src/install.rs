//! Where the servers' binaries come from: a variable of the user's, the cache,
//! or a build from the recipes in `servers/`.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use etcetera::BaseStrategy;

use crate::process::{Group, last_line, tail};

/// How one server is built.
struct Recipe {
    /// What it is called, also in the cache.
    name: &'static str,
    version: &'static str,
    /// The environment variable that replaces the build.
    variable: &'static str,
    /// What `variable` names, and what the steps leave in the folder `{out}`.
    product: &'static str,
    /// The files the steps run on.
    files: &'static [(&'static str, &'static str)],
    needs: &'static [Tool],
    /// How long it takes, for people who wait.
    usually: &'static str,
    steps: &'static [Step],
}

/// A command in the folder of the recipe's files. `{out}` stands for the folder
/// of the result.
struct Step {
    command: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
}

/// Something that has to be there to build.
struct Tool {
    what: &'static str,
    /// Any of these will do.
    commands: &'static [&'static str],
}

const GO: Tool = Tool { what: "Go", commands: &["go"] };
const CARGO: Tool = Tool { what: "Rust's cargo (for the Flux library)", commands: &["cargo"] };
const CC: Tool = Tool { what: "a C compiler", commands: &["gcc", "cc", "clang"] };
const APT: Tool = Tool { what: "Debian's apt", commands: &["apt-get"] };
const PYTHON3: Tool = Tool { what: "Python 3.11 or newer", commands: &["python3"] };
const NODE: Tool = Tool { what: "Node.js 18 or newer, with npm", commands: &["npm"] };
const MAVEN: Tool = Tool { what: "Maven", commands: &["mvn"] };

const TELEGRAF: Recipe = Recipe {
    name: "telegraf",
    version: "1.39.3",
    variable: "TELEGRAF",
    product: "telegraf",
    files: &[
        ("go.mod", include_str!("../servers/telegraf/go.mod")),
        ("go.sum", include_str!("../servers/telegraf/go.sum")),
    ],
    needs: &[GO],
    usually: "two minutes",
    steps: &[Step {
        command: &[
            "go",
            "build",
            "-v",
            "-tags",
            "custom,\
             inputs.exec,inputs.execd,inputs.file,inputs.http,inputs.http_listener_v2,\
             inputs.internal,inputs.kafka_consumer,inputs.mock,inputs.tail,\
             processors.converter,processors.execd,processors.override,processors.rename,\
             processors.starlark,\
             outputs.discard,outputs.execd,outputs.file,outputs.http,outputs.influxdb_v2,\
             parsers.csv,parsers.influx,parsers.json,parsers.json_v2,parsers.value,\
             serializers.csv,serializers.influx,serializers.json,\
             secretstores.docker,secretstores.http,secretstores.jose,secretstores.os,\
             secretstores.systemd",
            "-ldflags",
            "-s -w -X github.com/influxdata/telegraf/internal.Version=1.39.3",
            "-o",
            "{out}/telegraf",
            "github.com/influxdata/telegraf/cmd/telegraf",
        ],
        env: &[("CGO_ENABLED", "0")],
    }],
};

/// One that is older than the shipped telegraf.conf takes: a user's, before the upgrade.
const OLD_TELEGRAF: Recipe = Recipe {
    name: "telegraf-old",
    version: "1.31.3",
    variable: "OLD_TELEGRAF",
    product: "telegraf",
    files: &[
        ("go.mod", include_str!("../servers/telegraf-old/go.mod")),
        ("go.sum", include_str!("../servers/telegraf-old/go.sum")),
    ],
    needs: &[GO],
    usually: "a minute",
    steps: &[Step {
        command: &[
            "go",
            "build",
            "-v",
            "-tags",
            "custom,inputs.internal,inputs.kafka_consumer,processors.execd,outputs.influxdb_v2,\
             parsers.influx,parsers.value,serializers.influx",
            "-ldflags",
            "-s -w -X github.com/influxdata/telegraf/internal.Version=1.31.3",
            "-o",
            "{out}/telegraf",
            "github.com/influxdata/telegraf/cmd/telegraf",
        ],
        env: &[("CGO_ENABLED", "0")],
    }],
};

const INFLUXD: Recipe = Recipe {
    name: "influxd",
    version: "2.9.1",
    variable: "INFLUXD",
    product: "influxd",
    files: INFLUXDB_FILES,
    needs: &[GO, CARGO, CC],
    usually: "five to ten minutes",
    steps: &[
        // Flux is a Rust library; this builds it and tells Go where it is.
        Step {
            command: &["go", "build", "-v", "-o", "{out}/pkg-config", "github.com/influxdata/pkg-config"],
            env: &[],
        },
        Step {
            command: &[
                "go",
                "build",
                "-v",
                "-tags",
                "sqlite_foreign_keys,sqlite_json",
                "-ldflags",
                "-s -w -X main.version=2.9.1",
                "-o",
                "{out}/influxd",
                "github.com/influxdata/influxdb/v2/cmd/influxd",
            ],
            env: &[("CGO_ENABLED", "1"), ("PKG_CONFIG", "{out}/pkg-config")],
        },
    ],
};

const INFLUX: Recipe = Recipe {
    name: "influx",
    version: "2.7.1-0.20250130214939",
    variable: "INFLUX",
    product: "influx",
    files: INFLUXDB_FILES,
    needs: &[GO],
    usually: "half a minute",
    steps: &[Step {
        command: &[
            "go",
            "build",
            "-v",
            "-ldflags",
            "-s -w",
            "-o",
            "{out}/influx",
            "github.com/influxdata/influx-cli/v2/cmd/influx",
        ],
        env: &[("CGO_ENABLED", "0")],
    }],
};

const INFLUXDB_FILES: &[(&str, &str)] =
    &[("go.mod", include_str!("../servers/influxdb/go.mod")), ("go.sum", include_str!("../servers/influxdb/go.sum"))];

const KAFKA: Recipe = Recipe {
    name: "kafka",
    version: "4.3.1",
    variable: "KAFKA_LIBS",
    product: "libs",
    files: &[("pom.xml", include_str!("../servers/kafka/pom.xml"))],
    needs: &[MAVEN],
    usually: "half a minute",
    steps: &[Step {
        command: &["mvn", "-B", "dependency:copy-dependencies", "-DoutputDirectory={out}/libs"],
        env: &[],
    }],
};

const KCAT: Recipe = Recipe {
    name: "kcat",
    version: "1.7.1",
    variable: "KCAT",
    product: "kcat",
    files: &[("fetch.sh", include_str!("../servers/kcat/fetch.sh"))],
    needs: &[APT],
    usually: "ten seconds",
    steps: &[Step { command: &["sh", "fetch.sh", "{out}"], env: &[("VERSION", "1.7.1")] }],
};

const CARGO_DEB: Recipe = Recipe {
    name: "cargo-deb",
    version: "3.8.0",
    variable: "CARGO_DEB",
    product: "bin/cargo-deb",
    files: &[],
    needs: &[CARGO],
    usually: "two minutes",
    steps: &[Step {
        command: &["cargo", "install", "--locked", "--version", "3.8.0", "--root", "{out}", "cargo-deb"],
        env: &[("CARGO_TARGET_DIR", "target")],
    }],
};

const CARGO_ABOUT: Recipe = Recipe {
    name: "cargo-about",
    version: "0.9.3",
    variable: "CARGO_ABOUT",
    product: "bin/cargo-about",
    files: &[],
    needs: &[CARGO, CC],
    usually: "three minutes",
    steps: &[Step {
        command: &[
            "cargo",
            "install",
            "--locked",
            "--version",
            "0.9.3",
            "--features",
            "cli",
            "--root",
            "{out}",
            "cargo-about",
        ],
        env: &[("CARGO_TARGET_DIR", "target")],
    }],
};

const CARGO_GENERATE_RPM: Recipe = Recipe {
    name: "cargo-generate-rpm",
    version: "0.21.1",
    variable: "CARGO_GENERATE_RPM",
    product: "bin/cargo-generate-rpm",
    steps: &[Step {
        command: &["cargo", "install", "--locked", "--version", "0.21.1", "--root", "{out}", "cargo-generate-rpm"],
        env: &[("CARGO_TARGET_DIR", "target")],
    }],
    ..CARGO_ABOUT
};

const CARGO_CYCLONEDX: Recipe = Recipe {
    name: "cargo-cyclonedx",
    version: "0.5.9",
    variable: "CARGO_CYCLONEDX",
    product: "bin/cargo-cyclonedx",
    steps: &[Step {
        command: &["cargo", "install", "--locked", "--version", "0.5.9", "--root", "{out}", "cargo-cyclonedx"],
        env: &[("CARGO_TARGET_DIR", "target")],
    }],
    ..CARGO_ABOUT
};

const ACTIONLINT: Recipe = Recipe {
    name: "actionlint",
    version: "1.7.12",
    variable: "ACTIONLINT",
    product: "actionlint",
    steps: &[Step {
        command: &["go", "build", "-o", "{out}/actionlint", "github.com/rhysd/actionlint/cmd/actionlint"],
        env: &[("CGO_ENABLED", "0")],
    }],
    ..CHECKERS
};

const KUBECONFORM: Recipe = Recipe {
    name: "kubeconform",
    version: "0.7.0",
    variable: "KUBECONFORM",
    product: "kubeconform",
    steps: &[Step {
        command: &["go", "build", "-o", "{out}/kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"],
        env: &[("CGO_ENABLED", "0")],
    }],
    ..CHECKERS
};

const CRANE: Recipe = Recipe {
    name: "crane",
    version: "0.22.1",
    variable: "CRANE",
    product: "crane",
    steps: &[Step {
        command: &["go", "build", "-o", "{out}/crane", "github.com/google/go-containerregistry/cmd/crane"],
        env: &[("CGO_ENABLED", "0")],
    }],
    ..CHECKERS
};

/// What the tools that check a release have in common.
const CHECKERS: Recipe = Recipe {
    name: "",
    version: "",
    variable: "",
    product: "",
    files: &[
        ("go.mod", include_str!("../servers/checkers/go.mod")),
        ("go.sum", include_str!("../servers/checkers/go.sum")),
    ],
    needs: &[GO],
    usually: "a quarter of a minute",
    steps: &[],
};

const KUBERNETES_SCHEMAS: Recipe = Recipe {
    name: "kubernetes-schemas",
    version: "1.37.0",
    variable: "KUBERNETES_SCHEMAS",
    product: "schemas",
    files: &[
        ("install.sh", include_str!("../servers/python/install.sh")),
        ("requirements.txt", include_str!("../servers/kubernetes/requirements.txt")),
        ("schemas.sh", include_str!("../servers/kubernetes/schemas.sh")),
    ],
    needs: &[PYTHON3],
    usually: "ten seconds",
    steps: &[Step { command: &["sh", "schemas.sh", "{out}"], env: &[] }],
};

const QEMU_AARCH64: Recipe = Recipe {
    name: "qemu-aarch64",
    version: "7.2",
    variable: "QEMU_AARCH64",
    product: "qemu-aarch64-static",
    files: &[("fetch.sh", include_str!("../servers/qemu/fetch.sh"))],
    needs: &[APT],
    usually: "ten seconds",
    steps: &[Step { command: &["sh", "fetch.sh", "{out}"], env: &[("VERSION", "7.2")] }],
};

const PYTHON: Recipe = Recipe {
    name: "python",
    version: "numpy-2.4.6-scipy-1.17.1",
    variable: "PYTHON_WITH_SCIPY",
    product: "bin/python3",
    files: &[
        ("install.sh", include_str!("../servers/python/install.sh")),
        ("requirements.txt", include_str!("../servers/python/requirements.txt")),
    ],
    needs: &[PYTHON3],
    usually: "half a minute",
    steps: &[Step { command: &["sh", "install.sh", "{out}", "numpy, scipy.stats"], env: &[] }],
};

const CLOUDEVENTS: Recipe = Recipe {
    name: "python-cloudevents",
    version: "2.2.0",
    variable: "PYTHON_WITH_CLOUDEVENTS",
    product: "bin/python3",
    files: &[
        ("install.sh", include_str!("../servers/python/install.sh")),
        ("requirements.txt", include_str!("../servers/cloudevents/requirements.txt")),
    ],
    needs: &[PYTHON3],
    usually: "ten seconds",
    steps: &[Step { command: &["sh", "install.sh", "{out}", "cloudevents.core"], env: &[] }],
};

const ALGORITHMIA: Recipe = Recipe {
    name: "python-algorithmia",
    version: "2.0.5",
    variable: "PYTHON_WITH_ALGORITHMIA",
    product: "bin/python3",
    files: &[
        ("install.sh", include_str!("../servers/python/install.sh")),
        ("requirements.txt", include_str!("../servers/algorithmia/requirements.txt")),
    ],
    needs: &[PYTHON3],
    usually: "half a minute",
    steps: &[Step { command: &["sh", "install.sh", "{out}", "Algorithmia, adk, numpy"], env: &[] }],
};

const GRAFANA_SCHEMA: Recipe = Recipe {
    name: "grafana-schema",
    version: "13.2.3",
    variable: "GRAFANA_SCHEMA",
    product: "node_modules",
    files: &[
        ("package.json", include_str!("../servers/grafana-schema/package.json")),
        ("package-lock.json", include_str!("../servers/grafana-schema/package-lock.json")),
    ],
    needs: &[NODE],
    usually: "ten seconds",
    steps: &[
        Step { command: &["npm", "ci", "--ignore-scripts"], env: &[] },
        Step { command: &["mv", "node_modules", "{out}"], env: &[] },
    ],
};

const DEBIAN: Recipe = Recipe {
    name: "debian",
    version: "1",
    variable: "DEBIAN",
    product: "root.tar",
    files: DEBIAN_FILES,
    needs: &[APT],
    usually: "half a minute",
    steps: &[Step { command: &["sh", "root.sh", "{out}/root.tar", "apt"], env: &[] }],
};

const DEBIAN_TOOLS: Recipe = Recipe {
    name: "debian-tools",
    version: "1",
    variable: "DEBIAN_TOOLS",
    product: "root.tar",
    files: DEBIAN_FILES,
    needs: &[APT],
    usually: "a minute",
    steps: &[Step {
        command: &["sh", "root.sh", "{out}/root.tar", "bash-completion", "fish", "mandoc", "zsh"],
        env: &[],
    }],
};

const DEBIAN_RPM: Recipe = Recipe {
    name: "debian-rpm",
    version: "1",
    variable: "DEBIAN_RPM",
    product: "root.tar",
    files: DEBIAN_FILES,
    needs: &[APT],
    usually: "a minute",
    steps: &[Step { command: &["sh", "root.sh", "{out}/root.tar", "rpm"], env: &[] }],
};

const DEBIAN_FILES: &[(&str, &str)] = &[("root.sh", include_str!("../servers/debian/root.sh"))];

/// The path of the `telegraf` binary; builds it if need be.
pub fn telegraf_binary() -> Result<PathBuf> {
    provide(&TELEGRAF)
}

/// The path of a `telegraf` binary that is too old; builds it if need be.
pub fn old_telegraf_binary() -> Result<PathBuf> {
    provide(&OLD_TELEGRAF)
}

/// The path of the `influxd` binary; builds it if need be.
pub fn influxd_binary() -> Result<PathBuf> {
    provide(&INFLUXD)
}

/// The path of the `influx` command-line client; builds it if need be.
pub fn influx_binary() -> Result<PathBuf> {
    provide(&INFLUX)
}

/// The path of the `kcat` binary: one on the PATH will do; else it is fetched.
pub fn kcat_binary() -> Result<PathBuf> {
    match find_command(KCAT.product) {
        Some(kcat) if env::var_os(KCAT.variable).is_none() => Ok(kcat),
        _ => provide(&KCAT),
    }
}

/// The folder that holds Kafka's jars; fetches them if need be.
pub fn kafka_libs() -> Result<PathBuf> {
    provide(&KAFKA)
}

/// The path of the `cargo-deb` binary; builds it if need be.
pub fn cargo_deb_binary() -> Result<PathBuf> {
    provide(&CARGO_DEB)
}

/// The path of the `cargo-about` binary; builds it if need be.
pub fn cargo_about_binary() -> Result<PathBuf> {
    provide(&CARGO_ABOUT)
}

/// The path of the `cargo-generate-rpm` binary; builds it if need be.
pub fn cargo_generate_rpm_binary() -> Result<PathBuf> {
    provide(&CARGO_GENERATE_RPM)
}

/// The path of the `cargo-cyclonedx` binary; builds it if need be.
pub fn cargo_cyclonedx_binary() -> Result<PathBuf> {
    provide(&CARGO_CYCLONEDX)
}

/// The path of the `actionlint` binary, which checks workflows of GitHub's; builds it if need be.
pub fn actionlint_binary() -> Result<PathBuf> {
    provide(&ACTIONLINT)
}

/// The path of the `kubeconform` binary, which checks manifests of Kubernetes; builds it if need be.
pub fn kubeconform_binary() -> Result<PathBuf> {
    provide(&KUBECONFORM)
}

/// The path of the `crane` binary, a registry of images and its client; builds it if need be.
pub fn crane_binary() -> Result<PathBuf> {
    provide(&CRANE)
}

/// A folder with the schemas of Kubernetes' objects, in one folder for each version; makes it if need be.
pub fn kubernetes_schemas() -> Result<PathBuf> {
    provide(&KUBERNETES_SCHEMAS)
}

/// The path of the emulator of aarch64, a static program; fetches it if need be.
pub fn qemu_aarch64_binary() -> Result<PathBuf> {
    provide(&QEMU_AARCH64)
}

/// The path of a Python that has numpy and scipy; makes it if need be.
pub fn python_binary() -> Result<PathBuf> {
    provide(&PYTHON)
}

/// The path of a Python that has cloudevents; makes it if need be.
pub fn cloudevents_binary() -> Result<PathBuf> {
    provide(&CLOUDEVENTS)
}

/// The path of a Python that has Algorithmia's client and numpy; makes it if need be.
pub fn algorithmia_binary() -> Result<PathBuf> {
    provide(&ALGORITHMIA)
}

/// A folder `node_modules` with Grafana's schema and TypeScript's compiler; fills it if need be.
pub fn grafana_schema() -> Result<PathBuf> {
    provide(&GRAFANA_SCHEMA)
}

/// A tar file with the root of a Debian that has only what every Debian has; makes it if need be.
pub fn debian_root() -> Result<PathBuf> {
    provide(&DEBIAN)
}

/// The same of a Debian with what checks man pages, and with the shells that have completions.
pub fn debian_tools_root() -> Result<PathBuf> {
    provide(&DEBIAN_TOOLS)
}

/// The same of a Debian with rpm and rpmbuild.
pub fn debian_rpm_root() -> Result<PathBuf> {
    provide(&DEBIAN_RPM)
}

/// The Java runtime that Kafka runs on.
pub(crate) fn java() -> Result<PathBuf> {
    let home = env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java"));
    home.filter(|java| java.exists())
        .or_else(|| find_command("java"))
        .context("Kafka needs Java 17 or newer, but no `java` was found: install it or set JAVA_HOME")
}

/// The path of a command that `PATH` offers.
pub(crate) fn find_command(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn provide(recipe: &Recipe) -> Result<PathBuf> {
    if let Some(path) = env::var_os(recipe.variable) {
        let path = std::path::absolute(path)?;
        if !path.exists() {
            bail!(
                "the environment variable {} says {}, which does not exist: \
                 correct it, or unset it to have {} {} built",
                recipe.variable,
                path.display(),
                recipe.name,
                recipe.version
            );
        }
        return Ok(path);
    }
    let cache = etcetera::choose_base_strategy()
        .context("cannot tell where the cache folder is: set XDG_CACHE_HOME")?
        .cache_dir()
        .join("telegraf-algorithmia");
    let key = format!("{}-{}-{:08x}", recipe.name, recipe.version, fingerprint(recipe));
    let folder = cache.join(&key);
    // The folder gets this name only when it is complete.
    if !folder.exists() {
        fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
        let lock_path = cache.join(format!("{key}.lock"));
        let lock = File::create(&lock_path).with_context(|| format!("cannot write {}", lock_path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                say(&format!("waiting for another process that builds {key}"));
                lock.lock()?;
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        if !folder.exists() {
            build(recipe, &cache, &key)?;
        }
    }
    Ok(folder.join(recipe.product))
}

/// Builds beside the final folder and renames when all is there. The caller
/// holds the lock.
fn build(recipe: &Recipe, cache: &Path, key: &str) -> Result<()> {
    check_tools(recipe)?;
    let log_path = cache.join(format!("{key}.log"));
    let unfinished = cache.join(format!("{key}.unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    let source = unfinished.join("source");
    let out = unfinished.join("out");
    fs::create_dir_all(&source)?;
    fs::create_dir_all(&out)?;
    for (name, content) in recipe.files {
        fs::write(source.join(name), content)?;
    }

    say(&format!(
        "building {} {}; this happens once and usually takes {}; log: {}",
        recipe.name,
        recipe.version,
        recipe.usually,
        log_path.display()
    ));
    let start = Instant::now();
    let log = File::create(&log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
    for step in recipe.steps {
        run_step(step, &source, &out, &log, &log_path, start).with_context(|| {
            format!(
                "cannot build {} {} (or set {} to have your own used); the end of {}:\n{}",
                recipe.name,
                recipe.version,
                recipe.variable,
                log_path.display(),
                tail(&fs::read_to_string(&log_path).unwrap_or_default(), 20)
            )
        })?;
    }
    if !out.join(recipe.product).exists() {
        bail!("the build of {} left no `{}`; see {}", key, recipe.product, log_path.display());
    }
    fs::rename(&out, cache.join(key)).with_context(|| format!("cannot rename {}", out.display()))?;
    fs::remove_dir_all(&unfinished)?;
    say(&format!("built {key} in {} s", start.elapsed().as_secs()));
    Ok(())
}

fn run_step(step: &Step, source: &Path, out: &Path, log: &File, log_path: &Path, start: Instant) -> Result<()> {
    let fill = |text: &str| text.replace("{out}", &out.to_string_lossy());
    let mut command = Command::new(step.command[0]);
    command
        .args(step.command[1..].iter().map(|arg| fill(arg)))
        .envs(step.env.iter().map(|(key, value)| (key, fill(value))))
        .current_dir(source)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?);
    isolate(&mut command);

    // Dropping the group ends the compilers too, should we return early.
    let group = Group::new()?;
    group.adopt(&mut command);
    let mut child = command.spawn().with_context(|| format!("cannot run {}", step.command[0]))?;
    let mut told = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if told.elapsed() >= Duration::from_secs(10) {
            told = Instant::now();
            let line = last_line(log_path).unwrap_or_default();
            say(&format!("{:4} s  {line}", start.elapsed().as_secs()));
        }
        thread::sleep(Duration::from_millis(100));
    };
    if !status.success() {
        bail!("`{}` failed ({status})", step.command.join(" "));
    }
    Ok(())
}

/// Keeps settings that are meant for this project's own build away from that of
/// a server.
fn isolate(command: &mut Command) {
    command.env("GOWORK", "off").env("GOFLAGS", "-mod=readonly");
    // Cargo sets some of these for the tests it runs, and users set others. The
    // Flux library's build would take them for its own.
    for name in [
        "CARGO",
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_TARGET_DIR",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "RUSTC",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
    ] {
        command.env_remove(name);
    }
    // Flux asks for an old toolchain of its own, which rustup would have to
    // fetch and which is not needed.
    if has_rustup_stable() {
        command.env("RUSTUP_TOOLCHAIN", "stable");
    }
}

/// Whether `cargo` is rustup's and a toolchain called stable is installed.
fn has_rustup_stable() -> bool {
    let Some(cargo) = find_command("cargo") else {
        return false;
    };
    // rustup puts itself beside the commands it stands for.
    let rustup = cargo.with_file_name("rustup");
    let toolchains = Command::new(rustup).args(["toolchain", "list"]).output();
    toolchains.is_ok_and(|output| {
        let list = String::from_utf8_lossy(&output.stdout);
        list.lines().any(|line| line.starts_with("stable"))
    })
}

fn check_tools(recipe: &Recipe) -> Result<()> {
    let missing = recipe
        .needs
        .iter()
        .filter(|tool| tool.commands.iter().all(|command| find_command(command).is_none()))
        .map(|tool| format!("{} (`{}`)", tool.what, tool.commands.join("`, `")))
        .collect::<Vec<_>>();
    if !missing.is_empty() {
        bail!(
            "building {} {} needs {}, not found in PATH: install it, or set the environment \
             variable {} to the path of {}",
            recipe.name,
            recipe.version,
            missing.join(" and "),
            recipe.variable,
            match recipe.product {
                "libs" => "a folder of its jars",
                "node_modules" => "a folder of its packages",
                _ => "a binary",
            },
        );
    }
    Ok(())
}

/// Changes with everything that determines the result (FNV-1a, which unlike
/// std's hashers will be the same in the next release of Rust).
fn fingerprint(recipe: &Recipe) -> u32 {
    let files = recipe.files.iter().flat_map(|(name, content)| [*name, *content]);
    let steps = recipe.steps.iter().flat_map(|step| {
        let env = step.env.iter().flat_map(|(key, value)| [*key, *value]);
        step.command.iter().copied().chain(env)
    });
    files
        .chain(steps)
        .flat_map(|text| text.bytes().chain([0]))
        .fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Tells people who wait. Not eprintln: the test harness would swallow it.
fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "[stack] {message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKEN: Recipe = Recipe {
        name: "broken",
        version: "1",
        variable: "STACK_BROKEN",
        product: "broken",
        files: &[],
        needs: &[],
        usually: "no time",
        steps: &[Step { command: &["sh", "-c", "echo the cause; exit 3"], env: &[] }],
    };

    #[test]
    fn a_failed_build_shows_its_log_and_leaves_nothing_that_looks_complete() {
        let cache = tempfile::tempdir().unwrap();
        let error = format!("{:#}", build(&BROKEN, cache.path(), "broken-1").unwrap_err());
        assert!(error.contains("the cause"), "{error}");
        assert!(error.contains("broken-1.log"), "{error}");
        assert!(error.contains("STACK_BROKEN"), "{error}");
        assert!(!cache.path().join("broken-1").exists());
    }

    #[test]
    fn a_build_after_a_broken_off_one_starts_afresh() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir_all(cache.path().join("works-1.unfinished/out/half")).unwrap();
        let recipe = Recipe {
            steps: &[Step { command: &["sh", "-c", "test ! -e {out}/half && touch {out}/broken"], env: &[] }],
            ..BROKEN
        };
        build(&recipe, cache.path(), "works-1").unwrap();
        assert!(cache.path().join("works-1/broken").exists());
        assert!(!cache.path().join("works-1.unfinished").exists());
    }

    #[test]
    fn a_missing_tool_is_named_with_what_to_do() {
        let recipe = Recipe { needs: &[Tool { what: "a unicorn", commands: &["no-such-command"] }], ..BROKEN };
        let error = check_tools(&recipe).unwrap_err().to_string();
        assert!(error.contains("a unicorn (`no-such-command`)"), "{error}");
        assert!(error.contains("STACK_BROKEN"), "{error}");
    }

    #[test]
    fn the_fingerprint_sees_files_and_steps() {
        let files = Recipe { files: &[("a", "b")], ..BROKEN };
        let steps = Recipe { steps: &[], ..BROKEN };
        assert_ne!(fingerprint(&BROKEN), fingerprint(&files));
        assert_ne!(fingerprint(&BROKEN), fingerprint(&steps));
    }
}
