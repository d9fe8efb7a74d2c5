//! Tests of folders, files and disks that are not as they should be.

use super::*;

#[test]
fn a_folder_that_was_deleted_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder);
    fill(&mut journal, &records());
    fs::remove_dir_all(&journal.settings.folder).unwrap();
    // The journal notices only at the next segment.
    journal.active = None;
    assert!(journal.append(b"a f=1 1\n", 1, false));
    assert_eq!(files(&journal).len(), 1);
    assert!(!journal.waits());
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder);
    fill(&mut journal, &records());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&journal.settings.folder), 0o700);
    assert_eq!(mode(&journal.settings.folder.join("lock")), 0o600);
    assert_eq!(mode(&files(&journal)[0]), 0o600);
}

#[test]
fn a_folder_that_cannot_be_used_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let obstacle = folder.path().join("journal");
    fs::write(&obstacle, "").unwrap();
    let mut journal = open(&folder);
    assert!(!journal.append(b"a f=1 1\n", 1, false));
    assert!(!journal.append(b"a f=1 1\n", 1, true));
    assert_eq!((journal.waits(), journal.bytes()), (false, 0));
    fs::remove_file(&obstacle).unwrap();
    assert!(!journal.append(b"a f=1 1\n", 1, false), "it is not yet time");
    journal.retry_at = Some(Instant::now());
    assert!(journal.append(b"a f=1 1\n", 1, false));
    assert_eq!(files(&journal).len(), 1);
}

/// A journal that creates a segment for each record.
#[cfg(unix)]
fn open_small(folder: &TempDir) -> Journal {
    open_with(settings(folder, LONG, 1))
}

#[cfg(unix)]
#[test]
fn a_lock_that_is_a_link_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let precious = folder.path().join("precious");
    fs::write(&precious, "kept").unwrap();
    let lock = folder.path().join("journal/lock");
    fs::create_dir(lock.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&precious, &lock).unwrap();
    let mut journal = open(&folder);
    assert!(!journal.append(b"a f=1 1\n", 1, false));
    assert_eq!(fs::read_to_string(&precious).unwrap(), "kept");
    fs::remove_file(&lock).unwrap();
    journal.retry_at = Some(Instant::now());
    assert!(journal.append(b"a f=1 1\n", 1, false));
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_no_regular_file_is_left_alone() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    // A child process, such as mkfifo, would inherit the locks of other tests until it runs.
    let make_pipe = |path: &Path| mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    fs::create_dir(&path).unwrap();
    let elsewhere = folder.path().join("elsewhere");
    let mut head = String::new();
    write_head(&mut head, 7, b"m f=1 1\n", 1, 0);
    fs::write(&elsewhere, head + "m f=1 1\n").unwrap();
    let [pipe, link, folder_in_it] = [1, 2, 3].map(|number| segment_path(&path, number));
    make_pipe(&pipe);
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    fs::create_dir(&folder_in_it).unwrap();
    let mut journal = open_small(&folder);
    assert_eq!((journal.waits(), journal.bytes()), (false, 0));
    for number in 0..3 {
        assert!(journal.append(b"a f=1 1\n", 1, false), "{number}");
        journal.emitted(number);
        journal.tidy(None);
    }
    assert!([&pipe, &link, &folder_in_it].iter().all(|path| fs::symlink_metadata(path).is_ok()));
    assert_eq!(files(&journal).len(), 4);
    let mut copy = Vec::new();
    replay(&path, &mut copy).unwrap();
    assert_eq!(copy, b"a f=1 1\n");
    // A pipe in place of a segment is not read either.
    assert!(journal.append(b"b f=1 1\n", 1, true));
    let last = files(&journal).remove(4);
    fs::remove_file(&last).unwrap();
    make_pipe(&last);
    assert_eq!(journal.next(&mut Vec::new()), None);
    assert!(!journal.waits());
    assert!(fs::symlink_metadata(last.with_extension("unread")).is_ok(), "it is not taken for one that is empty");
}

