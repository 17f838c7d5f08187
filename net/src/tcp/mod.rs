//! TCP.

mod listener;
mod split;
mod stream;

pub(crate) use listener::{is_shortage, passes};
pub use {
    listener::{Accepted, Incoming, TcpListener},
    split::{ReadHalf, WriteHalf},
    stream::{TcpEvent, TcpStream},
};
