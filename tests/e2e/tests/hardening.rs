//! The process needs no network, no privileges, and writes nowhere but into the journal's folder: where it can have none of
//! these, it does what it does elsewhere.
#![cfg(target_os = "linux")]

// Other tests use the rest of them.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    path_beneath_rules,
};
use rustix::process::{Pid, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use fixtures::command::{signal, text};
use fixtures::service::{Folder, Service, converted, message, messages, points};

/// Whoever calls one of these is killed at once, and cannot try another way: the network, other processes, the kernel, and
/// what only root may do.
const FORBIDDEN: &[libc::c_long] = &[
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_io_uring_setup,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_capset,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_sethostname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_keyctl,
    libc::SYS_add_key,
];

/// Does something where no capability is left or can be had, no file outside `folder` can be written, made or deleted, and
/// nothing FORBIDDEN called. That holds for the thread that it is done in, and for all that it starts.
fn confined<T: Send>(folder: &Path, work: impl FnOnce() -> T + Send) -> T {
    // It may have to be built first, and cargo is not what is tested.
    fixtures::program();
    let confine = || {
        for capability in CapabilitySet::all() {
            // Whoever is not root has none to take away, and cannot gain any behind no_new_privs.
            let _ = rustix::thread::remove_capability_from_bounding_set(capability);
        }
        let none = CapabilitySet::empty();
        rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
            .expect("a thread may give away its capabilities");
        let abi = ABI::V3;
        let status = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(abi))
            .and_then(|ruleset| ruleset.create())
            .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(["/"], AccessFs::from_read(abi))))
            .and_then(|ruleset| ruleset.add_rules(path_beneath_rules([folder], AccessFs::from_all(abi))))
            .and_then(|ruleset| ruleset.restrict_self())
            .expect(
                "this test takes a kernel with Landlock (Linux 6.2 or newer, `landlock` in /sys/kernel/security/lsm)",
            );
        assert_eq!(status.ruleset, RulesetStatus::FullyEnforced);
        let rules = FORBIDDEN.iter().map(|call| (*call, vec![])).collect();
        let arch = std::env::consts::ARCH.try_into().expect("an architecture with seccomp");
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::KillProcess, arch);
        let program: BpfProgram = filter.and_then(TryInto::try_into).expect("a filter");
        // This sets no_new_privs, too.
        seccompiler::apply_filter(&program).expect("this test takes a kernel with seccomp filters");
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            confine();
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn start(folder: &Folder, is_confined: bool) -> Service {
    let start = || Service::with_journal(folder, &["--stats", "1s"]);
    if is_confined { confined(folder.path(), start) } else { start() }
}

/// What /proc says of a process.
fn status(process: Pid, key: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{key}:"))).unwrap();
    line.trim().to_owned()
}

/// Messages, the death of the worker, the death of all, the start after it, and SIGTERM: what came out in the two lives.
fn live(folder: &Folder, is_confined: bool) -> Vec<BTreeSet<String>> {
    let set = |service: &Service| service.points().into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    let mut first = start(folder, is_confined);
    first.send(&messages(0..200));
    first.wait_for("the points are there", |service| service.points().len() >= 200);
    first.wait_for("it has reported", |service| service.output().contains("algorithmia_processor,"));
    let worker = first.worker();
    for process in [Pid::from_child(&first.child), worker] {
        for capabilities in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
            let none = status(process, capabilities).trim_matches('0').is_empty();
            assert!(none || !is_confined, "{capabilities} of {process:?}");
        }
        if is_confined {
            assert_eq!((status(process, "NoNewPrivs").as_str(), status(process, "Seccomp").as_str()), ("1", "2"));
        }
    }
    first.kill_worker(worker);
    first.send(&messages(200..400));
    first.wait_for("so are those for the next worker", |service| set(service).len() >= 400);
    first.kill_everything();

    let mut second = start(folder, is_confined);
    second.wait_for("the journal is out again", |service| set(service).len() >= 400);
    second.send(&messages(400..600));
    signal(&second.child, Signal::TERM);
    assert_eq!(second.end(), 0, "{}", second.log());
    for service in [&first, &second] {
        assert!(!service.log().contains("E! "), "{}", service.log());
    }
    vec![set(&first), set(&second)]
}

#[test]
fn it_needs_no_network_no_privileges_and_no_files_but_its_journal() {
    let folder = Folder::temporary();
    let out = live(&folder, true);
    assert_eq!(out[1], converted(&messages(0..600)).into_iter().collect());
    assert_eq!(points(&folder.replay()).into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), out[1]);
    for entry in fs::read_dir(folder.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "journal" || name.starts_with("log-"), "{name} is neither its journal nor its stderr");
    }
    assert_eq!(out, live(&Folder::temporary(), false), "all is as it is elsewhere");
}

