//! The ways in which clients converse, one function each. All scenarios share the clock, so that their calls
//! interleave.

use serde_json::{Value, json};

use super::world::{Answer, Client, Dice, SECOND, Talk, Wire, World};

/// Everything, `size` times as many conversations as the smallest run.
pub fn all(size: u64, seed: u64) -> World {
    let mut world = World::new(seed);
    greetings(&mut world, 60 * size);
    one_backend(&mut world, 40 * size);
    agents(&mut world, 15 * size);
    one_shots(&mut world, 80 * size);
    retries(&mut world, 30 * size);
    branches(&mut world, 15 * size);
    edits(&mut world, 20 * size);
    compaction(&mut world, 12 * size);
    teams(&mut world, 12 * size);
    by_id(&mut world, 20 * size);
    same_script_twice(&mut world, 20 * size);
    world
}

/// All scenarios begin within this time, the more of them the more at once.
const SPAN: u64 = 3_600;

fn start(world: &mut World) -> i64 {
    1_795_420_800 * SECOND + world.dice.seconds(0, SPAN)
}

fn desk(world: &mut World) -> Client {
    let host = format!("10.{}.{}.{}", world.dice.below(4), world.dice.below(256), world.dice.below(256));
    Client { key: format!("key-{}", world.dice.below(40)), host, pool: 1 }
}

fn wire(dice: &mut Dice) -> Wire {
    *dice.pick(&[Wire::Chat, Wire::Chat, Wire::Responses, Wire::Messages])
}

fn long(world: &mut World) -> Answer {
    let count = 12 + world.dice.below(60);
    Answer::text(world.dice.words(count))
}

const HELLOS: [&str; 4] = ["hi", "Hello", "hi there", "help me please"];
const WELCOMES: [&str; 3] = [
    "Hello! How can I help you today?",
    "Hi there! What can I do for you?",
    "Hello! What would you like to know?",
];

/// Many people at their own machines: the same system prompt, the same first words, the same first answers.
fn greetings(world: &mut World, count: u64) {
    for _ in 0..count {
        let (client, start) = (desk(world), start(world));
        let wire = wire(&mut world.dice);
        let mut talk = Talk::new(world, "look-alike greetings", client, wire, start);
        talk.system = Some("You are a helpful assistant.".to_owned());
        let welcome = Answer::text(*world.dice.pick(&WELCOMES));
        let hello = *world.dice.pick(&HELLOS);
        talk.turn(world, hello, &welcome);
        for _ in 0..1 + world.dice.below(8) {
            let (question, answer) = (world.dice.words(5), long(world));
            talk.turn(world, question, &answer);
        }
    }
}

/// A chat application: one key, one host, a pool of connections; the model greets each user in its own words.
fn one_backend(world: &mut World, count: u64) {
    let client = Client { key: "key-app".to_owned(), host: "10.9.9.9".to_owned(), pool: 6 };
    for number in 0..count {
        let start = start(world);
        let mut talk = Talk::new(world, "one application, many users", client.clone(), Wire::Chat, start);
        talk.system = Some(format!("You are the support agent of a shop. It is {}.", clock(talk.now)));
        for turn in 0..2 + world.dice.below(6) {
            // The clock in the system prompt goes on with each call.
            talk.system = Some(format!("You are the support agent of a shop. It is {}.", clock(talk.now)));
            let question =
                if turn == 0 { (*world.dice.pick(&HELLOS)).to_owned() } else { world.dice.words(6) };
            let answer = if turn == 0 {
                Answer::text(format!("Welcome! Your ticket is number {number}. {}", world.dice.words(3)))
            } else {
                long(world)
            };
            talk.turn(world, question, &answer);
        }
    }
}

