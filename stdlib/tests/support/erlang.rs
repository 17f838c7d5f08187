//! A real Erlang, to compare with.

use std::{
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
};

/// A directory for what a comparison needs.
pub(crate) fn place(of: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(of);
    std::fs::create_dir_all(&place).expect("a directory for the compiled scenarios");
    place
}

/// Compiles `tests/oracle/MODULE.erl` into `place`, evaluates `call`, and gives the lines that it prints. `None`: `erl` is not
/// installed, and so `what` is not compared, which it says; with `CI=true` or `ENGSET_REQUIRE_ERL` that is a failure.
pub(crate) fn lines(module: &str, call: &str, place: &Path, what: &str) -> Option<Vec<String>> {
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle").join(module).with_extension("erl");
    let program = format!("{{ok, _}} = compile:file({source:?}, [{{outdir, {place:?}}}]), {call}.");
    let output = Command::new("erl")
        .current_dir(place)
        .args(["-noshell", "-kernel", "logger_level", "none", "-eval", &program])
        .output();
    match output {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{errors}{}", String::from_utf8_lossy(&output.stdout));
            Some(String::from_utf8_lossy(&output.stdout).lines().map(ToOwned::to_owned).collect())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let ci = std::env::var("CI").is_ok_and(|value| value == "true");
            let required = ci || std::env::var_os("ENGSET_REQUIRE_ERL").is_some();
            assert!(!required, "erl is missing, and CI=true or ENGSET_REQUIRE_ERL asks for it");
            // Not captured by the test harness: it should be seen.
            let _ = writeln!(
                std::io::stderr(),
                "not compared: {what}, because erl is missing (Debian: erlang-base)"
            );
            None
        }
        Err(error) => panic!("erl: {error}"),
    }
}