#[test]
fn files_and_pipes_are_converted_there_too() {
    let folder = Folder::temporary();
    let file = folder.path().join("messages.lp");
    fs::write(&file, message(1)).unwrap();
    // It may read all files.
    let elsewhere = Folder::temporary();
    let output = confined(elsewhere.path(), || fixtures::command::command().arg(&file).output().unwrap());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), converted(&message(1)));
}

/// A sandbox that forbids nothing would let everything pass.
#[test]
fn the_sandbox_forbids_what_it_says() {
    let (folder, elsewhere) = (Folder::temporary(), Folder::temporary());
    let shell = |script: &str, path: &Path| -> Output {
        confined(folder.path(), || Command::new("/bin/sh").args(["-c", script, "sh"]).arg(path).output().unwrap())
    };
    assert!(shell(": > \"$1\"", &folder.path().join("file")).status.success());
    for script in [": > \"$1\"", "mkdir \"$1\"", "ln -s / \"$1\""] {
        let path = elsewhere.path().join("file");
        let output = shell(script, &path);
        assert!(!output.status.success() && fs::symlink_metadata(&path).is_err(), "{script}");
        assert!(text(&output.stderr).contains("ermission denied"), "{}", text(&output.stderr));
    }
    fs::write(elsewhere.path().join("kept"), "").unwrap();
    assert!(!shell("rm \"$1\"", &elsewhere.path().join("kept")).status.success());

    // A journal elsewhere is what is said of one that cannot be written.
    let journal = elsewhere.path().join("journal");
    let mut service = confined(folder.path(), || Service::start(&folder, &["--journal", journal.to_str().unwrap()]));
    service.send(&message(1));
    service.wait_for("the point is there", |service| service.points().len() == 1);
    assert_eq!(service.end(), 0);
    assert!(service.log().contains("E! no journal, so a kill now loses messages in flight"), "{}", service.log());

    let this = std::env::current_exe().unwrap();
    let socket =
        |command: &mut Command| command.args(["--ignored", "--exact", "hardening::opens_a_socket"]).output().unwrap();
    assert!(socket(&mut Command::new(&this)).status.success());
    let killed = confined(folder.path(), || socket(&mut Command::new(&this)));
    assert_eq!(killed.status.signal(), Some(libc::SIGSYS), "{}", text(&killed.stdout));
}

/// systemd takes each line of the drop-in, and finds next to nothing left that could be taken away.
#[test]
fn the_drop_in_is_one() {
    let root = tempfile::tempdir().unwrap();
    let unit = root.path().join("etc/systemd/system/telegraf.service");
    let drop_in = unit.with_extension("service.d").join("algorithmia.conf");
    fs::create_dir_all(drop_in.parent().unwrap()).unwrap();
    fs::write(&unit, "[Service]\nUser=telegraf\nKillMode=mixed\nExecStart=/usr/bin/telegraf\n").unwrap();
    let analyze = |args: &[&str]| {
        let root = format!("--root={}", root.path().display());
        let output = Command::new("systemd-analyze").args(args).args([root.as_str(), "telegraf.service"]).output();
        output.map(|output| text(&output.stdout) + &text(&output.stderr))
    };
    let exposure = || {
        analyze(&["security", "--offline=true", "--no-pager"]).map(|text| {
            let level = text.rsplit_once("telegraf.service: ").expect("a level").1;
            level.split(' ').next().unwrap().parse::<f64>().unwrap()
        })
    };
    let before = match exposure() {
        Ok(before) => before,
        Err(error) => {
            eprintln!("NOT TESTED: whether systemd takes the drop-in, since systemd-analyze is not to be had: {error}");
            return;
        }
    };
    fs::copy(fixtures::repository("packaging/telegraf-algorithmia.conf"), &drop_in).unwrap();
    let complaints = analyze(&["verify"]).unwrap();
    assert!(!complaints.contains("algorithmia.conf"), "{complaints}");
    let after = exposure().unwrap();
    assert!(before > 9.0 && after < 2.0, "{before} became {after}");
    // It is read at all.
    fs::write(&drop_in, "[Service]\nNoNewPrivilege=yes\n").unwrap();
    assert!(analyze(&["verify"]).unwrap().contains("algorithmia.conf"));
}

#[test]
#[ignore = "the_sandbox_forbids_what_it_says runs it, inside the sandbox and outside"]
fn opens_a_socket() {
    TcpListener::bind("127.0.0.1:0").unwrap();
}
