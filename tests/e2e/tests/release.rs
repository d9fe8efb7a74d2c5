//! What a release has beside the Debian package for x86_64: the .rpm, packages for aarch64, the image, the list of crates, the example
//! for Kubernetes, and the commit that `--version` names. And the workflows that make it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stack::{Dir, wait_for};

use crate::package::{CONFFILE, JOURNAL, NAME, Root, STATIC, cargo, make, packaging, run, version};
use crate::support::{LONG, turn};
use fixtures::repository;

const AARCH64: &str = "aarch64-unknown-linux-musl";
const PROGRAM: &str = "/usr/bin/telegraf-algorithmia";

/// Makes a root with rpm's own tools, within a Debian that has them: a package of what any system has, which provides what its libraries
/// do, is all that is installed. Returns where it is in the Debian.
fn rpm_root(debian: &Root) -> Result<&'static str> {
    const ROOT: &str = "/srv/root";
    debian.run(
        "mkdir -p /srv/base; cd /srv/base\n\
         mkdir -p dev etc tmp usr/bin usr/lib usr/lib64 usr/share/bash-completion/completions usr/share/doc \
             usr/share/fish/vendor_completions.d usr/share/licenses usr/share/man/man1 usr/share/zsh/site-functions var/lib var/tmp\n\
         ln -s usr/bin bin; ln -s usr/lib lib; ln -s usr/lib64 lib64\n\
         programs=\"/bin/sh /bin/cat /bin/chown /bin/cmp /usr/bin/gzip /usr/bin/id /usr/bin/install /bin/rmdir /usr/bin/stat\"\n\
         cp -L $programs usr/bin\n\
         libraries=$(ldd $programs | sed -n 's/.*=> \\(.*\\) (.*/\\1/p; s/^\\t\\(\\/lib64.*\\) (.*/\\1/p' | sort -u)\n\
         for library in $libraries /lib/x86_64-linux-gnu/libm.so.6 /lib/x86_64-linux-gnu/libgcc_s.so.1; do\n\
             install -D \"$library\" \"usr$library\"\n\
         done\n\
         touch dev/null\n\
         printf 'root:x:0:0::/:/bin/sh\\ntelegraf:x:900:900::/:/bin/false\\n' > etc/passwd\n\
         printf 'root:x:0:\\ntelegraf:x:900:\\n' > etc/group\n\
         cat > /srv/base.spec <<'END'\n\
         %global debug_package %{nil}\n\
         %global __os_install_post %{nil}\n\
         Name: base\n\
         Version: 1\n\
         Release: 1\n\
         Summary: What any system has\n\
         License: none\n\
         AutoReq: no\n\
         Provides: /bin/sh\n\
         %description\n\
         What any system has.\n\
         %install\n\
         mkdir -p %{buildroot}\n\
         cp -a /srv/base/. %{buildroot}\n\
         %files\n\
         /*\n\
         END\n\
         rpmbuild --quiet --define '_topdir /srv/build' -bb /srv/base.spec 2>&1\n\
         mkdir /srv/root; rpm --root /srv/root --initdb\n\
         rpm --root /srv/root --install /srv/build/RPMS/*/base-1-1.*.rpm 2>&1",
    )?;
    Ok(ROOT)
}

/// Copies a package in and has rpm do something with it.
fn rpm(debian: &Root, root: &str, action: &str, package: &Path) -> Result<String> {
    fs::copy(package, debian.path("/tmp/package.rpm"))?;
    debian.run(&format!("rpm --root {root} {action} /tmp/package.rpm 2>&1"))
}

/// Asserts that lines are those of the sample.
fn check_sample(converted: &str) -> Result<()> {
    let promised = fs::read_to_string(repository("tests/fixtures/insights.lp"))?;
    for line in promised.lines().filter(|line| !line.ends_with('*')) {
        ensure!(converted.lines().any(|converted| converted == line), "{line} is missing in\n{converted}");
    }
    ensure!(converted.lines().count() == promised.lines().count(), "{converted}");
    Ok(())
}

