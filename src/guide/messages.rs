//! Mailboxes, calls, order, bounds, names and timers.
//!
//! # Sending
//!
//! [`send`](crate::Address::send) moves a value into the receiver's mailbox. It does not wait, and does not fail
//! because the receiver is dead: who must know monitors it, or calls it. [`try_send`](crate::Address::try_send)
//! gives the message back if it certainly did not arrive.
//!
//! Signals of one sender to one receiver arrive in the order in which they were sent, all kinds together: a `Down`
//! comes after everything that the process has sent before it ended. Between different senders nothing is promised.
//!
//! # One type for each process
//!
//! Usually it is an enum, whose variants that ask for something carry a [`Reply<T>`](crate::Reply).
//!
//! ```
//! use engset::prelude::*;
//! use std::collections::HashMap;
//!
//! enum Store {
//!     Put(String, u32),
//!     Get(String, Reply<Option<u32>>),
//! }
//!
//! let found = engset::run(|| {
//!     let store = spawn(|mut mailbox: Mailbox<Store>| {
//!         let mut values = HashMap::new();
//!         loop {
//!             match mailbox.message() {
//!                 Store::Put(key, value) => drop(values.insert(key, value)),
//!                 Store::Get(key, reply) => reply.send(values.get(&key).copied()),
//!             }
//!         }
//!     });
//!     store.send(Store::Put("a".into(), 1));
//!     store.call(|reply| Store::Get("a".into(), reply))
//! })?;
//! assert_eq!(found, Ok(Some(1)));
//! # Ok::<(), engset::RunError>(())
//! ```
//!
//! # Calls
//!
//! [`call`](crate::Address::call) sends a request and waits for the answer, 5 seconds if
//! [`call_timeout`](crate::Address::call_timeout) does not say otherwise. It always ends, with the answer or a
//! [`CallError`](crate::CallError): the other one has died, has dropped the `Reply`, or did not answer in time.
//! `unwrap` or `expect` on it is "let it crash". The answer goes to the caller past its mailbox, so a call does not
//! get slower by what waits there, and an answer that comes too late is dropped. A request whose caller has given up
//! is not received at all: a server that is late does not work for nobody.
//!
//! A `Reply` can be kept and used later, or be passed on to another process that answers instead:
//!
//! ```
//! use engset::prelude::*;
//!
//! let answer = engset::run(|| {
//!     let front = spawn(|mut mailbox: Mailbox<(u32, Reply<u32>)>| {
//!         loop {
//!             let (number, reply) = mailbox.message();
//!             spawn(move || reply.send(number * number)); // the front goes on at once
//!         }
//!     });
//!     front.call(|reply| (12, reply))
//! })?;
//! assert_eq!(answer, Ok(144));
//! # Ok::<(), engset::RunError>(())
//! ```
//!
//! # Receiving
//!
//! | function of [`Mailbox`](crate::Mailbox) | gives |
//! |---|---|
//! | `receive`, `receive_timeout`, `try_receive` | the next thing: a message, or an [`Event`](crate::Event) |
//! | `message`, `message_timeout` | the next message; events stay |
//! | `select`, `select_timeout` | the first thing that a closure picks; the others stay in their places |
//!
//! Events are what the runtime has to tell: `Down` of a monitor, `Exit` of a link, the firing of a timer.
//!
//! ```
//! use engset::{Item, prelude::*};
//!
//! engset::run(|| {
//!     let tidy = spawn_link(|mut mailbox: Mailbox<u32>| {
//!         let even = mailbox.select(|item| matches!(item, Item::Message(number) if number % 2 == 0));
//!         assert!(matches!(even, Received::Message(4)));
//!         assert_eq!((mailbox.message(), mailbox.message()), (1, 3));
//!     });
//!     for number in [1, 3, 4] {
//!         tidy.send(number);
//!     }
//!     # while engset::is_alive(tidy) { yield_now() }
//! })?;
//! # Ok::<(), engset::RunError>(())
//! ```
//!
//! # Bounds
//!
//! A mailbox is unbounded if nothing is said. With a [`Limit`](crate::Limit) of messages or bytes an
//! [`Overflow`](crate::Overflow) policy decides about what does not fit: the sender waits (the default), the newest or
//! the oldest message is dropped, or the receiver is killed. Events and signals are exempt.
//!
//! ```
//! use engset::{Builder, Limit, Overflow, prelude::*};
//!
//! engset::run(|| {
//!     let newest_is_lost = Limit::messages(2).overflow(Overflow::DropNewest);
//!     let slow = Builder::new().link().mailbox(newest_is_lost).spawn(|mut mailbox: Mailbox<u32>| {
//!         assert_eq!((mailbox.message(), mailbox.message()), (1, 2));
//!     });
//!     let slow = slow.expect("there is room for a process");
//!     for number in [1, 2, 3] {
//!         slow.send(number);
//!     }
//!     # while engset::is_alive(slow) { yield_now() }
//! })?;
//! # Ok::<(), engset::RunError>(())
//! ```
//!
//! # Names
//!
//! A process can have names, from its start ([`Builder::name`](crate::Builder::name)) or by
//! [`register`](crate::register). A name leads to one live process; it is free again before anybody is told of that
//! process' end. [`lookup`](crate::lookup) checks the message type.
//!
//! ```
//! use engset::{Builder, NameError, prelude::*};
//!
//! engset::run(|| {
//!     Builder::new().name("log").spawn(|mut mailbox: Mailbox<String>| drop(mailbox.message())).unwrap();
//!     let log = engset::lookup::<String>("log").unwrap();
//!     assert!(matches!(engset::lookup::<u32>("log"), Err(NameError::WrongType { .. })));
//!     log.send("a line".into());
//! })?;
//! # Ok::<(), engset::RunError>(())
//! ```
//!
//! # Timers
//!
//! [`send_after`](crate::send_after) sends a message later, [`start_timer`](crate::start_timer) an event to oneself.
//! They are never early. [`Timer::cancel`](crate::Timer::cancel) tells the time that was left, or `None`: it has fired.
//!
//! ```
//! use engset::{prelude::*, start_timer};
//! use std::time::Duration;
//!
//! engset::run(|| {
//!     let waiter = spawn_link(|mut mailbox: Mailbox<()>| {
//!         let (_, tick) = start_timer(Duration::from_millis(2));
//!         assert_eq!(mailbox.receive().event(), Some(Event::Timer(tick)));
//!     });
//!     # while engset::is_alive(waiter) { sleep(Duration::from_millis(1)) }
//! })?;
//! # Ok::<(), engset::RunError>(())
//! ```
