//! Partitions of a server under one supervisor.

mod support;

use engset_runtime::{Address, CallError, Mailbox, NameError, Reply, monitor, whereis};
use engset_stdlib::{
    ChildState, Context, GenServer, Next, PartitionSupervisor, PartitionSupervisorBuilder, Supervisor,
};
use std::{collections::HashSet, time::Duration};
use support::{down_of, eventually, everywhere};

struct Store {
    number: usize,
    keys: Vec<u32>,
}

#[derive(Debug)]
enum Request {
    Put(u32),
    Keys(Reply<Vec<u32>>),
    Number(Reply<usize>),
    Crash,
}

impl GenServer for Store {
    type Message = Request;

    fn handle(&mut self, request: Request, _: &mut Context<Request>) -> Next {
        match request {
            Request::Put(key) => self.keys.push(key),
            Request::Keys(reply) => reply.send(self.keys.clone()),
            Request::Number(reply) => reply.send(self.number),
            Request::Crash => panic!("crash"),
        }
        Next::wait()
    }
}

fn stores(partitions: usize) -> PartitionSupervisorBuilder<Store> {
    PartitionSupervisor::servers(partitions, |number| Store { number, keys: Vec::new() })
}

#[test]
fn each_key_belongs_to_one_partition_and_all_partitions_have_some() {
    everywhere(|_: &mut Mailbox<()>| {
        let stores = stores(4).start_link().unwrap();
        (0..200_u32).for_each(|key| stores.send(&key, Request::Put(key)));
        let mut all = HashSet::new();
        for (number, store) in stores.partitions().enumerate() {
            assert_eq!(store.call(Request::Number), Ok(number));
            let keys = store.call(Request::Keys).unwrap();
            assert!(!keys.is_empty());
            assert!(keys.is_sorted(), "messages of one key keep their order");
            for key in keys {
                assert_eq!(stores.partition_of(&key), number);
                assert_eq!(stores.of(&key), store);
                assert!(all.insert(key));
            }
        }
        assert_eq!(all.len(), 200);
    });
}

#[test]
fn a_partition_that_crashes_is_restarted_alone_and_found_again() {
    everywhere(|mailbox: &mut Mailbox<()>| {
        let stores = stores(3).start_link().unwrap();
        let before: Vec<Address<Request>> = stores.partitions().collect();
        monitor(before[1]);
        before[1].send(Request::Crash);
        down_of(mailbox, before[1].pid());
        eventually("it is there again", || stores.at(1) != before[1]);
        assert_eq!(stores.at(1).call(Request::Number), Ok(1));
        assert_eq!((stores.at(0), stores.at(2)), (before[0], before[2]));
        assert_eq!(stores.at(4), stores.at(1), "counted round");
        let restarts: Vec<u64> =
            stores.supervisor().which_children().unwrap().iter().map(|child| child.restarts).collect();
        assert_eq!(restarts, [0, 1, 0]);
    });
}

#[test]
fn with_inherited_mailboxes_the_addresses_stay_good() {
    everywhere(|_: &mut Mailbox<()>| {
        let stores = stores(2).inherit_mailbox().intensity(10, Duration::from_secs(1)).start_link().unwrap();
        let first = stores.at(0);
        first.send(Request::Put(1));
        first.send(Request::Crash);
        first.send(Request::Put(2));
        assert_eq!(first.call(Request::Keys), Ok(vec![2]));
        assert_eq!(stores.at(0), first);
    });
}

#[test]
fn it_is_found_by_its_name_with_its_type() {
    everywhere(|_: &mut Mailbox<()>| {
        let child = stores(2).name("stores").child("stores");
        let tree = Supervisor::one_for_one().child(child).start_link().unwrap();
        let found = PartitionSupervisor::<Request>::named("stores").unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(Some(found.pid()), whereis("stores"));
        assert_eq!(tree.which_children().unwrap()[0].state, ChildState::Running(found.pid()));
        assert_eq!(found.call("any key", Request::Number), Ok(found.partition_of("any key")));
        assert!(matches!(PartitionSupervisor::<u8>::named("stores"), Err(NameError::WrongType { .. })));
        assert!(matches!(PartitionSupervisor::<Request>::named("none"), Err(NameError::Unknown { .. })));
    });
}

#[test]
fn there_is_at_least_one_partition_and_the_end_of_the_supervisor_ends_all() {
    everywhere(|_: &mut Mailbox<()>| {
        let stores = stores(0).start().unwrap();
        assert_eq!(stores.len(), 1);
        let only = stores.at(0);
        engset_runtime::exit(stores.pid(), engset_runtime::ExitReason::Kill);
        support::wait_dead(only.pid());
        assert!(matches!(only.call(Request::Number), Err(CallError::Down(_))));
    });
}
