//! Makes a cluster's authority and its nodes' certificates.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program at the command line")]

use engset_net::dist::certs::Authority;
use std::{
    error::Error,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::ExitCode,
};

const HELP: &str = "\
Certificates for the nodes of a cluster.

  engset-certs authority CLUSTER FOLDER     makes FOLDER/authority.pem and FOLDER/authority.key
  engset-certs node CLUSTER FOLDER NAME     makes FOLDER/NAME.pem and FOLDER/NAME.key

A node gets authority.pem, NAME.pem and NAME.key. authority.key belongs on no node: who has it can make more of
them. Keys are readable by their owner only. Nothing that is there is overwritten.
";

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Box<dyn Error>> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(|error| format!("{}: {error}", path.display()))?;
    file.write_all(text.as_bytes())?;
    println!("{}", path.display());
    Ok(())
}

fn run(arguments: &[&str]) -> Result<bool, Box<dyn Error>> {
    match arguments {
        ["--help" | "-h"] => print!("{HELP}"),
        ["authority", cluster, folder] => {
            let (authority, folder) = (Authority::new(*cluster)?, Path::new(folder));
            fs::create_dir_all(folder)?;
            write(&folder.join("authority.key"), &authority.key(), 0o600)?;
            write(&folder.join("authority.pem"), &authority.certificate()?, 0o644)?;
        }
        ["node", cluster, folder, name] => {
            if name.is_empty() || name.contains('/') {
                return Err(format!("{name:?} is no name for a file").into());
            }
            let folder = Path::new(folder);
            let path = folder.join("authority.key");
            let key = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let made = Authority::from_key(*cluster, &key)?.certify(name)?;
            write(&folder.join(format!("{name}.key")), &made.key, 0o600)?;
            write(&folder.join(format!("{name}.pem")), &made.certificate, 0o644)?;
        }
        _ => {
            eprint!("{HELP}");
            return Ok(false);
        }
    }
    Ok(true)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("engset-certs: {error}");
            ExitCode::FAILURE
        }
    }
}