#[cfg(unix)]
#[test]
fn what_everybody_may_write_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open_small(&folder);
    fill(&mut journal, &records());
    let path = journal.settings.folder.clone();
    let file = files(&journal).remove(3);
    drop(journal);
    let set_mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o777, 0o1777] {
        set_mode(&path, mode);
        let mut journal = open_small(&folder);
        assert!(!journal.append(b"a f=1 1\n", 1, false));
        assert!(replay(&path, &mut Vec::new()).is_err());
    }
    set_mode(&path, 0o2775);
    set_mode(&file, 0o666);
    assert!(replay(&path, &mut Vec::new()).is_err());
    let mut journal = open_small(&folder);
    assert_eq!(all(&mut journal), records()[..3]);
    assert!(file.with_extension("unread").exists());
    assert!(journal.append(b"a f=1 1\n", 1, false));
}

#[test]
fn a_number_that_somebody_has_taken_means_another() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open_with(settings(&folder, LONG, 1));
    for number in [1, 2, 4] {
        fs::write(segment_path(&journal.settings.folder, number), "whose?").unwrap();
    }
    for number in [3, 5] {
        assert!(journal.append(b"a f=1 1\n", 1, false));
        assert_eq!(journal.segments.back().unwrap().number, number);
    }
    drop(journal);
    fs::write(segment_path(&folder.path().join("journal"), u64::MAX), "the last one").unwrap();
    assert!(!open(&folder).append(b"a f=1 1\n", 1, false));
}

#[cfg(unix)]
#[test]
fn without_its_lock_the_folder_is_still_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = open_small(&folder);
    let lock = first.settings.folder.join("lock");
    for number in 1..=3 {
        fs::remove_file(&lock).unwrap();
        let second = Folder::take(&first.settings.folder).unwrap();
        assert!(second.is_err_and(|holder| holder == "another process"));
        assert!(first.append(b"a f=1 1\n", 1, false));
        first.emitted(number);
        assert_eq!(fs::read_to_string(&lock).unwrap(), std::process::id().to_string());
    }
    let holder = Folder::take(&first.settings.folder).unwrap().err().unwrap();
    assert_eq!(holder, format!("the process {}", std::process::id()));
    assert_eq!((files(&first).len(), first.waits()), (3, false));
}

#[cfg(unix)]
#[test]
fn a_folder_that_an_older_version_has_taken_is_left_to_it_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open_with(settings(&folder, Duration::ZERO, 1));
    let path = journal.settings.folder.clone();
    fill(&mut journal, &[("a f=1 1\n".to_owned(), 1)]);
    assert!(journal.append(b"b f=1 1\n", 1, true));
    fs::remove_file(path.join("lock")).unwrap();
    let other = File::create_new(path.join("lock")).unwrap();
    other.try_lock().unwrap();

    assert!(!journal.append(b"c f=1 1\n", 1, true));
    assert_eq!(all(&mut journal), [("b f=1 1\n".to_owned(), 1)], "what waits goes out all the same");
    journal.emitted(2);
    journal.tidy(None);
    assert_eq!(files(&journal).len(), 2, "the other one decides what is deleted");
    drop(other);
    journal.retry_at = Some(Instant::now());
    assert!(journal.append(b"d f=1 1\n", 1, true));
    let lines = all(&mut journal).into_iter().map(|(lines, _)| lines).collect::<String>();
    assert_eq!(lines, "a f=1 1\nb f=1 1\nd f=1 1\n", "as at a start");
}

#[cfg(unix)]
#[test]
fn in_a_folder_that_has_been_moved_nothing_is_deleted_for_its_successor() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = open_with(settings(&folder, Duration::ZERO, 1));
    fill(&mut first, &[("a f=1 1\n".to_owned(), 1)]);
    let path = first.settings.folder.clone();
    fs::rename(&path, path.with_extension("old")).unwrap();
    let mut second = open_small(&folder);
    assert!(second.append(b"b f=1 1\n", 1, false));
    first.tidy(None);
    assert_eq!(files(&second).len(), 1);
    assert!(!first.append(b"c f=1 1\n", 1, false), "the second one has the folder");
    drop(second);
    first.retry_at = Some(Instant::now());
    assert!(first.append(b"d f=1 1\n", 1, true));
    let lines = all(&mut first).into_iter().map(|(lines, _)| lines).collect::<String>();
    assert_eq!(lines, "b f=1 1\nd f=1 1\n");
}