#[test]
fn the_rpm_installs_runs_the_sample_upgrades_and_goes() {
    let _turn = turn();
    stack::test("rpm", |dir| {
        let package = make("rpm", &[])?;
        let debian = Root::new(dir, &stack::debian_rpm_root()?)?;
        let root = rpm_root(&debian)?;
        let inside = |script: &str| debian.run(&format!("chroot {root} /bin/sh -ec '{script}'"));
        let list = || debian.run(&format!("find {root} -path '*/lib/rpm' -prune -o -print | sort"));
        let clean = list()?;

        // Each library that the program asks for is one that the package asks for.
        rpm(&debian, root, "--install", &package)?;
        let requires = debian.run(&format!("rpm --root {root} -q --requires {NAME}"))?;
        let wanted = debian.run(&format!("echo {root}{PROGRAM} | /usr/lib/rpm/find-requires"))?;
        ensure!(wanted.contains("libc.so.6(GLIBC_2."), "{wanted}");
        let newest = |text: &str| {
            text.split("(GLIBC_2.").skip(1).filter_map(|rest| rest.split_once(')')?.0.parse::<u32>().ok()).max()
        };
        ensure!(newest(&wanted) <= newest(&requires), "the program wants\n{wanted}, and the package\n{requires}");
        for library in wanted.lines().filter_map(|line| Some(line.split_once(".so")?.0)) {
            // libm comes with libc.
            ensure!(requires.contains(library) || library == "libm", "{library} is not in\n{requires}");
        }
        debian.run(&format!("rpm --root {root} --verify {NAME}"))?;

        // The same files as in the Debian package, where rpm's systems have them.
        let files = debian.run(&format!("rpm --root {root} -ql {NAME}"))?;
        for path in [
            PROGRAM,
            CONFFILE,
            "/usr/share/telegraf-algorithmia/telegraf.conf",
            "/usr/share/telegraf-algorithmia/influxdb-template.yml",
            "/usr/share/man/man1/telegraf-algorithmia.1.gz",
            "/usr/share/bash-completion/completions/telegraf-algorithmia",
            "/usr/share/zsh/site-functions/_telegraf-algorithmia",
            "/usr/share/fish/vendor_completions.d/telegraf-algorithmia.fish",
            "/usr/share/licenses/telegraf-algorithmia/LICENSE",
            "/usr/share/doc/telegraf-algorithmia/THIRD-PARTY.gz",
            "/usr/share/doc/telegraf-algorithmia/docs/security.md",
            "/usr/share/doc/telegraf-algorithmia/examples/insights.jsonl",
        ] {
            ensure!(files.lines().any(|file| file == path), "{path} is not in\n{files}");
        }
        check_sample(&inside(&format!(
            "telegraf-algorithmia /usr/share/doc/{NAME}/examples/insights.jsonl 2>/dev/null"
        ))?)?;
        ensure!(inside(&format!("stat -c \"%U %G %a\" {JOURNAL}"))?.trim() == "telegraf telegraf 700");
        ensure!(inside(&format!("stat -c \"%U %G %a\" {PROGRAM}"))?.trim() == "root root 755");

        // An upgrade keeps a changed configuration, and a removal the journal.
        let conffile = debian.path(&format!("{root}{CONFFILE}"));
        let changed = format!("{}# changed\n", fs::read_to_string(&conffile)?);
        fs::write(&conffile, &changed)?;
        rpm(&debian, root, "--upgrade", &make("rpm", &["", "--set-metadata", "version = \"99.0.0\""])?)?;
        ensure!(debian.run(&format!("rpm --root {root} -q {NAME}"))?.contains("-99.0.0-"), "it is not upgraded");
        ensure!(fs::read_to_string(&conffile)? == changed, "the configuration is not as it was");
        debian.run(&format!("rpm --root {root} --erase {NAME} 2>&1"))?;
        let left = list()?;
        let left: Vec<_> = left.lines().filter(|path| !clean.lines().any(|before| before == *path)).collect();
        let kept = [format!("{root}{CONFFILE}.rpmsave"), format!("{root}{JOURNAL}")];
        ensure!(kept.iter().all(|path| left.contains(&path.as_str())), "{left:?}");
        // The folders that these are in.
        let left: Vec<_> = left.iter().filter(|path| !kept.iter().any(|kept| kept.starts_with(**path))).collect();
        ensure!(left.is_empty(), "left behind: {left:?}");
        Ok(())
    });
}

