//! The settings of a node: how each is set, and read back.

use super::Config;
use std::time::Duration;

pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) set: fn(&mut Config, u64) -> Option<()>,
    pub(super) get: fn(&Config) -> Option<u64>,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "workers",
        set: |config, value| {
            config.scheduler.workers = usize::try_from(value).ok()?;
            Some(())
        },
        get: |config| Some(config.scheduler.workers as u64),
    },
    Key {
        name: "max_processes",
        set: |config, value| {
            config.scheduler.max_tasks = u32::try_from(value).ok()?;
            Some(())
        },
        get: |config| Some(u64::from(config.scheduler.max_tasks)),
    },
    Key {
        name: "stack_size",
        set: |config, value| {
            config.scheduler.stack_size = usize::try_from(value).ok()?;
            Some(())
        },
        get: |config| Some(config.scheduler.stack_size as u64),
    },
    Key {
        name: "slice",
        set: |config, value| {
            config.scheduler.slice = u32::try_from(value).ok()?;
            Some(())
        },
        get: |config| Some(u64::from(config.scheduler.slice)),
    },
    Key {
        name: "slice_time_us",
        set: |config, value| {
            config.scheduler.slice_time = Duration::from_micros(value);
            Some(())
        },
        get: |config| Some(micros(config.scheduler.slice_time)),
    },
    Key {
        name: "stuck_after_us",
        set: |config, value| {
            config.scheduler.stuck_after = Duration::from_micros(value);
            Some(())
        },
        get: |config| Some(micros(config.scheduler.stuck_after)),
    },
    Key {
        name: "max_spares",
        set: |config, value| {
            config.scheduler.max_spares = usize::try_from(value).ok()?;
            Some(())
        },
        get: |config| Some(config.scheduler.max_spares as u64),
    },
    Key {
        name: "spin_us",
        set: |config, value| {
            config.scheduler.spin = Duration::from_micros(value);
            Some(())
        },
        get: |config| Some(micros(config.scheduler.spin)),
    },
    Key {
        name: "blocking_threads",
        set: |config, value| {
            config.scheduler.blocking_threads = usize::try_from(value).ok()?;
            Some(())
        },
        get: |config| Some(config.scheduler.blocking_threads as u64),
    },
    Key {
        name: "mailbox_alarm",
        set: |config, value| {
            config.scheduler.queue_alarm = u32::try_from(value).ok()?;
            Some(())
        },
        get: |config| Some(u64::from(config.scheduler.queue_alarm)),
    },
    Key {
        name: "shutdown_ms",
        set: |config, value| {
            config.shutdown = Duration::from_millis(value);
            Some(())
        },
        get: |config| Some(u64::try_from(config.shutdown.as_millis()).unwrap_or(u64::MAX)),
    },
    Key {
        name: "crash_reports_per_second",
        set: |config, value| {
            config.reports = u32::try_from(value).ok()?;
            Some(())
        },
        get: |config| Some(u64::from(config.reports)),
    },
    Key {
        name: "seed",
        set: |config, value| {
            config.scheduler.seed = Some(value);
            Some(())
        },
        get: |config| config.scheduler.seed,
    },
];
