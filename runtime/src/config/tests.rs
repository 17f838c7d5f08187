//! Layers, where they come from, and errors. More, with the users' types, is in `stdlib/tests/configuration.rs`.

use super::*;
use std::fmt;

fn variables(config: Config, of: &[(&str, &str)]) -> Result<Config, ConfigError> {
    config.variables(of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn text<T: fmt::Debug>(result: Result<T, ConfigError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn later_layers_win() {
    let config = Config::new().workers(3).toml("workers = 4\nslice = 100").unwrap();
    assert_eq!((config.scheduler.workers, config.scheduler.slice), (4, 100));
    let config = variables(config, &[("ENGSET_WORKERS", " 5 ")]).unwrap();
    assert_eq!((config.scheduler.workers, config.scheduler.slice), (5, 100));
    let config = config.workers(6).with_defaults("a", "workers", 1).unwrap();
    assert_eq!(config.get_workers(), 6, "defaults lie below");
    let all = config.explain("workers").unwrap();
    assert_eq!((&*all.value, all.overridden.len()), ("6", 4), "{all}");
    let over: Vec<_> = all.overridden.iter().map(|(value, _)| value.as_str()).collect();
    assert_eq!(over, ["5", "4", "3", "1"]);
    assert!(matches!(&all.overridden[2].1, Origin::Code { file, .. } if file.ends_with("tests.rs")), "{all}");
    assert!(
        all.to_string()
            .contains("over 5 (environment variable ENGSET_WORKERS), over 4 (settings text line 1)")
    );
    assert!(all.to_string().ends_with("over 1 (default of a)"), "{all}");
}

#[test]
fn errors_name_the_key_and_the_value() {
    assert_eq!(
        text(Config::new().toml("workers = -1")),
        "workers: expected a whole number in range, found integer -1 (settings text line 1)"
    );
    assert!(text(Config::new().toml("max_processes = 99999999999")).contains("99999999999"));
    assert_eq!(
        text(Config::new().toml("\nwerkers = 1")),
        "werkers: there is no such setting (settings text line 2); did you mean workers?"
    );
    assert!(text(Config::new().toml("a = 1\nworkers =")).contains("settings text line 2"));
    assert_eq!(
        text(variables(Config::new(), &[("ENGSET_SLICE", "lots")])),
        "slice: expected a whole number in range, found string \"lots\" (environment variable ENGSET_SLICE)"
    );
    assert!(text(variables(Config::new(), &[("ENGSET_APP", "{ a =")])).contains("ENGSET_APP"));
}

#[test]
fn a_variable_is_what_its_reader_asks_for() {
    let config = Config::new().toml("[app]\nkept = 1\n[app.pool]\nsize = 1").unwrap();
    let config = variables(
        config,
        &[
            ("ENGSET_APP__POOL__SIZE", "8"),
            ("ENGSET_APP__POOL__ON", "true"),
            ("ENGSET_APP__POOL__NAMES", "['a', 'b']"),
            ("ENGSET_APP", "{ pool = { share = 0.5, size = 9 } }"),
            ("ENGSET_SEEDS", "5"),
            ("OTHER", "5"),
        ],
    )
    .unwrap();
    assert_eq!(config.get::<u8>("app.pool.size").unwrap(), 8);
    assert_eq!(config.get::<String>("app.pool.size").unwrap(), "8");
    assert!(config.get::<bool>("app.pool.on").unwrap());
    assert_eq!(config.get::<Vec<String>>("app.pool.names").unwrap(), ["a", "b"]);
    assert_eq!(config.get::<f32>("app.pool.share").unwrap(), 0.5);
    assert_eq!(config.get::<u8>("app.kept").unwrap(), 1);
    assert_eq!(config.ignored_variables(), ["ENGSET_SEEDS"]);
    assert_eq!(
        text(config.get::<u8>("app.pool.on")),
        "app.pool.on: expected u8, found string \"true\" (environment variable ENGSET_APP__POOL__ON)"
    );
    assert_eq!(text(config.get::<u8>("app.pool.of")), "app.pool.of: it is not set, and has no default");
}

#[test]
fn changes_are_found_wherever_they_are() {
    let old = Config::new().toml("workers = 1\n[app.a]\nx = 1\ny = 1").unwrap();
    let new = Config::new().toml("workers = 2\n[app.a]\nx = 1\n[app.ab]\nz = 1").unwrap();
    let changes = new.changes_since(&old);
    assert_eq!(changes.keys, ["app.a.y", "app.ab.z", "workers"]);
    assert_eq!(changes.need_restart().collect::<Vec<_>>(), ["workers"]);
    assert!(changes.concern("app") && changes.concern("app.a") && !changes.concern("app.b"));
    assert_eq!(old.changes_since(&old.reread().unwrap()).keys, [""; 0]);
}
