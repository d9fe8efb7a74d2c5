//! A shell in which the code blocks of a document run as they stand there: what the document tells people to type is what is
//! tested.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fixtures::document::Block;
use stack::{Descendant, Dir, Process};

/// How long the commands of a block may take on the slowest machine.
const LONG: Duration = Duration::from_secs(300);

/// A bash that knows some commands by name, and in which some words of the document mean something else.
pub struct Shell<'a> {
    dir: &'a Dir,
    /// The first folder of its PATH.
    bin: PathBuf,
    folder: PathBuf,
    environment: Vec<(OsString, OsString)>,
    replacements: Vec<(String, String)>,
}

/// A block that has been started. Dereferences to the [`Process`] of its shell.
pub struct Running {
    process: Process,
    /// Where its output goes to.
    folder: PathBuf,
}

impl Running {
    /// All that it has written to stdout so far.
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// All that it has written to stderr so far, such as a server's log.
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    fn read(&self, name: &str) -> String {
        // Neither is there before the shell has begun.
        let bytes = fs::read(self.folder.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Deref for Running {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

/// What came of a block.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl<'a> Shell<'a> {
    /// One that works in the folder of `dir`. Whatever it starts ends with `dir`.
    pub fn new(dir: &'a Dir) -> Result<Self> {
        let bin = dir.path().join("bin");
        fs::create_dir_all(&bin)?;
        Ok(Shell { dir, bin, folder: dir.path().into(), environment: Vec::new(), replacements: Vec::new() })
    }

    /// Works in another folder.
    pub fn within(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Puts a binary on the PATH, under the name by which the document calls it.
    pub fn command(self, name: &str, binary: impl AsRef<Path>) -> Result<Self> {
        let binary = std::path::absolute(binary)?;
        symlink(&binary, self.bin.join(name)).with_context(|| format!("cannot name {} {name}", binary.display()))?;
        Ok(self)
    }

    /// Sets an environment variable.
    pub fn set(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    /// Has what the document calls `text`, such as `localhost:9092`, be something else, wherever a block says it.
    pub fn replace(mut self, text: &str, with: impl Into<String>) -> Self {
        self.replacements.push((text.to_owned(), with.into()));
        self
    }

    /// Runs a block to its end.
    pub fn run(&self, block: &Block) -> Result<Outcome> {
        let running = self.start(block)?;
        let status = running.wait(LONG).with_context(|| self.told(block))?;
        Ok(Outcome { status, stdout: running.stdout(), stderr: running.stderr() })
    }

    /// Runs a block to its end, in which every command has to succeed, and gives what it has written to stdout.
    pub fn succeed(&self, block: &Block) -> Result<String> {
        let Outcome { status, stdout, stderr } = self.run(block)?;
        ensure!(status.success(), "{}\nended with {status}:\n{stdout}{stderr}", self.told(block));
        Ok(stdout)
    }

    /// Starts a block, such as one that goes on until it is told to [`end`].
    pub fn start(&self, block: &Block) -> Result<Running> {
        let script = self.script(block);
        let folder = tempfile::Builder::new().prefix("block-").tempdir_in(self.dir.path())?.keep();
        fs::write(folder.join("script"), script)?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(self.bin.clone()).chain(std::env::split_paths(&path)))?;
        let mut command = Command::new("bash");
        command
            // A command that fails ends the block, as it would stop a person.
            .args(["-c", "exec > \"$1/stdout\" 2> \"$1/stderr\"; set -e; . \"$1/script\"", "bash"])
            .arg(&folder)
            .current_dir(&self.folder)
            .env("PATH", path)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(Running { process: self.dir.spawn("block", command)?, folder })
    }

    /// The text as it is run.
    fn script(&self, block: &Block) -> String {
        let replace = |text: String, (from, to): &(String, String)| text.replace(from, to);
        self.replacements.iter().fold(block.text.clone(), replace)
    }

    /// For errors: which block, and what was run.
    fn told(&self, block: &Block) -> String {
        format!("the block in line {}, below \"{}\":\n{}", block.line, block.heading, self.script(block))
    }
}

/// Ends what a block is just running, with SIGTERM, and waits for the end of the block.
pub fn end(block: &Process) -> Result<ExitStatus> {
    block.children()?.iter().try_for_each(Descendant::terminate)?;
    block.wait(LONG)
}

#[test]
fn a_shell_runs_what_a_block_says_and_stops_at_a_failure() {
    stack::test("blocks", |dir| {
        let block =
            |text: &str| Block { text: text.to_owned(), language: String::new(), heading: String::new(), line: 1 };
        let shell =
            Shell::new(dir)?.command("say", "/bin/echo")?.set("WHO", "me").replace("localhost:1", "127.0.0.1:2");
        assert_eq!(shell.succeed(&block("say $WHO localhost:1\n"))?, "me 127.0.0.1:2\n");
        let outcome = shell.run(&block("echo a\necho b >&2\nfalse\necho c\n"))?;
        assert!(!outcome.status.success());
        assert_eq!((&*outcome.stdout, &*outcome.stderr), ("a\n", "b\n"));
        let error = format!("{:#}", shell.succeed(&block("exit 3\n")).unwrap_err());
        assert!(error.contains("line 1") && error.contains("exit 3"), "{error}");
        let process = shell.start(&block("sleep 1000; echo done\n"))?;
        stack::wait_for("sleep", LONG, || Ok((!process.children()?.is_empty()).then_some(())))?;
        assert!(!end(&process)?.success());
        Ok(())
    });
}
