//! What a reading may spend and what it could not take. Notes are sentences for people; they are few,
//! never repeated, and never contain a body's content.

/// Most notes that one exchange keeps.
const MAX_NOTES: usize = 32;

/// Most JSON values, messages, parts and choices that one exchange is expanded into. A node costs some
/// hundred bytes where its JSON costs two, so without this 64 MiB of `[[],[],…` would take gigabytes.
const MAX_NODES: usize = 1 << 19;

#[derive(Debug)]
pub(super) struct Notes {
    kept: Vec<String>,
    nodes_left: usize,
}

impl Notes {
    pub(super) fn new() -> Self {
        Self { kept: Vec::new(), nodes_left: MAX_NODES }
    }

    pub(super) fn add(&mut self, note: impl Into<String>) {
        if self.kept.len() < MAX_NOTES {
            let note = note.into();
            if !self.kept.contains(&note) {
                self.kept.push(note);
            }
        }
    }

    /// Takes `nodes` from the budget; false (and a note) when they are not left.
    pub(super) fn spend(&mut self, nodes: usize) -> bool {
        if let Some(left) = self.nodes_left.checked_sub(nodes) {
            self.nodes_left = left;
            return true;
        }
        self.add(format!("the body holds more than {MAX_NODES} values; those beyond are not shown"));
        false
    }

    pub(super) fn into_vec(self) -> Vec<String> {
        self.kept
    }
}
