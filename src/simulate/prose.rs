//! What the simulated model says: short plain sentences from a small grammar, about what was asked.
//! The same seed and question give the same words.

use super::dice::Dice;

const STOP_WORDS: &[&str] = &[
    "a",
    "about",
    "an",
    "and",
    "any",
    "are",
    "as",
    "at",
    "be",
    "best",
    "but",
    "by",
    "can",
    "could",
    "describe",
    "did",
    "do",
    "does",
    "explain",
    "find",
    "for",
    "from",
    "get",
    "give",
    "good",
    "had",
    "has",
    "have",
    "help",
    "how",
    "i",
    "if",
    "in",
    "into",
    "is",
    "it",
    "its",
    "just",
    "know",
    "let",
    "me",
    "more",
    "my",
    "need",
    "not",
    "now",
    "of",
    "on",
    "one",
    "or",
    "our",
    "please",
    "say",
    "sentence",
    "sentences",
    "should",
    "show",
    "so",
    "some",
    "tell",
    "than",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "these",
    "they",
    "this",
    "to",
    "use",
    "used",
    "want",
    "was",
    "we",
    "what",
    "when",
    "where",
    "which",
    "who",
    "why",
    "will",
    "with",
    "word",
    "words",
    "would",
    "write",
    "you",
    "your",
];

const OPENINGS: &[&str] = &[
    "The short answer for {topic}: {advice}.",
    "With {topic}, {advice} first and measure before you change anything else.",
    "The point of {topic} is simple: {benefit}.",
    "People meet {topic} when {occasion}, and the remedy is to {advice}.",
];

const BODIES: &[&str] = &[
    "In practice you {advice} and check that {check}.",
    "When {occasion}, {advice}.",
    "The gain is that {benefit}.",
    "A common mistake is to {mistake}.",
    "Most teams {advice} before they look any further.",
    "It pays to {advice}, because {benefit}.",
    "If {occasion}, do not {mistake}.",
    "Keep notes on {topic}, so that {benefit}.",
];

const CLOSINGS: &[&str] = &[
    "After that, {topic} needs little attention.",
    "Look at {topic} again once {check}.",
    "That covers {topic} for most cases.",
    "Ask again when {occasion}.",
];

const ADVICE: &[&str] = &[
    "start with the smallest case that works",
    "write down what you expect",
    "keep one source of truth",
    "change one thing at a time",
    "read the error to its end",
    "measure twice on a quiet machine",
    "leave the defaults alone until they hurt",
    "make the common path short",
];

const BENEFIT: &[&str] = &[
    "nothing is lost when a process dies",
    "the next reader sees why",
    "the slow part shows itself",
    "two people can work without meeting",
    "the cost stays in sight",
    "a mistake is cheap to undo",
];

const OCCASION: &[&str] = &[
    "the load doubles overnight",
    "two writers touch the same record",
    "a release goes out on a Friday",
    "the numbers stop adding up",
    "a customer asks twice",
    "the disk is nearly full",
];

const CHECK: &[&str] = &[
    "the totals agree",
    "a restart changes nothing",
    "the log stays quiet",
    "the second run gives the same result",
    "the tests fail when they should",
];

const MISTAKE: &[&str] = &[
    "guess at the cause",
    "fix the symptom only",
    "add a cache before counting",
    "retry without a limit",
    "trust an average",
];

const THOUGHTS: &[&str] = &[
    "The question is about {topic}.",
    "First I should settle what matters: {check}.",
    "It may be that {occasion}.",
    "I should warn not to {mistake}.",
    "The advice to {advice} fits, since {benefit}.",
];

/// How long and in which form to answer; a prompt's system text decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Terse,
    Plain,
    Guided,
}