#[test]
fn the_packages_for_aarch64_install_and_run_the_sample() {
    let _turn = turn();
    stack::test("aarch64", |dir| {
        let qemu = stack::qemu_aarch64_binary()?;
        let example = format!("/usr/share/doc/{NAME}/examples/insights.jsonl");
        let debian = Root::new(dir, &stack::debian_rpm_root()?)?;
        fs::copy(&qemu, debian.path("/usr/local/bin/qemu"))?;
        // Foreign to this Debian, as it would not be to its own.
        debian.run("dpkg --add-architecture arm64")?;
        debian.dpkg("--install", &make("deb", &[AARCH64])?)?;
        let converted = debian.run(&format!("/usr/local/bin/qemu {PROGRAM} {example} 2>/dev/null"))?;
        check_sample(&converted)?;
        debian.run(&format!("dpkg --purge {NAME}"))?;
        ensure!(!debian.exists(PROGRAM) && !debian.exists(CONFFILE));

        let root = rpm_root(&debian)?;
        let package = make("rpm", &[AARCH64])?;
        rpm(&debian, root, "--ignorearch --install", &package)?;
        ensure!(debian.run(&format!("rpm --root {root} -q --queryformat '%{{ARCH}}' {NAME}"))? == "aarch64");
        let again = debian.run(&format!("/usr/local/bin/qemu {root}{PROGRAM} {root}{example} 2>/dev/null"))?;
        check_sample(&again)?;
        debian.run(&format!("rpm --root {root} --erase {NAME}"))?;
        ensure!(!debian.exists(&format!("{root}{PROGRAM}")));
        Ok(())
    });
}

