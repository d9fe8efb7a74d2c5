//! The Debian package: made as a release makes it, and installed, used, upgraded and removed in a clean Debian. And the static
//! build, in a folder with nothing else. `release` has the rest of a release.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, ensure};
use stack::{BUCKET, Dir, Influxdb, Kafka, ORG, Process, TOKEN, wait_for};

use crate::support::{LONG, TOPIC, turn};
use fixtures::command::text;
use fixtures::document::blocks;
use fixtures::repository;

pub const NAME: &str = "telegraf-algorithmia";
pub const CONFFILE: &str = "/etc/telegraf/telegraf.d/algorithmia.conf";
pub const JOURNAL: &str = "/var/lib/telegraf-algorithmia";

/// What somebody had Telegraf do before.
const OWN_CONF: &str = "\
[agent]
  interval = \"1s\"
  flush_interval = \"1s\"
[[inputs.internal]]
  collect_memstats = false
[[outputs.file]]
  files = [\"/var/log/telegraf.lp\"]
";

/// Runs a command to its end, with nothing on stdin. The error shows all that it wrote.
pub fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    Ok(out)
}

fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))
}

/// A shell that may mount and change its root, without the system noticing.
fn shell(script: &str) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--map-root-user", "--map-auto"]);
    }
    command.args(["--mount", "sh", "-ec", script, "sh"]);
    command
}

/// A folder with a Debian in it.
pub struct Root(PathBuf);

impl Root {
    pub fn new(dir: &Dir, tar: &Path) -> Result<Self> {
        let root = dir.path().join("root");
        run(shell("mkdir \"$1\"; tar --extract --numeric-owner --file \"$2\" --directory \"$1\"").arg(&root).arg(tar))?;
        Ok(Root(root))
    }

    /// The path of a file as seen from outside.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    pub fn exists(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.path(path)).with_context(|| format!("cannot read {path}"))
    }

    /// A command in there, of root's. It replaces the shell, so that a signal reaches it.
    fn command(&self, script: &str) -> Command {
        let mut command =
            shell("mount -t proc proc \"$1/proc\"; exec chroot \"$1\" env -i PATH=/usr/sbin:/usr/bin sh -ec \"$2\" sh");
        command.arg(&self.0).arg(script);
        command
    }

    pub fn run(&self, script: &str) -> Result<String> {
        run(&mut self.command(script))
    }

    /// Copies a package in and has dpkg do something with it.
    pub fn dpkg(&self, action: &str, package: &Path) -> Result<String> {
        fs::copy(package, self.path("/tmp/package.deb"))?;
        self.run(&format!("DEBIAN_FRONTEND=noninteractive dpkg {action} /tmp/package.deb 2>&1"))
    }

    /// User, group and permissions.
    fn owner(&self, path: &str) -> Result<String> {
        Ok(self.run(&format!("stat --format '%U %G %a' {path}"))?.trim().to_owned())
    }

    /// Starts Telegraf as its package's unit does: as its user, with the variables from /etc/default/telegraf.
    fn start_telegraf(&self, dir: &Dir, name: &str) -> Result<Process> {
        dir.spawn(
            name,
            self.command(
                "set -a; . /etc/default/telegraf; set +a; exec setpriv --reuid telegraf --regid telegraf --clear-groups \
                 telegraf -config /etc/telegraf/telegraf.conf -config-directory /etc/telegraf/telegraf.d",
            ),
        )
    }
}

/// The version of the program, which is not that of these tests.
pub fn version() -> Result<String> {
    let manifest = fs::read_to_string(repository("Cargo.toml"))?;
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    Ok(version.context("Cargo.toml has a version")?.to_owned())
}

/// The package of this version, which is made once.
fn package() -> Result<&'static Path> {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(package) = PACKAGE.get() {
        return Ok(package);
    }
    let package = make("deb", &[])?;
    Ok(PACKAGE.get_or_init(|| package))
}

/// Has a script of the folder packaging make a package, for this machine or the target that is the first of the arguments.
pub fn make(script: &str, arguments: &[&str]) -> Result<PathBuf> {
    let folder = format!("{}/package", env!("CARGO_TARGET_TMPDIR"));
    packaging(script, &[&[folder.as_str()], arguments].concat())
}