/// Makes the next calls of this thread fail, each this often, while it does something.
#[cfg(unix)]
fn with_faults<T>(faults: &[(Call, rustix::io::Errno, u32)], work: impl FnOnce() -> T) -> T {
    use crate::platform::faults::{Schedule, begin, end};
    let mut schedule = Schedule::new(0);
    schedule.next = faults.to_vec();
    begin(schedule, |_| {});
    let result = work();
    assert!(end().next.is_empty(), "all of them have come");
    result
}

#[cfg(unix)]
#[test]
fn a_segment_that_cannot_be_read_for_now_is_read_later() {
    use rustix::io::Errno;
    let folder = tempfile::tempdir().unwrap();
    fill(&mut open_small(&folder), &records());
    for (call, error) in [(Call::Open, Errno::MFILE), (Call::Read, Errno::NOMEM)] {
        let mut journal =
            Journal::open(settings(&folder, LONG, 1), Patience { retry: Duration::ZERO, ..Patience::default() })
                .unwrap();
        with_faults(&[(call, error, 10 * TRIES)], || {
            for _ in 0..10 * TRIES {
                assert_eq!((journal.next(&mut Vec::new()), journal.waits()), (None, true));
                assert_eq!(journal.due(), Some(Duration::ZERO), "nothing else may come that would have it tried");
            }
        });
        assert_eq!(all(&mut journal), records());
    }
    // It is not retried continuously either.
    let mut journal = open_small(&folder);
    with_faults(&[(Call::Open, Errno::MFILE, 1)], || {
        for _ in 0..3 {
            assert_eq!(journal.next(&mut Vec::new()), None);
        }
    });
}

#[cfg(unix)]
#[test]
fn a_segment_that_the_disk_does_not_give_is_set_aside_in_the_end() {
    use rustix::io::Errno;
    let folder = tempfile::tempdir().unwrap();
    fill(&mut open_small(&folder), &records());
    let patience = Patience { retry: Duration::ZERO, ..Patience::default() };
    let mut journal = Journal::open(settings(&folder, LONG, 1), patience).unwrap();
    let first = files(&journal).remove(0);
    with_faults(&[(Call::Open, Errno::IO, TRIES)], || {
        for _ in 1..TRIES {
            assert_eq!(journal.next(&mut Vec::new()), None);
        }
        assert_eq!(all(&mut journal), records()[1..]);
    });
    assert!(first.with_extension("unread").exists());
    drop(journal);
    // Its number is not used again.
    for file in files(&open_small(&folder)) {
        fs::remove_file(file).unwrap();
    }
    let mut journal = open_small(&folder);
    assert!(journal.append(b"a f=1 1\n", 1, false));
    assert_eq!(files(&journal), [segment_path(&journal.settings.folder, 2)]);
}

#[cfg(unix)]
#[test]
fn a_segment_that_cannot_even_be_set_aside_is_not_deleted() {
    use rustix::io::Errno;
    let folder = tempfile::tempdir().unwrap();
    fill(&mut open_small(&folder), &records());
    let mut journal = open_with(settings(&folder, Duration::ZERO, 1));
    with_faults(&[(Call::Open, Errno::ACCESS, 1), (Call::Rename, Errno::ROFS, 1)], || {
        assert_eq!(all(&mut journal), records()[1..]);
    });
    journal.emitted(1);
    journal.tidy(None);
    drop(journal);
    assert_eq!(all(&mut open(&folder)), records()[..1]);
}

#[cfg(unix)]
#[test]
fn what_is_appended_behind_a_segment_that_was_set_aside_is_found_again() {
    use rustix::io::Errno;
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder);
    assert!(journal.append(b"a f=1 1\n", 1, true));
    with_faults(&[(Call::Open, Errno::ACCESS, 1)], || assert_eq!(journal.next(&mut Vec::new()), None));
    assert!(journal.append(b"b f=1 1\n", 1, true));
    drop(journal);
    assert_eq!(all(&mut open(&folder)), [("b f=1 1\n".to_owned(), 1)]);
}
