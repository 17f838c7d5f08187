//! The rows in Erlang: what `rows.erl` prints.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Write},
    path::Path,
    process::Command,
};

/// The traces by row; `None`: there is no Erlang, which is said.
pub(crate) fn traces() -> Option<BTreeMap<String, Vec<String>>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/rows.erl");
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    std::fs::create_dir_all(&place).expect("a directory for the compiled rows");
    let program = format!(
        "{{ok, _}} = compile:file({:?}, [{{outdir, {:?}}}]), rows:main().",
        source.to_str().expect("a path in UTF-8"),
        place.to_str().expect("a path in UTF-8"),
    );
    // One scheduler: what several processes say to the tester comes in the order in which they say it.
    let output = Command::new("erl")
        .current_dir(&place)
        .args(["+S", "1:1", "-noshell", "-kernel", "logger_level", "none", "-eval", &program])
        .output();
    match output {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{errors}{text}");
            let mut traces: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for line in text.lines() {
                let (row, line) = line.split_once(" | ").unwrap_or_else(|| panic!("Erlang says: {text}"));
                traces.entry(row.to_owned()).or_default().push(line.to_owned());
            }
            Some(traces)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let is_needed = ["ENGSET_REQUIRE_ERL", "CI"].iter().any(|name| std::env::var_os(name).is_some());
            assert!(!is_needed, "erl is missing");
            // Not captured by the test harness: it should be seen.
            let _ = writeln!(std::io::stderr(), "skipped: erl is missing (Debian: erlang-base)");
            None
        }
        Err(error) => panic!("erl: {error}"),
    }
}