/// Runs a script of the folder packaging. It says last what it has made.
pub fn packaging(script: &str, arguments: &[&str]) -> Result<PathBuf> {
    // They write the same files, and tests run beside each other.
    static RUNNING: Mutex<()> = Mutex::new(());
    let _running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(repository("packaging").join(script));
    command.args(arguments);
    command.env("CARGO_DEB", stack::cargo_deb_binary()?).env("CARGO_ABOUT", stack::cargo_about_binary()?);
    command.env("CARGO_GENERATE_RPM", stack::cargo_generate_rpm_binary()?);
    let out = run(&mut command)?;
    out.lines().last().map(PathBuf::from).with_context(|| format!("packaging/{script} does not say what it has made"))
}

/// A package with Telegraf as InfluxData's is, as far as others notice it.
fn telegraf_package(dir: &Dir) -> Result<PathBuf> {
    let folder = dir.path().join("telegraf");
    let write = |path: &str, mode: u32, content: &[u8]| -> Result<()> {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
        fs::write(&path, content)?;
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
    };
    write(
        "DEBIAN/control",
        0o644,
        b"Package: telegraf\nVersion: 1.39.3-1\nArchitecture: all\nMaintainer: test\nDescription: Telegraf\n",
    )?;
    write("DEBIAN/conffiles", 0o644, b"/etc/telegraf/telegraf.conf\n")?;
    write(
        "DEBIAN/preinst",
        0o755,
        b"#!/bin/sh\nset -e\nid telegraf 2>/dev/null || useradd -r -M telegraf -s /bin/false -d /etc/telegraf -U\n",
    )?;
    write("DEBIAN/postinst", 0o755, b"#!/bin/sh\nset -e\ntouch /etc/default/telegraf\n")?;
    write("etc/telegraf/telegraf.conf", 0o644, OWN_CONF.as_bytes())?;
    write("usr/bin/telegraf", 0o755, &fs::read(stack::telegraf_binary()?)?)?;
    fs::create_dir_all(folder.join("etc/telegraf/telegraf.d"))?;
    let package = dir.path().join("telegraf.deb");
    run(Command::new("dpkg-deb").args(["-Znone", "--root-owner-group", "--build"]).arg(folder).arg(&package))?;
    Ok(package)
}

/// Lines of Telegraf's log of these levels.
fn complaints(log: &str, levels: &[&str]) -> Vec<String> {
    log.lines().filter(|line| levels.iter().any(|level| line.contains(level))).map(str::to_owned).collect()
}

/// Starts Telegraf while nothing is set, and asserts that it does what it did before, and complains of nothing.
fn check_inactive(dir: &Dir, root: &Root, name: &str) -> Result<()> {
    let log = root.path("/var/log/telegraf.lp");
    fs::write(&log, "")?;
    fs::set_permissions(&log, fs::Permissions::from_mode(0o666))?;
    let telegraf = root.start_telegraf(dir, name)?;
    wait_for("two rounds of Telegraf's own metrics", LONG, || {
        telegraf.ensure_running()?;
        let own = fs::read_to_string(&log)?;
        Ok((own.matches("internal_write,").count() >= 2 * 2).then_some(()))
    })?;
    telegraf.terminate()?;
    // Telegraf warns of these whatever its configuration.
    let expected = ["skip_processors_after_aggregators", "Strict environment variable handling"];
    let complaints: Vec<_> = complaints(&telegraf.log(), &[" E! ", " W! "])
        .into_iter()
        .filter(|line| !expected.iter().any(|expected| line.contains(expected)))
        .collect();
    ensure!(complaints.is_empty(), "{complaints:#?}");
    let own = fs::read_to_string(&log)?;
    ensure!(!own.contains("algorithmia_processor") && !own.contains("algorithmia=gauge"), "{own}");
    ensure!(!root.exists(&format!("{JOURNAL}/lock")), "the program has run");
    Ok(())
}

