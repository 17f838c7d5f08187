//! An order in which everything comes after what it depends on: a pure function, for applications and for phases.
//!
//! Of several that could come next, the one that was given first does; so who says nothing gets the order of the text.

use engset_runtime::config::similar;
use std::{collections::BTreeSet, fmt};

/// Why there is no such order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DependencyError {
    /// Two have this name.
    Duplicate {
        /// The name.
        name: String,
    },
    /// Something depends on what is not there.
    Unknown {
        /// What depends.
        of: String,
        /// What is not there.
        name: String,
        /// One that is there and looks like it.
        suggestion: Option<String>,
    },
    /// Each of these depends on the next, and the last on the first.
    Cycle(Vec<String>),
}

impl fmt::Display for DependencyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DependencyError::Duplicate { name } => write!(f, "{name:?} is there twice"),
            DependencyError::Unknown { of, name, suggestion } => {
                write!(f, "{of:?} depends on {name:?}, which is not there")?;
                match suggestion {
                    Some(suggestion) => write!(f, "; did you mean {suggestion:?}?"),
                    None => Ok(()),
                }
            }
            DependencyError::Cycle(names) => {
                write!(f, "a circle of dependencies: ")?;
                names.iter().try_for_each(|name| write!(f, "{name:?} -> "))?;
                write!(f, "{:?}", names.first().map_or("", String::as_str))
            }
        }
    }
}

impl std::error::Error for DependencyError {}

/// Something with what it depends on, by names.
pub(crate) type Item<'a> = (&'a str, Vec<&'a str>);

/// The items' indexes in order. `there`: is something of this name there already?
pub(crate) fn order(items: &[Item<'_>], there: impl Fn(&str) -> bool) -> Result<Vec<usize>, DependencyError> {
    for (at, (name, _)) in items.iter().enumerate() {
        if items[..at].iter().any(|(other, _)| other == name) {
            return Err(DependencyError::Duplicate { name: (*name).to_owned() });
        }
    }
    let index = |name: &str| items.iter().position(|(other, _)| *other == name);
    // For each item, what it waits for, and who waits for it.
    let mut missing = vec![0_usize; items.len()];
    let mut waiting = vec![Vec::new(); items.len()];
    for (at, (of, names)) in items.iter().enumerate() {
        let names: BTreeSet<_> = names.iter().collect();
        for name in names {
            match index(name) {
                Some(on) => {
                    missing[at] += 1;
                    waiting[on].push(at);
                }
                None if there(name) => {}
                None => {
                    let suggestion =
                        similar(name, items.iter().map(|(name, _)| *name).filter(|name| name != of));
                    return Err(DependencyError::Unknown {
                        of: (*of).to_owned(),
                        name: (**name).to_owned(),
                        suggestion: suggestion.map(str::to_owned),
                    });
                }
            }
        }
    }
    let mut free: BTreeSet<usize> = (0..items.len()).filter(|at| missing[*at] == 0).collect();
    let mut ordered = Vec::with_capacity(items.len());
    while let Some(next) = free.pop_first() {
        ordered.push(next);
        for at in &waiting[next] {
            missing[*at] -= 1;
            if missing[*at] == 0 {
                free.insert(*at);
            }
        }
    }
    match (0..items.len()).find(|at| missing[*at] > 0) {
        None => Ok(ordered),
        Some(stuck) => {
            // Each that is stuck waits for another that is: following them must come back to one seen before.
            let mut path = vec![stuck];
            loop {
                let last = path[path.len() - 1];
                let next = items[last].1.iter().filter_map(|name| index(name)).find(|on| missing[*on] > 0);
                let Some(next) = next else { return Ok(ordered) };
                if let Some(start) = path.iter().position(|at| *at == next) {
                    let names = path[start..].iter().map(|at| items[*at].0.to_owned());
                    return Err(DependencyError::Cycle(names.collect()));
                }
                path.push(next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(items: &[Item<'_>]) -> Result<Vec<String>, DependencyError> {
        let ordered = order(items, |name| name == "kernel")?;
        Ok(ordered.into_iter().map(|at| items[at].0.to_owned()).collect())
    }

    #[test]
    fn without_a_word_the_order_stays() {
        assert_eq!(names(&[("b", vec![]), ("a", vec!["kernel"]), ("c", vec![])]).unwrap(), ["b", "a", "c"]);
        assert_eq!(names(&[("b", vec!["c"]), ("a", vec![]), ("c", vec![])]).unwrap(), ["a", "c", "b"]);
    }

    #[test]
    fn what_cannot_be_ordered_is_named() {
        let text = |items: &[Item<'_>]| names(items).unwrap_err().to_string();
        assert_eq!(
            text(&[("d", vec!["a"]), ("a", vec!["b"]), ("b", vec!["c"]), ("c", vec!["a"])]),
            r#"a circle of dependencies: "a" -> "b" -> "c" -> "a""#
        );
        assert_eq!(text(&[("a", vec!["a"])]), r#"a circle of dependencies: "a" -> "a""#);
        assert_eq!(
            text(&[("shop", vec!["databse"]), ("database", vec![])]),
            r#""shop" depends on "databse", which is not there; did you mean "database"?"#
        );
        assert_eq!(text(&[("a", vec![]), ("a", vec![])]), r#""a" is there twice"#);
    }

    proptest! {
        #[test]
        fn an_order_keeps_all_dependencies_and_a_cycle_is_one(
            edges in proptest::collection::vec((0_usize..8, 0_usize..8), 0..16)
        ) {
            const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
            let items: Vec<Item<'_>> = NAMES
                .iter()
                .enumerate()
                .map(|(at, name)| (*name, edges.iter().filter(|(of, _)| *of == at).map(|(_, on)| NAMES[*on]).collect()))
                .collect();
            match order(&items, |_| false) {
                Ok(ordered) => {
                    prop_assert_eq!(ordered.len(), NAMES.len());
                    let place = |wanted: usize| ordered.iter().position(|at| *at == wanted);
                    prop_assert!(edges.iter().all(|(of, on)| place(*on) < place(*of)));
                }
                Err(DependencyError::Cycle(names)) => {
                    let number = |name: &String| NAMES.iter().position(|other| other == name).unwrap();
                    for (at, name) in names.iter().enumerate() {
                        let next = &names[(at + 1) % names.len()];
                        prop_assert!(edges.contains(&(number(name), number(next))));
                    }
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}
