//! What is asked for later by its id: responses, files, batches. Bounded; what was put first goes first.

use std::collections::{HashMap, VecDeque};

/// Entries of one kind that are kept.
const MAX: usize = 512;

#[derive(Debug)]
pub(super) struct Shelf<T> {
    items: HashMap<String, T>,
    order: VecDeque<String>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { items: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Shelf<T> {
    /// `owner`: whose it is; ids of different owners never meet.
    pub(super) fn put(&mut self, owner: &str, id: &str, item: T) {
        let name = name(owner, id);
        if self.items.insert(name.clone(), item).is_none() {
            self.order.push_back(name);
        }
        if self.order.len() > MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.items.remove(&oldest);
        }
    }

    pub(super) fn get_mut(&mut self, owner: &str, id: &str) -> Option<&mut T> {
        self.items.get_mut(&name(owner, id))
    }
}

fn name(owner: &str, id: &str) -> String {
    format!("{owner}\n{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_apart_and_the_oldest_goes_first() {
        let mut shelf = Shelf::default();
        for number in 0..=MAX {
            shelf.put("a", &number.to_string(), number);
        }
        assert!(shelf.get_mut("a", "0").is_none());
        assert!(shelf.get_mut("b", "1").is_none());
        assert_eq!(shelf.get_mut("a", "1"), Some(&mut 1));
        assert_eq!(shelf.items.len(), MAX);
    }
}