#[test]
fn beside_a_telegraf_it_is_inactive_until_its_variables_are_set() {
    let _turn = turn();
    stack::test("package-active", |dir| {
        let root = Root::new(dir, &stack::debian_root()?)?;
        root.dpkg("--install", &telegraf_package(dir)?)?;
        root.dpkg("--install", package()?)?;
        check_inactive(dir, &root, "inactive")?;

        // Not one of them may be missing.
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 1)?;
        let sample = fs::read_to_string(repository("examples/insights.jsonl"))?;
        kafka.produce(TOPIC, sample.lines())?;
        let influxdb = Influxdb::start(dir)?;
        let variables = [
            ("KAFKA_BROKER", kafka.broker()),
            ("KAFKA_TOPIC", TOPIC),
            ("INFLUX_ORG", ORG),
            ("INFLUX_TOKEN", TOKEN),
            ("INFLUX_HOST", influxdb.url()),
        ];
        let set = |without: &str| {
            let lines = variables.iter().filter(|(name, _)| *name != without);
            fs::write(
                root.path("/etc/default/telegraf"),
                lines.map(|(name, value)| format!("{name}={value}\n")).collect::<String>(),
            )
        };
        for (name, _) in &variables[..4] {
            set(name)?;
            check_inactive(dir, &root, &format!("without-{name}"))?;
        }

        // All set, and nothing else done.
        set("")?;
        let telegraf = root.start_telegraf(dir, "active")?;
        let lines = fs::read_to_string(repository("tests/fixtures/insights.lp"))?;
        let expected = lines.lines().filter(|line| line.starts_with("algorithmia")).count();
        wait_for("all points in InfluxDB", LONG, || {
            telegraf.ensure_running()?;
            let points = influxdb.points(BUCKET, "algorithmia")?.len();
            let rejected = influxdb.points(BUCKET, "algorithmia_rejected")?.len();
            Ok((points + rejected >= expected).then_some(()))
        })?;
        ensure!(root.owner(&format!("{JOURNAL}/lock"))? == "telegraf telegraf 600");
        let own = root.read("/var/log/telegraf.lp")?;
        ensure!(own.contains("\nalgorithmia,"), "outputs that do not filter get the points, too");
        ensure!(!own.contains("algorithmia=gauge"), "but none of the gauges:\n{own}");
        telegraf.terminate()?;
        let complaints = complaints(&telegraf.log(), &[" E! "]);
        ensure!(complaints.is_empty(), "{complaints:#?}");

        // Without the program, Telegraf goes on where nothing is set; else it says what is missing.
        root.run(&format!("dpkg --remove {NAME}"))?;
        let telegraf = root.start_telegraf(dir, "missing")?;
        wait_for("word of what is missing", LONG, || {
            telegraf.ensure_running()?;
            Ok(telegraf.log().contains("telegraf-algorithmia is not installed").then_some(()))
        })?;
        telegraf.kill()?;
        fs::write(root.path("/etc/default/telegraf"), "")?;
        root.run(&format!("rm -r {JOURNAL}"))?;
        check_inactive(dir, &root, "removed")
    });
}