#[test]
fn the_image_is_one_for_both_architectures_and_has_the_program_alone() {
    let _turn = turn();
    stack::test("image", |dir| {
        let file = dir.path().join("oci.tar");
        let built = [("amd64", packaging("build", &[STATIC])?), ("arm64", packaging("build", &[AARCH64])?)];
        let images = built.iter().map(|(architecture, folder)| format!("{architecture}={}", folder.display()));
        let make = |file: &Path| {
            let mut command = Command::new(repository("packaging/oci"));
            run(command.arg(file).args(images.clone()).env("SOURCE_DATE_EPOCH", "1700000000"))
        };
        make(&file)?;
        let again = dir.path().join("again.tar");
        make(&again)?;
        ensure!(fs::read(&file)? == fs::read(again)?, "the same programs give other bytes");
        let layout = dir.path().join("layout");
        fs::create_dir(&layout)?;
        run(Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(&layout))?;

        // A registry takes it, and gives each architecture its own.
        let crane = stack::crane_binary()?;
        let mut serve = Command::new(&crane);
        serve.args(["registry", "serve", "--address", "127.0.0.1:0"]);
        let registry = dir.spawn("registry", serve)?;
        let port = wait_for("the registry's port", LONG, || {
            registry.ensure_running()?;
            let log = registry.log();
            let port = log.split("serving on port ").nth(1).and_then(|rest| rest.split_whitespace().next());
            Ok(port.map(str::to_owned))
        })?;
        let image = format!("127.0.0.1:{port}/telegraf-algorithmia:1");
        run(Command::new(&crane).args(["push", "--insecure"]).arg(&layout).arg(&image))?;
        for (architecture, folder) in &built {
            let platform = format!("linux/{architecture}");
            let crane = |arguments: &[&str]| {
                let mut command = Command::new(&crane);
                command.args(arguments).args(["--insecure", "--platform", &platform]);
                command
            };
            run(crane(&["validate", "--remote", &image]).stderr(Stdio::inherit()))?;
            let config: Value = serde_json::from_str(&run(&mut crane(&["config", &image]))?)?;
            ensure!(config["architecture"] == *architecture && config["os"] == "linux", "{config}");
            ensure!(
                config["config"]["Entrypoint"][0] == PROGRAM && config["config"]["User"] == "65532:65532",
                "{config}"
            );
            let content = dir.path().join(format!("{architecture}.tar"));
            run(crane(&["export", &image]).arg(&content))?;
            let root = dir.path().join(architecture);
            fs::create_dir(&root)?;
            run(Command::new("tar").arg("-xf").arg(&content).arg("-C").arg(&root))?;
            let program = root.join(PROGRAM.trim_start_matches('/'));
            ensure!(fs::read(&program)? == fs::read(folder.join("package").join(NAME))?, "{program:?} is another");
            let runner = if *architecture == "arm64" { stack::qemu_aarch64_binary()? } else { "env".into() };
            check_sample(&run(Command::new(runner).arg(&program).arg(repository("examples/insights.jsonl")))?)?;
            let files = run(Command::new("find").arg(&root).args(["-type", "f", "-printf", "%P\n"]))?;
            let files: BTreeSet<_> = files.lines().collect();
            let licences = ["LICENSE", "THIRD-PARTY"].map(|name| format!("usr/share/doc/{NAME}/{name}"));
            let expected = licences.iter().map(String::as_str).chain(["usr/bin/telegraf-algorithmia"]);
            ensure!(files == expected.collect(), "{files:?}");
        }
        registry.kill()?;
        Ok(())
    });
}

#[test]
fn the_list_of_crates_has_those_of_the_program() {
    stack::test("sbom", |dir| {
        let make = |name: &str| -> Result<String> {
            let file = dir.path().join(name);
            let mut command = Command::new(repository("packaging/sbom"));
            run(command.arg(&file).env("CARGO_CYCLONEDX", stack::cargo_cyclonedx_binary()?))?;
            Ok(fs::read_to_string(file)?)
        };
        let text = make("one.json")?;
        ensure!(text == make("two.json")?, "it is not the same twice");
        let list: Value = serde_json::from_str(&text)?;
        ensure!(list["bomFormat"] == "CycloneDX" && list["metadata"]["component"]["name"] == NAME, "{list}");
        let components = list["components"].as_array().context("it has components")?;
        let named: BTreeSet<_> = components
            .iter()
            .filter_map(|component| {
                Some(format!("{} v{}", component["name"].as_str()?, component["version"].as_str()?))
            })
            .collect();
        let options = ["--edges", "normal", "--prefix", "none", "--format", "{p}", "--target", STATIC];
        let tree = run(cargo(&["tree", "--package", NAME]).args(options))?;
        let tree: BTreeSet<_> = tree
            .lines()
            .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
            .filter(|line| !line.starts_with(&format!("{NAME} ")))
            .collect();
        ensure!(tree.len() > 50, "{tree:?}");
        let missing: Vec<_> = tree.difference(&named).collect();
        ensure!(missing.is_empty(), "{missing:?} are not in the list");
        Ok(())
    });
}

