//! The behaviours: servers, supervisors, tasks. Nothing is here yet.
#![forbid(unsafe_code)]