fn clock(now: i64) -> String {
    let second = now / SECOND % 86_400;
    format!("2026-11-23 {:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

fn tools(wire: Wire, count: usize) -> Vec<Value> {
    let names = ["read_file", "grep", "edit", "run", "task", "fetch"];
    names
        .iter()
        .take(count)
        .map(|name| {
            let schema =
                json!({"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]});
            match wire {
                Wire::Chat => json!({"type": "function", "function": {"name": name, "parameters": schema}}),
                Wire::Responses => json!({"type": "function", "name": name, "parameters": schema}),
                Wire::Messages => json!({"name": name, "input_schema": schema}),
            }
        })
        .collect()
}

const CODER: &str = "You are a coding agent. Use the tools. Today is 2026-11-23.";

fn tool_answer(world: &mut World) -> Answer {
    let calls = 1 + world.dice.below(3);
    let calls = (0..calls).map(|_| {
        let name = *world.dice.pick(&["read_file", "grep", "edit", "run"]);
        (name.to_owned(), json!({"what": world.dice.words(3)}))
    });
    let calls = calls.collect();
    Answer { text: if world.dice.one_in(2) { String::new() } else { world.dice.words(6) }, calls }
}

/// Agents that share system prompt and tools, each at a task of its own: tool after tool, several at once.
fn agents(world: &mut World, count: u64) {
    for _ in 0..count {
        let (client, start) = (desk(world), start(world));
        let wire = wire(&mut world.dice);
        let mut talk = Talk::new(world, "agents with tools", client, wire, start);
        talk.system = Some(CODER.to_owned());
        talk.tools = tools(wire, 5);
        let task =
            if world.dice.one_in(3) { "fix the failing test".to_owned() } else { world.dice.words(12) };
        talk.user(task);
        for _ in 0..4 + world.dice.below(20) {
            let answer = tool_answer(world);
            talk.go_on(world, &answer);
            talk.now += world.dice.seconds(0, 4);
            talk.results(world);
        }
        let answer = long(world);
        talk.go_on(world, &answer);
    }
}

/// One template for everybody, one call each: no conversation.
fn one_shots(world: &mut World, count: u64) {
    let client = Client { key: "key-batch".to_owned(), host: "10.8.8.8".to_owned(), pool: 4 };
    for number in 0..count {
        let start = start(world);
        let mut talk = Talk::new(world, "one-shot templates", client.clone(), Wire::Chat, start);
        talk.system = Some(
            "Classify the text into one of the labels: bug, question, praise. Answer with the label."
                .to_owned(),
        );
        // Some texts come several times.
        talk.user(format!(
            "Text: {}",
            if number % 5 == 0 { "it does not work".to_owned() } else { world.dice.words(20) }
        ));
        let label = *world.dice.pick(&["bug", "question", "praise"]);
        talk.send(world, &Answer::text(label));
    }
}

/// Calls that fail and are asked again, with and without a word of it.
fn retries(world: &mut World, count: u64) {
    for _ in 0..count {
        let (client, start) = (desk(world), start(world));
        let wire = wire(&mut world.dice);
        let mut talk = Talk::new(world, "retries", client, wire, start);
        talk.system = Some("You are a helpful assistant.".to_owned());
        for turn in 0..2 + world.dice.below(4) {
            let question =
                if turn == 0 { (*world.dice.pick(&HELLOS)).to_owned() } else { world.dice.words(6) };
            talk.user(question);
            let told = world.dice.one_in(2);
            for attempt in 0..world.dice.below(3) {
                talk.headers = retry_header(told, attempt);
                let status = *world.dice.pick(&[429, 500, 503, 0]);
                talk.fail(world, status);
                talk.now += world.dice.seconds(1, 8);
                talk.headers = retry_header(told, attempt + 1);
            }
            let answer = long(world);
            talk.go_on(world, &answer);
            talk.headers.clear();
            talk.now += world.dice.seconds(2, 30);
        }
    }
}

fn retry_header(told: bool, attempt: u64) -> Vec<(String, String)> {
    let header = ("x-stainless-retry-count".to_owned(), attempt.to_string());
    if told { vec![header] } else { Vec::new() }
}

/// From one answer several calls go on at once, and the best of them is kept.
fn branches(world: &mut World, count: u64) {
    for _ in 0..count {
        let (client, start) = (desk(world), start(world));
        let mut talk = Talk::new(world, "parallel branches", client, Wire::Chat, start);
        talk.system = Some(CODER.to_owned());
        talk.tools = tools(Wire::Chat, 4);
        let task = world.dice.words(9);
        talk.turn(world, task, &Answer::text("I will try several ways and keep the best of them."));
        for _ in 0..2 + world.dice.below(3) {
            let at = talk.now;
            let mut ends = Vec::new();
            let mut kept = None;
            for _ in 0..2 + world.dice.below(3) {
                let mut branch = talk.clone();
                branch.now = at + world.dice.seconds(0, 1);
                let (question, answer) = (world.dice.words(7), long(world));
                branch.user(question);
                branch.go_on(world, &answer);
                ends.push(branch.now);
                kept = Some(branch);
            }
            talk = kept.unwrap_or(talk);
            talk.now = ends.into_iter().max().unwrap_or(at) + world.dice.seconds(1, 5);
        }
    }
}

/// Histories that are changed: an earlier question asked otherwise, old results cleared, an answer rewritten.
fn edits(world: &mut World, count: u64) {
    for number in 0..count {
        let (client, start) = (desk(world), start(world));
        let wire = wire(&mut world.dice);
        let mut talk = Talk::new(world, "edited histories", client, wire, start);
        talk.system = Some(CODER.to_owned());
        talk.tools = tools(wire, 4);
        let task = world.dice.words(8);
        talk.user(task);
        for turn in 0..6 + world.dice.below(4) {
            let answer = if turn % 2 == 0 { tool_answer(world) } else { long(world) };
            let calls = !answer.calls.is_empty();
            talk.go_on(world, &answer);
            talk.now += world.dice.seconds(1, 6);
            if calls {
                talk.results(world);
            } else {
                let question = world.dice.words(6);
                talk.user(question);
            }
            match (number % 3, turn) {
                // The last question again in other words.
                (0, 3) => {
                    let mut again = talk.clone();
                    let answer = long(world);
                    again.send(world, &answer);
                    talk.now = again.now + world.dice.seconds(3, 9);
                    talk.history.pop();
                    let question = world.dice.words(7);
                    talk.user(question);
                }
                // Old results are cleared to save room.
                (1, 4) => clear_results(&mut talk.history),
                // The oldest messages are left out.
                (2, 4) => {
                    let rest = talk.history.split_off(3);
                    talk.history.truncate(1);
                    talk.history.extend(rest);
                }
                _ => {}
            }
        }
        let answer = long(world);
        talk.go_on(world, &answer);
    }
}

fn clear_results(history: &mut [Value]) {
    for message in history.iter_mut().take(4) {
        if message["role"] == "tool" {
            message["content"] = json!("[cleared]");
        }
        if message.get("output").is_some() {
            message["output"] = json!("[cleared]");
        }
        for block in message["content"].as_array_mut().into_iter().flatten() {
            if block["type"] == "tool_result" {
                block["content"] = json!("[cleared]");
            }
        }
    }
}

/// A history that is replaced by the summary that the model wrote of it.
fn compaction(world: &mut World, count: u64) {
    for _ in 0..count {
        let (client, start) = (desk(world), start(world));
        let wire = wire(&mut world.dice);
        let mut talk = Talk::new(world, "compaction", client, wire, start);
        talk.system = Some(CODER.to_owned());
        talk.tools = tools(wire, 5);
        let task = world.dice.words(10);
        talk.user(task);
        for _ in 0..2 + world.dice.below(2) {
            for _ in 0..3 + world.dice.below(4) {
                let answer = tool_answer(world);
                talk.go_on(world, &answer);
                talk.now += world.dice.seconds(0, 3);
                talk.results(world);
            }
            let summary = format!(
                "The user asked for this: {}.\n\nDone so far: {}. Still open: {}.\n- {}",
                world.dice.words(14),
                world.dice.words(16),
                world.dice.words(12),
                world.dice.words(15)
            );
            talk.turn(world, "Summarise the conversation so far.", &Answer::text(summary.clone()));
            talk.history.clear();
            talk.user(format!(
                "This session continues an earlier one. The summary of it:\n\n{summary}\n\nGo on."
            ));
        }
        let answer = long(world);
        talk.go_on(world, &answer);
    }
}

/// Agents that hand tasks to agents of their own, which share their tools.
fn teams(world: &mut World, count: u64) {
    for _ in 0..count {
        let (client, start) = (desk(world), start(world));
        let wire = wire(&mut world.dice);
        let mut lead = Talk::new(world, "sub-agents", client.clone(), wire, start);
        lead.system = Some(CODER.to_owned());
        lead.tools = tools(wire, 5);
        let task = world.dice.words(10);
        lead.user(task);
        for _ in 0..2 + world.dice.below(2) {
            let tasks: Vec<String> = (0..1 + world.dice.below(3))
                .map(|_| format!("Find out everything about the {} and report it", world.dice.words(8)))
                .collect();
            let calls =
                tasks.iter().map(|task| ("task".to_owned(), json!({"what": task, "agent": "explorer"})));
            let answer = Answer { text: "I hand this on.".to_owned(), calls: calls.collect() };
            lead.go_on(world, &answer);
            let mut end = lead.now;
            for task in &tasks {
                let mut agent = Talk::new(world, "sub-agents", client.clone(), wire, lead.now);
                agent.works_for = Some(lead.session);
                agent.system = Some("You are an explorer. Read, never write.".to_owned());
                agent.tools = tools(wire, 5);
                agent.user(task.clone());
                for _ in 0..1 + world.dice.below(4) {
                    let answer = tool_answer(world);
                    agent.go_on(world, &answer);
                    agent.results(world);
                }
                let answer = long(world);
                agent.go_on(world, &answer);
                end = end.max(agent.now);
            }
            lead.now = end + SECOND;
            lead.results(world);
        }
        let answer = long(world);
        lead.go_on(world, &answer);
    }
}

/// Clients that name the response which they go on from, and resend nothing.
fn by_id(world: &mut World, count: u64) {
    let client = Client { key: "key-resp".to_owned(), host: "10.7.7.7".to_owned(), pool: 5 };
    for _ in 0..count {
        let start = start(world);
        let mut talk = Talk::new(world, "previous_response_id", client.clone(), Wire::Responses, start);
        talk.by_id = true;
        for turn in 0..2 + world.dice.below(8) {
            let question = if turn == 0 { "hi".to_owned() } else { world.dice.words(4) };
            let answer = if turn == 0 { Answer::text(WELCOMES[0]) } else { long(world) };
            talk.turn(world, question, &answer);
        }
    }
}

/// One script of questions in two runs, answered alike: a deterministic model.
fn same_script_twice(world: &mut World, count: u64) {
    let client = Client { key: "key-eval".to_owned(), host: "10.6.6.6".to_owned(), pool: 4 };
    for _ in 0..count {
        let turns: Vec<_> = (0..3).map(|_| (world.dice.words(6), long(world))).collect();
        let start = start(world);
        for run in ["before", "after"] {
            let mut talk = Talk::new(world, "one script in two runs", client.clone(), Wire::Chat, start);
            talk.headers = vec![("x-tapline-run".to_owned(), run.to_owned())];
            talk.now += world.dice.seconds(0, 20);
            for (question, answer) in &turns {
                talk.turn(world, question.clone(), answer);
            }
        }
    }
}
