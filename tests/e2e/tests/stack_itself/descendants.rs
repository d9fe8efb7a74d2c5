//! The processes that a server has started can be found and killed, and no others.

use std::process::Command;
use std::time::Duration;

use stack::{Descendant, wait_for};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn children_and_their_children_are_found_and_killed() {
    stack::test("descendants", |dir| {
        let mut command = Command::new("sh");
        // The `wait` keeps each shell from becoming its last command.
        command.args(["-c", "sh -c 'sleep 1000 & wait' & wait; sleep 1000"]);
        let server = dir.spawn("server", command)?;
        let only = |mut found: Vec<Descendant>| (found.len() == 1).then(|| found.remove(0));
        let child = wait_for("a child", SOON, || Ok(only(server.children()?)))?;
        let grandchild = wait_for("a grandchild", SOON, || Ok(only(child.children()?)))?;
        assert!(grandchild.running() && grandchild.children()?.is_empty());

        grandchild.kill()?;
        grandchild.wait(SOON)?;
        assert!(!grandchild.running() && grandchild.kill().is_err());
        child.wait(SOON)?;
        assert!(child.children()?.is_empty());

        let next = wait_for("the next child", SOON, || Ok(only(server.children()?)))?;
        assert_ne!(next.pid(), child.pid());
        server.kill()?;
        assert!(server.children()?.is_empty());
        assert!(next.running(), "it outlives its parent, and can still be killed");
        next.terminate()?;
        next.wait(SOON)
    });
}
