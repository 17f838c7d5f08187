//! The command line.

use std::{ffi::OsString, fs, path::PathBuf};

pub const HELP: &str = "\
Counts the words of all text files below a directory, with one process for each file.

Usage: index [OPTIONS] [DIR]

  DIR                the directory [default: the current one]; .git and target are skipped
  --at-a-time N      files that are read at a time [default: 256]
  --top N            words that are shown, the most frequent first [default: 20]
  --failures N       failures that are shown one by one [default: 20]
  -h, --help         this text

The settings of the runtime come from the environment: ENGSET_WORKERS=1, for example.
";

pub enum Command {
    Help,
    Index(Arguments),
}

#[derive(Debug)]
pub struct Arguments {
    pub directory: PathBuf,
    pub at_a_time: usize,
    pub top: usize,
    pub failures: usize,
}

/// # Errors
///
/// What is wrong, for people.
pub fn parse(given: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let mut arguments = Arguments { directory: ".".into(), at_a_time: 256, top: 20, failures: 20 };
    let mut directory = None;
    let mut given = given;
    let mut only_operands = false;
    while let Some(argument) = given.next() {
        let text = argument.to_str().unwrap_or_default();
        if only_operands || text == "-" || !argument.as_encoded_bytes().starts_with(b"-") {
            if directory.replace(PathBuf::from(argument)).is_some() {
                return Err("more than one DIR (--help tells how it is used)".into());
            }
            continue;
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let place = match name {
            "--" => {
                only_operands = true;
                continue;
            }
            "-h" | "--help" => return Ok(Command::Help),
            "--at-a-time" => &mut arguments.at_a_time,
            "--top" => &mut arguments.top,
            "--failures" => &mut arguments.failures,
            _ => return Err(format!("there is no option {} (--help lists them)", argument.display())),
        };
        let value = match value {
            Some(value) => value,
            None => match given.next() {
                Some(value) => value.display().to_string(),
                None => return Err(format!("{name} needs a number")),
            },
        };
        *place = value.parse().map_err(|_| format!("{name} needs a number, not {value:?}"))?;
    }
    if arguments.at_a_time == 0 {
        return Err("--at-a-time must be 1 at least".into());
    }
    arguments.directory = directory.unwrap_or(arguments.directory);
    let shown = arguments.directory.display();
    match fs::metadata(&arguments.directory) {
        Ok(found) if found.is_dir() => Ok(Command::Index(arguments)),
        Ok(_) => Err(format!("{shown}: is not a directory")),
        Err(error) => Err(format!("{shown}: {error}")),
    }
}
