//! Figures: several rounds of one quantity become a median with its spread; goals are judged on medians.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Value, json};

/// Rounds of one quantity of one target.
#[derive(Debug, Default)]
pub struct Figures {
    order: Vec<(String, String)>,
    rounds: BTreeMap<(String, String), (String, Vec<f64>)>,
    goals: Vec<Goal>,
    pub notes: Vec<String>,
}

/// What was wanted and what came.
#[derive(Debug)]
struct Goal {
    what: String,
    found: f64,
    bound: f64,
    least: bool,
    unit: &'static str,
}

impl Goal {
    fn met(&self) -> bool {
        if self.least { self.found >= self.bound } else { self.found <= self.bound }
    }
}

pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

impl Figures {
    pub fn add(&mut self, what: &str, who: &str, unit: &str, value: f64) {
        let key = (what.to_owned(), who.to_owned());
        if !self.rounds.contains_key(&key) {
            // Targets of one figure stand together, in the order in which the figures came.
            let last = self.order.iter().rposition(|(known, _)| known == what);
            self.order.insert(last.map_or(self.order.len(), |last| last + 1), key.clone());
        }
        self.rounds.entry(key).or_insert_with(|| (unit.to_owned(), Vec::new())).1.push(value);
    }

    pub fn median(&self, what: &str, who: &str) -> Option<f64> {
        median(&self.rounds.get(&(what.to_owned(), who.to_owned()))?.1)
    }

    /// The median over rounds of `who` compared with `other` in the same round: what one machine's noise
    /// does to both is not in it.
    pub fn paired(&self, what: &str, who: &str, other: &str, by: impl Fn(f64, f64) -> f64) -> Option<f64> {
        let of = |who: &str| self.rounds.get(&(what.to_owned(), who.to_owned())).map(|(_, all)| all);
        let pairs: Vec<f64> = of(who)?.iter().zip(of(other)?).map(|(one, two)| by(*one, *two)).collect();
        median(&pairs)
    }

    pub fn at_most(&mut self, what: impl Into<String>, found: Option<f64>, bound: f64, unit: &'static str) {
        if let Some(found) = found {
            self.goals.push(Goal { what: what.into(), found, bound, least: false, unit });
        }
    }

    pub fn at_least(&mut self, what: impl Into<String>, found: Option<f64>, bound: f64, unit: &'static str) {
        if let Some(found) = found {
            self.goals.push(Goal { what: what.into(), found, bound, least: true, unit });
        }
    }

    pub fn table(&self) -> String {
        let mut text = String::new();
        let width = self.order.iter().map(|(what, _)| what.len()).max().unwrap_or_default();
        let mut line = |cells: std::fmt::Arguments<'_>| {
            text.write_fmt(cells).expect("text takes every line");
            text.push('\n');
        };
        line(format_args!(
            "{:<width$}  {:<8}  {:>12}  {:>25}  {:<8}  rounds",
            "figure", "target", "median", "spread", "unit"
        ));
        let mut last = "";
        for key in &self.order {
            let Some((unit, all)) = self.rounds.get(key) else { continue };
            let (least, most) =
                all.iter().fold((f64::MAX, f64::MIN), |(least, most), one| (least.min(*one), most.max(*one)));
            let spread = format!("{} to {}", short(least), short(most));
            let what = if last == key.0 { "" } else { &key.0 };
            last = &key.0;
            line(format_args!(
                "{what:<width$}  {:<8}  {:>12}  {spread:>25}  {unit:<8}  {}",
                key.1,
                short(median(all).unwrap_or_default()),
                all.len()
            ));
        }
        if !self.goals.is_empty() {
            line(format_args!("\n{:<6}  {:>12}  {:<18}  goal", "", "found", "wanted"));
        }
        for goal in &self.goals {
            let verdict = if goal.met() { "met" } else { "MISSED" };
            let sense = if goal.least { "at least" } else { "at most" };
            let wanted = format!("{sense} {} {}", short(goal.bound), goal.unit);
            line(format_args!("{verdict:<6}  {:>12}  {wanted:<18}  {}", short(goal.found), goal.what));
        }
        for note in &self.notes {
            line(format_args!("note: {note}"));
        }
        text
    }

    /// The figures and the goals as tables of a page.
    pub fn markdown(&self) -> String {
        let mut targets: Vec<&str> = Vec::new();
        let mut figures: Vec<&str> = Vec::new();
        for (what, who) in &self.order {
            if !targets.contains(&who.as_str()) {
                targets.push(who);
            }
            if figures.last() != Some(&what.as_str()) {
                figures.push(what);
            }
        }
        // What calls are sent to, in the order of the way; then what stands beside them.
        let way = ["direct", "nginx", "bare", "tapline"];
        targets.sort_by_key(|who| way.iter().position(|known| known == who).unwrap_or(way.len()));
        let mut text = format!("| figure | unit | {} |\n", targets.join(" | "));
        text += &format!("| --- | --- |{}\n", " --- |".repeat(targets.len()));
        for what in figures {
            let of = |who: &&str| self.rounds.get(&(what.to_owned(), (*who).to_owned()));
            let unit = targets.iter().find_map(of).map_or("", |(unit, _)| unit);
            let cells: Vec<String> =
                targets.iter().map(|who| of(who).map_or_else(String::new, |(_, all)| cell(all))).collect();
            text += &format!("| {what} | {unit} | {} |\n", cells.join(" | "));
        }
        if !self.goals.is_empty() {
            text += "\n| goal | wanted | found | met |\n| --- | --- | --- | --- |\n";
        }
        for goal in &self.goals {
            let Goal { what, found, bound, least, unit } = goal;
            let (sense, met) =
                (if *least { "at least" } else { "at most" }, if goal.met() { "yes" } else { "not yet" });
            text += &format!(
                "| {what} | {sense} {} {unit} | {} {unit} | {met} |\n",
                short(*bound),
                short(*found)
            );
        }
        text
    }

    pub fn json(&self) -> Value {
        let figures: Vec<Value> = self
            .order
            .iter()
            .filter_map(|key| {
                let (unit, rounds) = self.rounds.get(key)?;
                Some(json!({
                    "figure": key.0, "target": key.1, "unit": unit, "median": median(rounds), "rounds": rounds,
                }))
            })
            .collect();
        let goals: Vec<Value> = self
            .goals
            .iter()
            .map(|goal| {
                let sense = if goal.least { "at_least" } else { "at_most" };
                json!({
                    "goal": goal.what, "found": goal.found, sense: goal.bound, "unit": goal.unit, "met": goal.met(),
                })
            })
            .collect();
        json!({ "figures": figures, "goals": goals, "notes": self.notes })
    }
}

/// The median, and the smallest and the largest behind it.
fn cell(all: &[f64]) -> String {
    let middle = short(median(all).unwrap_or_default());
    match all.iter().fold((f64::MAX, f64::MIN), |(least, most), one| (least.min(*one), most.max(*one))) {
        _ if all.len() < 2 => middle,
        (least, most) => format!("{middle} ({}–{})", short(least), short(most)),
    }
}

/// Three figures that matter, however large the number.
fn short(value: f64) -> String {
    match value.abs() {
        small if small >= 100.0 || small == 0.0 => format!("{value:.0}"),
        small if small >= 10.0 => format!("{value:.1}"),
        small if small >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
