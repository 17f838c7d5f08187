//! The index: a server that adds up what the readers have counted.

use engset::{preemptible, prelude::*};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

/// What the index is asked for.
pub enum Request {
    /// Add the counts of one file; answer when it is done.
    Add(Counts, Reply<()>),
    /// Tell the totals, and so many of the most frequent words.
    Summary(usize, Reply<Summary>),
}

/// The words of one file.
#[derive(Debug, Default)]
pub struct Counts {
    words: HashMap<String, u64>,
    lines: u64,
    bytes: u64,
}

/// What is in the index.
#[derive(Debug)]
pub struct Summary {
    pub files: u64,
    pub lines: u64,
    pub words: u64,
    pub bytes: u64,
    /// The most frequent words, the first one first.
    pub top: Vec<(String, u64)>,
}

// Each round of a loop is a reduction: however large a file is, other processes have their turn meanwhile.
#[preemptible]
impl Counts {
    /// Counts a text. A word is a run of letters; capitals make no difference.
    pub fn of(text: &str) -> Self {
        let mut counts = Counts { bytes: text.len() as u64, ..Counts::default() };
        for line in text.lines() {
            counts.lines += 1;
            for word in line.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty()) {
                *counts.words.entry(word.to_lowercase()).or_default() += 1;
            }
        }
        counts
    }
}

#[derive(Default)]
pub struct Index {
    files: u64,
    all: Counts,
}

impl Server for Index {
    type Message = Request;

    fn handle(&mut self, received: Received<Request>) -> Flow {
        match received {
            Received::Message(Request::Add(counts, reply)) => {
                self.add(counts);
                reply.send(());
            }
            Received::Message(Request::Summary(top, reply)) => reply.send(self.summary(top)),
            Received::Event(_) => {}
        }
        Flow::Continue
    }
}

#[preemptible]
impl Index {
    fn add(&mut self, counts: Counts) {
        self.files += 1;
        self.all.lines += counts.lines;
        self.all.bytes += counts.bytes;
        for (word, count) in counts.words {
            *self.all.words.entry(word).or_default() += count;
        }
    }

    fn summary(&self, most: usize) -> Summary {
        let mut words = 0;
        // Of all words the `most` best so far, the worst of them on top. Among equals the alphabet decides.
        let mut best = BinaryHeap::new();
        for (word, &count) in &self.all.words {
            words += count;
            best.push((Reverse(count), word));
            if best.len() > most {
                best.pop();
            }
        }
        let top =
            best.into_sorted_vec().into_iter().map(|(Reverse(count), word)| (word.clone(), count)).collect();
        Summary { files: self.files, lines: self.all.lines, words, bytes: self.all.bytes, top }
    }
}
