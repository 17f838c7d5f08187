//! TCP.

mod listener;
mod split;
mod stream;

pub use {
    listener::{Accepted, Incoming, TcpListener},
    split::{ReadHalf, WriteHalf},
    stream::{TcpEvent, TcpStream},
};
pub(crate) use {
    listener::{is_shortage, passes},
    stream::take,
};
