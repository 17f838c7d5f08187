//! Tests that need a process of their own: they run the test binary again.

use std::process::{Command, Output};

const MARK: &str = "ENGSET_TEST_CHILD";

/// Whether this is the child.
pub(crate) fn here() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Runs the test `name` of the module `module` (from `module_path!`) in a child.
pub(crate) fn run(module: &str, name: &str) -> Output {
    assert!(!here(), "the child should have ended before this");
    let module = module.split_once("::").expect("a module of a crate").1;
    Command::new(std::env::current_exe().unwrap())
        .args([&format!("{module}::{name}"), "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .output()
        .unwrap()
}

/// Runs it, and the child must succeed with that test.
pub(crate) fn succeeds(module: &str, name: &str) {
    let output = run(module, name);
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && out.contains("1 passed"), "{output:?}");
}
