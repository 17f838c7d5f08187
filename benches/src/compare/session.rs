//! The runs: each contender in turn, round after round, one OS process for each run.

#![allow(clippy::print_stderr, reason = "progress is shown while it runs")]

use super::{
    cli::Request,
    contender::{self, Ready},
    job::Job,
    report::{Missing, Report, Row},
};
use crate::peers::NOT_DONE;
use std::{
    io::{self, Read},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// Longer than any run takes that is worth to be compared with.
const TIME_LIMIT: Duration = Duration::from_secs(120);

pub(super) fn run(request: &Request) -> io::Result<Report> {
    eprintln!("compare: building");
    let (ready, missing) = contender::prepare(&request.peers);
    if let Some((_, why)) = missing.iter().find(|(name, _)| *name == "engset") {
        return Err(io::Error::other(format!("engset itself: {why}")));
    }
    let mut report = Report::new(request.rounds, &ready);
    for (name, why) in missing {
        report.missing.push(Missing { contender: name.to_owned(), job: None, why });
    }
    for job in &request.jobs {
        play(job, &ready, request, &mut report);
    }
    match &request.merge {
        Some(file) => report.merge(file),
        None => Ok(report),
    }
}

/// All rounds of one job.
fn play(job: &'static Job, ready: &[Ready], request: &Request, report: &mut Report) {
    let mut left_out = vec![false; ready.len()];
    let mut values = vec![Vec::new(); ready.len()];
    let mut unit = String::new();
    for round in 0..request.rounds {
        for turn in 0..ready.len() {
            let place = (round + turn) % ready.len();
            let contender = &ready[place];
            if left_out[place] {
                continue;
            }
            eprintln!("compare: {}, round {} of {}: {}", job.name, round + 1, request.rounds, contender.name);
            let ran =
                contender.command(job, request.quick).and_then(|mut command| measure(&mut command, job));
            match ran {
                Ok((value, of)) => {
                    values[place].push(value);
                    unit = of;
                }
                Err(why) => {
                    // It will not be better the next time.
                    left_out[place] = true;
                    report.missing.push(Missing {
                        contender: contender.name.to_owned(),
                        job: Some(job.name.to_owned()),
                        why,
                    });
                }
            }
        }
    }
    for (contender, values) in ready.iter().zip(values) {
        report.rows.extend(Row::new(job, contender.name, &unit, values));
    }
}

/// One run: the job's figure, with its unit.
fn measure(command: &mut Command, job: &Job) -> Result<(f64, String), String> {
    let output = output_of(command)?;
    let line = format!("{} {} ", job.workload, job.figure);
    let rest = output.lines().find_map(|text| text.strip_prefix(&line));
    let (value, unit) =
        rest.and_then(|rest| rest.split_once(' ')).ok_or("the figure is not in the output")?;
    let value = value.parse().map_err(|_| format!("{value:?} is not a number"))?;
    Ok((value, unit.to_owned()))
}

/// What the program has printed, if it has ended well and in time.
fn output_of(command: &mut Command) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("it cannot be run: {error}"))?;
    // The end of the output is the end of the program; so nobody has to look in between.
    let messages = child.stderr.take().map(|pipe| thread::spawn(move || read(pipe)));
    let (done, output) = mpsc::channel();
    let pipe = child.stdout.take();
    thread::spawn(move || drop(done.send(pipe.map(read).unwrap_or_default())));
    let Ok(output) = output.recv_timeout(TIME_LIMIT) else {
        let ended = child.kill().and_then(|()| child.wait());
        return Err(format!("not done within {} s ({ended:?})", TIME_LIMIT.as_secs()));
    };
    let status = child.wait().map_err(|error| error.to_string())?;
    let messages = messages.and_then(|thread| thread.join().ok()).unwrap_or_default();
    match status.code() {
        Some(0) => {
            if !messages.is_empty() {
                eprintln!("compare: it said: {}", messages.trim());
            }
            Ok(output)
        }
        Some(code) if code == i32::from(NOT_DONE) => Err(messages.trim().to_owned()),
        _ => {
            // Where on this machine a program's source lies says nothing to the reader.
            let says = |line: &&str| !line.is_empty() && !line.contains(" panicked at ");
            let lines: Vec<_> = messages.lines().map(str::trim).filter(says).take(2).collect();
            Err(format!("{status}: {}", lines.join(" ")))
        }
    }
}

/// What cannot be read is as good as not written.
fn read(mut pipe: impl Read) -> String {
    let mut text = Vec::new();
    let _ = pipe.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::job::JOBS;

    fn of(script: &str) -> Result<(f64, String), String> {
        let spawn = JOBS.iter().find(|job| job.name == "spawn").expect("there is one");
        measure(Command::new("sh").args(["-c", script]), spawn)
    }

    #[test]
    fn the_figure_of_the_job_is_taken() {
        assert_eq!(
            of("echo idle rate 1 x; echo spawn rate 12.5 spawns/s"),
            Ok((12.5, "spawns/s".to_owned()))
        );
        assert_eq!(of("echo spawn rat 1 x"), Err("the figure is not in the output".to_owned()));
        assert_eq!(of("echo spawn rate many x"), Err("\"many\" is not a number".to_owned()));
    }

    #[test]
    fn a_failure_says_why() {
        assert_eq!(of("echo no means >&2; exit 3"), Err("no means".to_owned()));
        assert_eq!(of("echo broken >&2; exit 1"), Err("exit status: 1: broken".to_owned()));
        let panic = "thread 'main' panicked at /home/a.rs:1:2:\\nno memory";
        assert_eq!(
            of(&format!("printf \"{panic}\" >&2; exit 101")),
            Err("exit status: 101: no memory".to_owned())
        );
    }
}
