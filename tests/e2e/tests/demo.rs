//! The demo.

use std::process::{Command, Stdio};

use fixtures::{program, repository};

/// All of it on real servers. The demo itself looks whether everything has come: every message, the alerts to the letter and their
/// end, the statuses of the checks, and something in every cell of every dashboard.
#[test]
fn the_demo_comes_to_a_good_end() {
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--profile", profile, "--package", "demo", "--", "--once"])
        .current_dir(repository(""))
        .env("TELEGRAF_ALGORITHMIA", program())
        // It takes minutes: people may see how far it is.
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {said}", output.status);
    assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), 7, "{said}");
    assert!(said.contains("\nok      Slack has received the alert to the letter"), "{said}");
    assert!(
        said.contains("\nok      Slack has received that there is drift, of approved, risk_score, and its end"),
        "{said}"
    );
}
