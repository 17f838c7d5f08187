//! Files and names.

#![allow(clippy::disallowed_methods, reason = "tests look at the real clock and block real threads")]

mod support;

use engset_net::{
    fs::{self, File},
    lookup_host,
};
use engset_runtime::{Config, Mailbox, kill, run_with, sleep, spawn, spawn_monitor};
use proptest::prelude::*;
use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write},
    path::PathBuf,
    time::Duration,
};
use support::{down_of, process};

const MS: Duration = Duration::from_millis(1);

/// A folder of its own, which goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let unique = format!("engset-{name}-{}-{:x}", std::process::id(), engset_runtime::random());
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn whole_files() {
    process(|_: &mut Mailbox<()>| {
        let folder = Folder::new("whole");
        let (one, other) = (folder.path("one"), folder.path("other"));
        fs::write(&one, "text").expect("it is written");
        assert_eq!(fs::read(&one).expect("it is there"), b"text");
        assert_eq!(fs::copy(&one, &other).expect("it is there"), 4);
        fs::remove_file(&one).expect("it is there");
        assert_eq!(fs::read(&one).expect_err("it is gone").kind(), ErrorKind::NotFound);
        fs::rename(&other, &one).expect("it is there");
        assert_eq!(fs::metadata(&one).expect("it is there").len(), 4);
        fs::create_dir_all(folder.path("a/b")).expect("they are made");
        assert_eq!(fs::read_dir(&folder.0).expect("it is there").len(), 2);
        fs::remove_dir_all(folder.path("a")).expect("it is there");
    });
}

#[test]
fn lines_are_written_and_read() {
    process(|_: &mut Mailbox<()>| {
        let folder = Folder::new("lines");
        let path = folder.path("lines");
        let mut file = File::create(&path).expect("it is made");
        for number in 0..20_000 {
            writeln!(file, "line {number}").expect("it is written");
        }
        // The drop writes what is left.
        drop(file);
        let lines = BufReader::new(File::open(&path).expect("it is there")).lines();
        for (number, line) in lines.enumerate() {
            assert_eq!(line.expect("it is read"), format!("line {number}"));
        }
        assert_eq!(File::open(folder.path("none")).expect_err("none").kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_killed_process_leaves_what_it_has_written() {
    process(|mailbox: &mut Mailbox<()>| {
        let folder = Folder::new("killed");
        let path = folder.path("file");
        let (me, place) = (mailbox.address(), path.clone());
        let (pid, reference) = spawn_monitor(move || {
            let mut file = File::create(place).expect("it is made");
            file.write_all(b"in the buffer").expect("there is room");
            me.send(());
            sleep(Duration::MAX);
        });
        mailbox.message();
        kill(pid);
        down_of(mailbox, reference);
        for _ in 0..20_000 {
            if fs::read(&path).expect("it is there") == b"in the buffer" {
                return;
            }
            sleep(MS);
        }
        panic!("it was never written");
    });
}

#[test]
fn files_in_systematic_mode() {
    let run = run_with(Config::new().seed(3), || {
        let folder = Folder::new("systematic");
        let mut file = File::create(folder.path("file")).expect("it is made");
        file.write_all(b"text").expect("there is room");
        file.sync_all().expect("it is written");
        assert_eq!(fs::read_to_string(folder.path("file")).expect("it is there"), "text");
    });
    run.expect("it runs");
}

/// What is done with a file.
#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    Write(usize),
    Seek(SeekFrom),
    SetLen(u64),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![0..100_usize, 0..200_000_usize];
    prop_oneof![
        4 => size.clone().prop_map(Step::Read),
        4 => size.prop_map(Step::Write),
        1 => (0..200_000_u64).prop_map(|at| Step::Seek(SeekFrom::Start(at))),
        1 => (-1000..1000_i64).prop_map(|by| Step::Seek(SeekFrom::Current(by))),
        1 => (-1000..1000_i64).prop_map(|by| Step::Seek(SeekFrom::End(by))),
        1 => (0..200_000_u64).prop_map(Step::SetLen),
        1 => Just(Step::Flush),
    ]
}

fn as_in_std(steps: &[Step]) {
    let folder = Folder::new("model");
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true);
    let mut ours = File::open_with(folder.path("ours"), &options).expect("it is made");
    let mut theirs = options.open(folder.path("theirs")).expect("it is made");
    let mut next = 0_u8;
    for step in steps {
        match *step {
            Step::Read(size) => {
                let (mut one, mut other) = (vec![0; size], vec![0; size]);
                let count = fill(&mut ours, &mut one);
                assert_eq!(count, fill(&mut theirs, &mut other), "{step:?}");
                assert!(one == other, "{step:?}");
            }
            Step::Write(size) => {
                let data: Vec<u8> = (0..size)
                    .map(|_| {
                        next = next.wrapping_add(1);
                        next
                    })
                    .collect();
                ours.write_all(&data).expect("it is written");
                theirs.write_all(&data).expect("it is written");
            }
            Step::Seek(to) => {
                let (one, other) = (ours.seek(to), theirs.seek(to));
                assert_eq!(one.as_ref().ok(), other.as_ref().ok(), "{step:?}");
                assert_eq!(
                    one.map_err(|error| error.kind()).err(),
                    other.map_err(|error| error.kind()).err()
                );
            }
            Step::SetLen(length) => {
                ours.set_len(length).expect("it can be");
                theirs.set_len(length).expect("it can be");
            }
            Step::Flush => ours.flush().expect("it is written"),
        }
    }
    drop((ours, theirs));
    assert!(fs::read(folder.path("ours")).expect("there") == fs::read(folder.path("theirs")).expect("there"));
}

/// Until it is full, or the end.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> usize {
    let mut done = 0;
    while done < buffer.len() {
        match file.read(&mut buffer[done..]).expect("it is read") {
            0 => break,
            count => done += count,
        }
    }
    done
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_file_does_what_that_of_std_does(steps in prop::collection::vec(step(), 1..25)) {
        let run = run_with(Config::new().workers(1), move || as_in_std(&steps));
        run.expect("no panic");
    }
}

#[test]
fn names() {
    process(|mailbox: &mut Mailbox<usize>| {
        let me = mailbox.address();
        // More than there are places.
        for _ in 0..100 {
            spawn(move || {
                me.send(lookup_host("localhost", 80, Duration::from_secs(60)).expect("known").len())
            });
        }
        for _ in 0..100 {
            assert!(mailbox.message() > 0);
        }
        let found = lookup_host("127.0.0.1", 7, Duration::from_secs(60)).expect("an address");
        assert_eq!(found, ["127.0.0.1:7".parse().expect("an address")]);
        let error = lookup_host("no such name", 1, Duration::from_secs(60)).expect_err("it is none");
        assert!(error.to_string().contains("no such name"), "{error}");
        let error = lookup_host("localhost", 1, Duration::ZERO);
        assert!(error.is_ok() || error.is_err_and(|error| error.kind() == ErrorKind::TimedOut));
    });
    assert!(!lookup_host("localhost", 1, MS).expect("a thread just asks").is_empty());
}