impl Manner {
    /// Reads the instructions: asked to be brief, or to go step by step.
    pub(super) fn of(instructions: &str) -> Self {
        let text = instructions.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if says(&["step", "detail", "thorough", "explain"]) {
            Self::Guided
        } else if says(&["one sentence", "terse", "brief", "short", "concise"]) {
            Self::Terse
        } else {
            Self::Plain
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
}

fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

/// What a text is about: its longest run of up to three words that are not filler.
pub(super) fn topic(text: &str) -> String {
    let mut best: Vec<&str> = Vec::new();
    let mut run: Vec<&str> = Vec::new();
    for word in words(text).take(400) {
        let name = bare(word);
        let filler = name.is_empty() || STOP_WORDS.contains(&name.to_lowercase().as_str());
        if !filler {
            run.push(name);
        }
        let ends = filler || word.ends_with(['.', ',', '?', '!', ';', ':']) || run.len() == 3;
        if run.len() > best.len() {
            best.clone_from(&run);
        }
        if ends {
            run.clear();
        }
    }
    let topic: String = best.join(" ").chars().take(60).collect();
    if topic.is_empty() { "this".to_owned() } else { topic }
}

/// Words that start with a capital inside the text: places, people, products.
pub(super) fn proper_nouns(text: &str) -> Vec<String> {
    let mut nouns: Vec<String> = Vec::new();
    let mut sentence_start = true;
    for word in words(text).take(400) {
        let name = bare(word);
        let capital = name.chars().next().is_some_and(char::is_uppercase) && name.chars().count() > 1;
        if capital && !sentence_start && !nouns.iter().any(|known| known == name) {
            nouns.push(name.to_owned());
        }
        sentence_start = word.ends_with(['.', '?', '!', ':']);
    }
    nouns
}

/// Lower-case words that carry meaning.
pub(super) fn content_words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .map(str::to_lowercase)
        .filter(|word| word.chars().count() > 2 && !STOP_WORDS.contains(&word.as_str()))
        .collect()
}

fn fill(template: &str, topic: &str, dice: &mut Dice) -> String {
    let mut text = template.replace("{topic}", topic);
    for (slot, choices) in [
        ("{advice}", ADVICE),
        ("{benefit}", BENEFIT),
        ("{occasion}", OCCASION),
        ("{check}", CHECK),
        ("{mistake}", MISTAKE),
    ] {
        if text.contains(slot) {
            text = text.replace(slot, dice.pick(choices));
        }
    }
    text
}

/// One to a few sentences, or numbered steps, on the topic.
pub(super) fn answer(manner: Manner, topic: &str, dice: &mut Dice) -> String {
    let opening = fill(dice.pick(OPENINGS), topic, dice);
    match manner {
        Manner::Terse => opening,
        Manner::Plain => {
            let mut sentences = vec![opening];
            for _ in 0..=dice.below(2) {
                sentences.push(fill(dice.pick(BODIES), topic, dice));
            }
            sentences.push(fill(dice.pick(CLOSINGS), topic, dice));
            sentences.join(" ")
        }
        Manner::Guided => {
            let mut text = format!("{opening}\n");
            for step in 1..=3 + dice.below(2) {
                text.push_str(&format!("\n{step}. {}", fill(dice.pick(BODIES), topic, dice)));
            }
            text.push_str("\n\n");
            text.push_str(&fill(dice.pick(CLOSINGS), topic, dice));
            text
        }
    }
}

/// One more sentence, for answers that are to have a given length.
pub(super) fn more(topic: &str, dice: &mut Dice) -> String {
    fill(dice.pick(BODIES), topic, dice)
}

/// What a reasoning model thinks before it answers.
pub(super) fn reasoning(topic: &str, dice: &mut Dice) -> String {
    let thoughts: Vec<String> = THOUGHTS.iter().map(|thought| fill(thought, topic, dice)).collect();
    let count = 2 + dice.below(3);
    thoughts.get(..count).unwrap_or(&thoughts).join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_is_what_the_question_is_about() {
        assert_eq!(topic("What is a write-ahead log and why do databases use it?"), "write-ahead log");
        assert_eq!(topic("How do I undo the last commit in git?"), "last commit");
        assert_eq!(topic(""), "this");
    }

    #[test]
    fn proper_nouns_leave_out_the_first_word() {
        assert_eq!(proper_nouns("What is the weather in Oslo and Bergen?"), ["Oslo", "Bergen"]);
    }

    #[test]
    fn instructions_set_the_manner_and_the_same_dice_give_the_same_words() {
        assert_eq!(Manner::of("Answer in one sentence."), Manner::Terse);
        assert_eq!(Manner::of("Explain step by step."), Manner::Guided);
        assert_eq!(Manner::of("You are kind."), Manner::Plain);
        let say = |seed| answer(Manner::Guided, "indexes", &mut Dice::new(seed, &[b"q"]));
        assert_eq!(say(1), say(1));
        assert_ne!(say(1), say(2));
        assert!(say(1).contains("\n1. "));
        assert!(!say(1).contains('{'), "an unfilled slot in {}", say(1));
    }
}
