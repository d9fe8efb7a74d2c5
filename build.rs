//! Has `--version` name the commit, where the program is built from a checkout. From an archive it names the version alone.

use std::env;
use std::path::Path;
use std::process::Command;

/// What the program is made of.
const SOURCES: [&str; 6] = ["Cargo.lock", "Cargo.toml", "build.rs", "packaging/debian/changelog", "src", "telegraf"];

fn main() {
    let variable = |name| env::var(name).unwrap_or_default();
    println!("cargo::rerun-if-changed=build.rs");
    let mut version = variable("CARGO_PKG_VERSION");
    // Builds for tests do not name it, so that a commit does not have all of them built again.
    if variable("PROFILE") == "release"
        && let Some(commit) = commit()
    {
        version += &format!(" ({commit})");
    }
    println!("cargo::rustc-env=TELEGRAF_ALGORITHMIA_VERSION={version}");
}

/// The commit, and whether there are changes. Cargo is told what changes it.
fn commit() -> Option<String> {
    let out = git(&["rev-parse", "--show-prefix", "HEAD", "--git-path", "HEAD", "--git-path", "logs/HEAD"])?;
    // An archive may have been unpacked somewhere in a repository of others: then there is a prefix.
    let ("", rest) = out.split_once('\n')? else { return None };
    let mut lines = rest.lines();
    let commit = lines.next()?.get(..12)?;
    // A file that is missing would have cargo build each time.
    for path in lines.chain(SOURCES).filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
    let status = git(&[&["--no-optional-locks", "status", "--porcelain", "--"], &SOURCES[..]].concat())?;
    Some(format!("{commit}{}", if status.is_empty() { "" } else { " with changes" }))
}

/// What git says. None if it is missing, or if this is no repository of its.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).ok()).flatten()
}
