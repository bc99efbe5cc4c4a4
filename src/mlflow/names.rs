//! Names for runs and models that nobody named: an adjective, an animal and a number.

const ADJECTIVES: [&str; 48] = [
    "amber", "ample", "apt", "balmy", "brisk", "calm", "civil", "clear", "cosy", "crisp", "deft", "eager",
    "fair", "fleet", "fond", "frank", "fresh", "gentle", "glad", "golden", "grand", "hardy", "jolly", "keen",
    "kind", "light", "lively", "lucid", "mellow", "merry", "mild", "modest", "neat", "noble", "patient",
    "plain", "plucky", "quick", "quiet", "rapid", "ready", "sharp", "steady", "sunny", "swift", "tidy",
    "vivid", "warm",
];

const ANIMALS: [&str; 48] = [
    "adder", "badger", "beaver", "bison", "bittern", "camel", "carp", "civet", "condor", "coot", "curlew",
    "dingo", "eider", "ermine", "falcon", "ferret", "gecko", "gibbon", "heron", "hoopoe", "ibex", "ibis",
    "jackal", "jay", "kestrel", "lemur", "linnet", "lizard", "magpie", "marten", "merlin", "newt", "ocelot",
    "osprey", "otter", "petrel", "pika", "plover", "puffin", "raven", "sable", "siskin", "stork", "tapir",
    "tern", "viper", "vole", "wren",
];

/// Such as `brisk-heron-417`.
pub(super) fn random() -> String {
    let dice = uuid::Uuid::new_v4().as_u128();
    let pick = |words: &[&'static str; 48], shift: u32| {
        words.get((dice >> shift) as usize % words.len()).copied().unwrap_or("plain")
    };
    format!("{}-{}-{}", pick(&ADJECTIVES, 0), pick(&ANIMALS, 16), (dice >> 32) % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_differ() {
        let names: std::collections::BTreeSet<String> = (0..100).map(|_| random()).collect();
        assert!(names.len() > 90, "{names:?}");
        assert!(names.iter().all(|name| name.len() <= 20 && name.split('-').count() == 3), "{names:?}");
    }
}