#[test]
fn it_installs_works_upgrades_and_goes() {
    let _turn = turn();
    stack::test("package", |dir| {
        let root = Root::new(dir, &stack::debian_root()?)?;
        let clean = root.run("find / -xdev -path /proc -prune -o -path /tmp -prune -o -print | sort")?;
        root.dpkg("--install", package()?)?;

        // What is there.
        let modes = [
            ("/usr/bin/telegraf-algorithmia", "root root 755"),
            (CONFFILE, "root root 644"),
            ("/usr/share/telegraf-algorithmia/telegraf.conf", "root root 644"),
            ("/usr/share/telegraf-algorithmia/influxdb-template.yml", "root root 644"),
            ("/usr/share/telegraf-algorithmia/influxdb-slack.yml", "root root 644"),
            ("/usr/share/man/man1/telegraf-algorithmia.1.gz", "root root 644"),
            ("/usr/share/bash-completion/completions/telegraf-algorithmia", "root root 644"),
            ("/usr/share/zsh/vendor-completions/_telegraf-algorithmia", "root root 644"),
            ("/usr/share/fish/vendor_completions.d/telegraf-algorithmia.fish", "root root 644"),
            ("/usr/share/doc/telegraf-algorithmia/copyright", "root root 644"),
            ("/usr/share/doc/telegraf-algorithmia/changelog.Debian.gz", "root root 644"),
            ("/usr/share/doc/telegraf-algorithmia/THIRD-PARTY.gz", "root root 644"),
            ("/usr/share/doc/telegraf-algorithmia/examples/insights.jsonl", "root root 644"),
            ("/usr/share/doc/telegraf-algorithmia/examples/telegraf-algorithmia.conf", "root root 644"),
        ];
        for (path, owner) in modes {
            ensure!(root.owner(path)? == owner, "{path} is {}", root.owner(path)?);
        }
        for file in fs::read_dir(repository("telegraf"))? {
            let file = file?;
            let name = file.file_name().into_string().unwrap();
            let path =
                if name == "algorithmia.conf" { CONFFILE.to_owned() } else { format!("/usr/share/{NAME}/{name}") };
            ensure!(fs::read(root.path(&path))? == fs::read(file.path())?, "{path} is not as in the repository");
        }
        for (path, kind) in [
            ("/usr/share/man/man1/telegraf-algorithmia.1.gz", "man"),
            ("/usr/share/bash-completion/completions/telegraf-algorithmia", "complete-bash"),
            ("/usr/share/zsh/vendor-completions/_telegraf-algorithmia", "complete-zsh"),
            ("/usr/share/fish/vendor_completions.d/telegraf-algorithmia.fish", "complete-fish"),
        ] {
            let same = format!("zcat --force {path} > /tmp/a; telegraf-algorithmia generate {kind} | cmp - /tmp/a");
            root.run(&same)?;
        }

        // It says of which commit it is; its man page, of which version.
        let git = |arguments: &[&str]| run(Command::new("git").arg("-C").arg(repository("")).args(arguments));
        let commit = git(&["rev-parse", "HEAD"])?;
        let version = root.run("telegraf-algorithmia --version")?;
        let expected = format!("{NAME} {} ({}", self::version()?, &commit[..12]);
        ensure!(
            version.strip_prefix(&expected).is_some_and(|rest| [")\n", " with changes)\n"].contains(&rest)),
            "{version}"
        );
        let page = root.run(&format!("zcat /usr/share/man/man1/{NAME}.1.gz"))?;
        ensure!(page.contains(&format!("{NAME} {}\"", self::version()?)), "{page}");

        check_third_party(&root.run(&format!("zcat /usr/share/doc/{NAME}/THIRD-PARTY.gz"))?)?;

        // It needs nothing that is not there, and the glibc that it asks for is enough for it.
        let example = format!("/usr/share/doc/{NAME}/examples/insights.jsonl");
        let converted = root.run(&format!("telegraf-algorithmia {example} 2>/dev/null"))?;
        let masked =
            |text: &str| text.lines().filter(|line| !line.ends_with('*')).map(str::to_owned).collect::<Vec<_>>();
        let promised = fs::read_to_string(repository("tests/fixtures/insights.lp"))?;
        for line in masked(&promised) {
            ensure!(converted.contains(&line), "{line} is missing in\n{converted}");
        }
        ensure!(converted.lines().count() == promised.lines().count());
        check_glibc(&root)?;

        // Without the user there is nobody to own a journal; with Telegraf's package comes the user.
        ensure!(!root.exists(JOURNAL));
        root.dpkg("--install", &telegraf_package(dir)?)?;
        ensure!(root.owner(JOURNAL)? == "telegraf telegraf 700", "{}", root.owner(JOURNAL)?);

        // Somebody changes the configuration and has a journal; an upgrade keeps both.
        let changed = format!("{}# changed\n", root.read(CONFFILE)?);
        fs::write(root.path(CONFFILE), &changed)?;
        root.run(&format!("install -m 600 -o telegraf -g telegraf /dev/null {JOURNAL}/00000000000000000001.lp"))?;
        let kept = |root: &Root| -> Result<()> {
            ensure!(root.read(CONFFILE)? == changed, "the configuration is not as it was");
            ensure!(root.exists(&format!("{JOURNAL}/00000000000000000001.lp")), "the journal is gone");
            ensure!(root.owner(JOURNAL)? == "telegraf telegraf 700");
            Ok(())
        };
        let newer = make("deb", &["", "--deb-version", "99.0.0-1"])?;
        root.dpkg("--install", &newer)?;
        ensure!(root.run(&format!("dpkg-query --showformat '${{Version}}' --show {NAME}"))? == "99.0.0-1");
        kept(&root)?;
        // Once more, as repairs do.
        root.dpkg("--install", &newer)?;
        kept(&root)?;

        root.run(&format!("dpkg --remove {NAME}"))?;
        ensure!(!root.exists("/usr/bin/telegraf-algorithmia"));
        kept(&root)?;
        root.dpkg("--install", package()?)?;
        kept(&root)?;
        ensure!(root.exists("/usr/bin/telegraf-algorithmia"));

        root.run(&format!("dpkg --purge {NAME}"))?;
        ensure!(!root.exists(JOURNAL) && !root.exists(CONFFILE));
        ensure!(root.exists("/etc/telegraf/telegraf.conf"), "that is Telegraf's");
        root.run("dpkg --purge telegraf; userdel telegraf 2>/dev/null || true; rm -f /etc/default/telegraf")?;
        let left = root.run("find / -xdev -path /proc -prune -o -path /tmp -prune -o -print | sort")?;
        let left: Vec<_> = left.lines().filter(|path| !clean.lines().any(|before| before == *path)).collect();
        // What passwd and dpkg keep of the past.
        let left: Vec<_> = left
            .into_iter()
            .filter(|path| !path.ends_with('-') && !path.ends_with("-old"))
            .filter(|path| !path.starts_with("/var/lib/dpkg/triggers") && *path != "/var/log/dpkg.log")
            .collect();
        ensure!(left.is_empty(), "left behind: {left:?}");
        root.dpkg("--install", package()?)?;
        ensure!(root.exists("/usr/bin/telegraf-algorithmia"));
        Ok(())
    });
}