#[test]
fn the_example_for_kubernetes_is_valid_and_fits_the_configuration() -> Result<()> {
    let path = repository("packaging/kubernetes.yaml");
    for version in ["1.32.0", "1.37.0"] {
        let mut command = Command::new(stack::kubeconform_binary()?);
        command.args(["-strict", "-summary", "-kubernetes-version", version, "-schema-location"]);
        let file = "{{.NormalizedKubernetesVersion}}/{{.ResourceKind}}{{.KindSuffix}}.json";
        let said = run(command.arg(stack::kubernetes_schemas()?.join(file)).arg(&path))?;
        ensure!(said.contains("Valid: 2, Invalid: 0, Errors: 0, Skipped: 0"), "Kubernetes {version}: {said}");
    }

    let manifest = fs::read_to_string(path)?;
    let configuration = fs::read_to_string(repository("telegraf/telegraf.conf"))?;
    let variables: Vec<_> =
        manifest.split("- {name: ").skip(1).filter_map(|rest| rest.split_once(", value: ")).collect();
    ensure!(variables.len() > 5, "{variables:?}");
    for (name, _) in &variables {
        ensure!(configuration.contains(&format!("${{{name}:")), "telegraf.conf has no variable {name}");
    }
    // What has to be set, and is no secret.
    for name in configuration.split("${").skip(1).filter_map(|rest| Some(rest.split_once(":?")?.0)) {
        let secret = format!("{name}=");
        let is_set = variables.iter().any(|(variable, _)| *variable == name) || manifest.contains(&secret);
        ensure!(is_set || name.contains(' '), "nothing sets {name}");
    }
    ensure!(manifest.contains(&format!("mountPath: {JOURNAL}}}")), "the journal is on no volume");
    let image = format!("/telegraf-with-algorithmia:{}\n", version()?);
    ensure!(manifest.contains(&image), "the image has not this version");
    let service = fs::read_to_string(repository("packaging/telegraf-algorithmia.conf"))?;
    let (_, seconds) = service.split_once("\nTimeoutStopSec=").context("the drop-in has a limit")?;
    let (seconds, _) = seconds.split_once("s\n").context("in seconds")?;
    ensure!(
        manifest.contains(&format!("\n      terminationGracePeriodSeconds: {seconds}\n")),
        "systemd waits {seconds} s"
    );
    Ok(())
}

#[test]
fn the_workflows_are_valid_and_only_call_what_can_be_called_anywhere() -> Result<()> {
    let mut workflows = Vec::new();
    for file in fs::read_dir(repository(".github/workflows"))? {
        workflows.push(file?.path());
    }
    ensure!(workflows.len() == 2, "{workflows:?}");
    run(Command::new(stack::actionlint_binary()?).args(&workflows).current_dir(repository("")))?;
    let commands = [".ci/setup", ".ci/run", "packaging/tools", "packaging/test-aarch64", "packaging/release dist"];
    for workflow in workflows {
        let text = fs::read_to_string(&workflow)?;
        for line in text.lines().map(|line| line.trim_start_matches([' ', '-'])) {
            if let Some(command) = line.strip_prefix("run:") {
                ensure!(commands.contains(&command.trim()), "{}: {line}", workflow.display());
            }
            ensure!(!line.starts_with("if:"), "{}: {line}", workflow.display());
            if let Some(action) = line.strip_prefix("uses:") {
                let (_, commit) = action.split_once('@').context("an action has a version")?;
                let commit = commit.split(' ').next().unwrap_or_default();
                ensure!(commit.len() == 40, "{}: {line} is not pinned by its commit", workflow.display());
            }
        }
    }
    Ok(())
}

#[test]
fn tests_and_releases_take_the_same_tools() -> Result<()> {
    let tools = fs::read_to_string(repository("packaging/tools"))?;
    let tested = [
        stack::cargo_deb_binary()?,
        stack::cargo_generate_rpm_binary()?,
        stack::cargo_cyclonedx_binary()?,
        stack::cargo_about_binary()?,
    ];
    let released: Vec<_> = tools.split_whitespace().filter_map(|word| word.split_once('@')).collect();
    ensure!(released.len() == tested.len(), "{released:?}");
    for (name, version) in released {
        let is_tested = tested.iter().any(|path| {
            // One that somebody has named by a variable may be any.
            path.to_string_lossy().contains(&format!("/{name}-{version}-"))
                || std::env::var_os(variable(name)).is_some()
        });
        ensure!(is_tested, "packaging/tools has {name} {version}, and the tests another");
    }
    Ok(())
}

