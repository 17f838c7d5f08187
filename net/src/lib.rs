//! Sockets for processes, and distribution. Nothing is here yet.
#![forbid(unsafe_code)]