/// Runs the block of README.md that starts like this, as somebody does who may become root, in a folder with what a release
/// has made in `dist`.
fn follow_readme(root: &Root, start: &str) -> Result<()> {
    let sudo = root.path("/usr/local/bin/sudo");
    fs::write(&sudo, "#!/bin/sh\nexec \"$@\"\n")?;
    fs::set_permissions(&sudo, fs::Permissions::from_mode(0o755))?;
    let all = blocks(&repository("README.md"))?;
    let block = all.iter().find(|block| block.text.starts_with(start));
    let block = block.with_context(|| format!("README.md has no block that starts with {start}"))?;
    root.run(&format!("PATH=/usr/local/bin:$PATH; cd /srv\n{}", block.text))?;
    let example = fs::read(repository("examples/insights.jsonl"))?;
    fs::write(root.path("/srv/insights.jsonl"), example)?;
    let converted = root.run("PATH=/usr/local/bin:$PATH telegraf-algorithmia /srv/insights.jsonl 2>/dev/null")?;
    let promised = fs::read_to_string(repository("tests/fixtures/insights.lp"))?;
    ensure!(converted.lines().count() == promised.lines().count(), "{converted}");
    Ok(())
}

#[test]
fn readme_says_how_to_install_it() {
    let _turn = turn();
    stack::test("package-readme", |dir| {
        let root = Root::new(dir, &stack::debian_root()?)?;
        let dist = root.path("/srv/dist");
        fs::create_dir_all(&dist)?;
        let name = package()?.file_name().context("a package has a name")?;
        fs::copy(package()?, dist.join(name))?;
        follow_readme(&root, "sudo apt install ")?;
        ensure!(root.exists("/usr/bin/telegraf-algorithmia"));
        root.run(&format!("dpkg --purge {NAME}"))?;

        // Called as packaging/release calls it, which fills the archive.
        let folder = format!("{NAME}-{}-{STATIC}", version()?).replace("-unknown", "");
        fs::create_dir_all(root.path("/tmp").join(&folder))?;
        fs::copy(static_program()?, root.path("/tmp").join(&folder).join(NAME))?;
        root.run(&format!("tar -C /tmp -czf /srv/dist/{folder}.tar.gz {folder}"))?;
        follow_readme(&root, "tar -xzf ")?;
        ensure!(root.exists("/usr/local/bin/telegraf-algorithmia"));
        Ok(())
    });
}

