//! What must not compile: the programs in `compile_fail/`, each with the code of its error in the first line.
//!
//! The compiler's words change from version to version, its error codes do not; so only those are compared.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The newest library of this name beside the test binary: the one that it was linked with.
fn library(deps: &Path) -> PathBuf {
    let candidates = fs::read_dir(deps).expect("the directory of the test binary").filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?;
        let is_it = name.starts_with("libengset-") && name.ends_with(".rlib");
        is_it.then(|| Some((fs::metadata(&path).ok()?.modified().ok()?, path.clone()))).flatten()
    });
    candidates.max().expect("the library is built").1
}

/// What the compiler says to this program; `None`: it has no objection.
fn objection(program: &Path) -> Option<String> {
    let binary = std::env::current_exe().expect("the test binary");
    let deps = binary.parent().expect("it is in a directory");
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition", "2024", "--crate-type", "bin", "--emit", "metadata", "--color", "never"])
        .arg("--out-dir")
        .arg(env!("CARGO_TARGET_TMPDIR"))
        .arg("-L")
        .arg(format!("dependency={}", deps.display()))
        .arg("--extern")
        .arg(format!("engset={}", library(deps).display()))
        .arg(program)
        .output()
        .expect("the compiler can be run");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn programs() -> Vec<PathBuf> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail");
    let entries = fs::read_dir(place).expect("the programs");
    entries
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect()
}

#[test]
fn what_would_be_unsound_does_not_compile_and_the_rest_does() {
    let programs = programs();
    assert!(programs.len() >= 8, "{programs:?}");
    for program in programs {
        let text = fs::read_to_string(&program).expect("readable");
        let first = text.lines().next().unwrap_or_default();
        match (first.strip_prefix("// error: "), objection(&program)) {
            (Some(code), Some(said)) => {
                let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error[")).collect();
                let right = errors.iter().any(|line| line.starts_with(&format!("error[{code}]")));
                assert!(right, "{}: not {code}, but:\n{said}", program.display());
            }
            (Some(code), None) => panic!("{} compiles, and should not ({code})", program.display()),
            (None, Some(said)) => panic!("{} should compile:\n{said}", program.display()),
            (None, None) => {}
        }
    }
}