/// The variable that names a tool.
fn variable(tool: &str) -> String {
    tool.to_uppercase().replace('-', "_")
}

/// `build.rs` in a folder of its own, as cargo runs it for a release.
struct Build<'a>(&'a Dir);

impl Build<'_> {
    fn new(dir: &Dir) -> Result<Build<'_>> {
        run(Command::new("rustc")
            .args(["--edition", "2024", "-o"])
            .arg(dir.path().join("build"))
            .arg(repository("build.rs")))?;
        Ok(Build(dir))
    }

    /// What it says the version is, and what cargo is to watch.
    fn run(&self, folder: &Path, profile: &str) -> Result<(String, Vec<String>)> {
        let mut command = Command::new(self.0.path().join("build"));
        command.current_dir(folder).env("CARGO_PKG_VERSION", "1.2.3").env("PROFILE", profile);
        let said = run(&mut command)?;
        let values = |key: &str| said.lines().filter_map(|line| line.strip_prefix(key)).map(str::to_owned).collect();
        let versions: Vec<String> = values("cargo::rustc-env=TELEGRAF_ALGORITHMIA_VERSION=");
        Ok((versions.join(" and "), values("cargo::rerun-if-changed=")))
    }
}

#[test]
fn the_version_names_the_commit_where_there_is_one() {
    stack::test("version", |dir| {
        let build = Build::new(dir)?;
        // Within a repository that is another's, and in none that has a commit.
        let folder = dir.path().join("repository/archive");
        fs::create_dir_all(&folder)?;
        for name in ["build.rs", "Cargo.toml", "Cargo.lock"] {
            fs::write(folder.join(name), name)?;
        }
        let git = |folder: &Path, arguments: &[&str]| {
            let mut command = Command::new("git");
            command.args(["-c", "user.name=test", "-c", "user.email=test@test.invalid"]).args(arguments);
            run(command.current_dir(folder))
        };
        let plain = |folder: &Path| -> Result<()> {
            let (version, watched) = build.run(folder, "release")?;
            ensure!(version == "1.2.3" && watched == ["build.rs"], "{version} {watched:?}");
            Ok(())
        };
        plain(&folder)?;
        let outer = folder.parent().context("a folder is in a folder")?;
        git(outer, &["init", "--quiet"])?;
        plain(outer)?;
        git(outer, &["add", "."])?;
        git(outer, &["commit", "--quiet", "--message", "first"])?;
        plain(&folder)?;

        git(&folder, &["init", "--quiet"])?;
        git(&folder, &["add", "."])?;
        git(&folder, &["commit", "--quiet", "--message", "first"])?;
        let commit = git(&folder, &["rev-parse", "HEAD"])?;
        let (version, watched) = build.run(&folder, "release")?;
        ensure!(version == format!("1.2.3 ({})", &commit[..12]), "{version}");
        // A file that is missing would have cargo build each time; one that is not named, not at the next commit.
        ensure!(watched.iter().all(|path| folder.join(path).exists()), "{watched:?}");
        ensure!([".git/HEAD", ".git/logs/HEAD", "Cargo.toml"].iter().all(|path| watched.iter().any(|it| it == path)));
        fs::write(folder.join("Cargo.toml"), "changed")?;
        let (version, _) = build.run(&folder, "release")?;
        ensure!(version == format!("1.2.3 ({} with changes)", &commit[..12]), "{version}");
        let (version, watched) = build.run(&folder, "debug")?;
        ensure!(
            version == "1.2.3" && watched == ["build.rs"],
            "a build for tests has {version}, and watches {watched:?}"
        );
        Ok(())
    });
}
