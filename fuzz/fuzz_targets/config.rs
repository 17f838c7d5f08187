//! Text of a configuration file. What is accepted can be read again by all its keys.
#![no_main]

use engset_runtime::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::new().toml(text) {
        Ok(config) => {
            let _ = config.get_workers();
            let _ = config.get::<u64>("engset.workers");
            let _ = config.process("worker");
            let _ = config.get_shutdown();
        }
        // An error has a text, whatever is in it.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