/// Asserts that the package asks for a glibc that has all that the program wants of it.
fn check_glibc(root: &Root) -> Result<()> {
    let asked = root.run(&format!("dpkg-query --showformat '${{Depends}}' --show {NAME}"))?;
    let asked = asked.strip_prefix("libc6 (>= 2.").and_then(|rest| rest.strip_suffix(')'));
    let asked: u32 = asked.context("it depends on more than libc6")?.parse()?;
    let program = fs::read(root.path("/usr/bin/telegraf-algorithmia"))?;
    let wanted = memchr::memmem::find_iter(&program, b"GLIBC_2.").filter_map(|at| {
        let digits: Vec<u8> = program[at + 8..].iter().copied().take_while(u8::is_ascii_digit).collect();
        String::from_utf8(digits).ok()?.parse::<u32>().ok()
    });
    let wanted = wanted.max().context("it wants no version of glibc")?;
    ensure!(wanted <= asked, "it wants glibc 2.{wanted}, and the package asks for 2.{asked}");
    Ok(())
}

#[test]
fn people_who_check_packages_find_nothing_wrong() {
    let _turn = turn();
    stack::test("package-checks", |dir| {
        let root = Root::new(dir, &stack::debian_tools_root()?)?;
        root.dpkg("--install", package()?)?;
        let man = "zcat /usr/share/man/man1/telegraf-algorithmia.1.gz";
        root.run(&format!(
            "{man} > /tmp/telegraf-algorithmia.1; mandoc -T lint -W warning /tmp/telegraf-algorithmia.1 >&2"
        ))?;
        let shown = root.run("mandoc -T utf8 /tmp/telegraf-algorithmia.1 | sed 's/.\\x08//g'")?;
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SIGNALS", "FILES", "EXAMPLES"] {
            ensure!(shown.lines().any(|line| line == section), "no section {section}:\n{shown}");
        }

        // What each shell offers, asked as somebody at a terminal would.
        let bash = "bash -c '. /usr/share/bash-completion/bash_completion; _completion_loader telegraf-algorithmia; \
                    COMP_WORDS=(telegraf-algorithmia generate c); COMP_CWORD=2; COMP_LINE=\"${COMP_WORDS[*]}\"; \
                    COMP_POINT=${#COMP_LINE}; function=$(complete -p telegraf-algorithmia | sed \"s/.*-F \\([^ ]*\\).*/\\1/\"); \
                    $function telegraf-algorithmia c generate; printf \"%s\\n\" \"${COMPREPLY[@]}\"'";
        let fish = "HOME=/tmp fish --command 'complete --do-complete \"telegraf-algorithmia generate c\"' | cut -f 1";
        for script in [bash, fish] {
            let mut offered: Vec<_> = root.run(script)?.lines().map(str::to_owned).collect();
            offered.sort_unstable();
            ensure!(offered == ["complete-bash", "complete-fish", "complete-zsh"], "{script}: {offered:?}");
        }
        // zsh completes in its line editor alone; it runs in a terminal of its own.
        let zsh = "cat > /tmp/ask.zsh <<'END'\n\
                   zmodload zsh/zpty\n\
                   zpty shell zsh -f -i\n\
                   zpty -w shell 'PS1=; autoload -Uz compinit; compinit -u -d /tmp/dump; print -r -- re\"\"ady'\n\
                   zpty -r -m shell line '*ready*'\n\
                   zpty -w -n shell $'telegraf-algorithmia generate complete-\\t\\t'\n\
                   zpty -r -m shell line '*complete-zsh*' && print -r -- $line\n\
                   zpty -d shell\n\
                   END\n\
                   TERM=xterm timeout 30 zsh -f /tmp/ask.zsh; zsh -n /usr/share/zsh/vendor-completions/_telegraf-algorithmia";
        let offered = root.run(&format!("mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts; {zsh}"))?;
        for kind in ["complete-bash", "complete-fish", "complete-zsh"] {
            ensure!(offered.contains(kind), "{offered}");
        }
        Ok(())
    });
}

/// Asserts that each crate that is linked in is named, with a licence as its own folder has it.
fn check_third_party(third_party: &str) -> Result<()> {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let third_party_words = words(third_party);
    let metadata = run(&mut cargo(&["metadata", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo metadata has packages")?;
    for target in ["x86_64-unknown-linux-gnu", STATIC, "aarch64-unknown-linux-musl"] {
        let options = ["--edges", "normal", "--prefix", "none", "--format", "{p}", "--target", target];
        let tree = run(cargo(&["tree", "--package", NAME]).args(options))?;
        ensure!(tree.lines().count() > 50, "{tree}");
        for line in tree.lines() {
            let (name, version) = line.split_once(" v").context("a name and a version")?;
            let version = version.split(' ').next().unwrap_or_default();
            let heading = format!("== {name} {version}");
            ensure!(third_party.lines().any(|line| line == heading), "{heading} is missing");
            let package = packages.iter().find(|package| package["name"] == name && package["version"] == version);
            let manifest = package.and_then(|package| package["manifest_path"].as_str()).context("a manifest")?;
            let mut licences: Vec<_> = fs::read_dir(Path::new(manifest).with_file_name(""))?
                .map(|file| Ok(file?.path()))
                .collect::<Result<_>>()?;
            licences.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("LICENSE")));
            // Where there is a choice, it is this one; the text of another may be there for another crate's sake.
            let is_mit = |path: &PathBuf| path.to_string_lossy().ends_with("-MIT");
            if licences.iter().any(is_mit) {
                licences.retain(is_mit);
            }
            let has_licence = licences
                .iter()
                .any(|path| fs::read_to_string(path).is_ok_and(|licence| third_party_words.contains(&words(&licence))));
            ensure!(has_licence, "the licence in the folder of {name} {version} is not that of THIRD-PARTY");
        }
    }
    Ok(())
}

/// cargo with these arguments, on what has been fetched.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments).args(["--locked", "--offline"]).current_dir(repository(""));
    command
}

/// The platform of the static build.
pub const STATIC: &str = "x86_64-unknown-linux-musl";

/// Builds the static program.
fn static_program() -> Result<PathBuf> {
    Ok(packaging("build", &[STATIC])?.join("package").join(NAME))
}

#[test]
fn the_static_build_needs_nothing_and_converts_the_same() {
    let _turn = turn();
    stack::test("static", |dir| {
        let program = static_program()?;
        // A root with it, its input and the nothing that every system has: what it does not bring, it does not have.
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("dev"))?;
        fs::write(root.join("dev/null"), "")?;
        fs::copy(program, root.join("program"))?;
        let input = static_input();
        fs::write(root.join("input"), &input)?;
        let convert = |threads: &str| -> Result<String> {
            let output = output(shell("exec chroot \"$1\" /program --threads \"$2\" /input").arg(&root).arg(threads))?;
            ensure!(output.status.success(), "{}", text(&output.stderr));
            Ok(without_clock(&text(&output.stdout)))
        };
        let usual = fixtures::command::run(&["--threads", "1"], input.as_bytes());
        let usual = without_clock(&text(&usual.stdout));
        ensure!(usual.len() > input.len() / 2);
        ensure!(convert("1")? == usual, "not the same as the usual build");
        ensure!(convert("4")? == usual, "not the same with several threads");
        Ok(())
    });
}

/// The lines without the time at which a message was rejected.
fn without_clock(lines: &str) -> String {
    let lines = lines.lines().map(|line| match line.rsplit_once(' ') {
        Some((rejected, _)) if line.starts_with("algorithmia_rejected,") => rejected,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Messages of many kinds, all with a time, and more than fit into one piece for a thread.
fn static_input() -> String {
    let sample = fs::read_to_string(repository("examples/insights.jsonl")).unwrap();
    let promised = fs::read_to_string(repository("tests/fixtures/insights.lp")).unwrap();
    assert!(promised.contains(" *\n"), "some have no time");
    let timed: Vec<_> = sample.lines().filter(|line| line.contains("\"time\":\"20")).collect();
    assert!(timed.len() > 5, "{timed:?}");
    let mut input = String::new();
    for _ in 0..20_000 {
        timed.iter().for_each(|line| input.extend([line, "\n"]));
    }
    input
}
