//! `tapline run`: a program as a run. Opens the run, starts the program with everything in its environment that
//! leads its calls and its tracking there, waits, and ends the run as the program ended.
//!
//! The program has our terminal, standard streams and process group as if it had been started without us;
//! whatever we have to say goes to standard error.

mod child;
mod outcome;
mod server;
mod surroundings;

use std::{
    path::PathBuf,
    process::ExitStatus,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{Stop, USAGE, output::Output};
use crate::{
    capture::redact,
    model::run::{DEFAULT_EXPERIMENT, PARENT_RUN_TAG, RunStatus},
    transfer::tracking::{Refused, Tracking},
    wire::TraceParent,
};
use outcome::Outcome;
use server::Server;

/// The run that a program belongs to, for a `tapline run` inside it. MLflow's client takes its own variable
/// out of the environment when it continues the run.
pub(super) const RUN_VARIABLE: &str = "TAPLINE_RUN_ID";

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: tapline run --experiment prompt-dev --name v3 -P temperature=0.7 -t dataset=v2 \
    -- python eval.py\n\n\
    The program gets OPENAI_BASE_URL, OPENAI_API_BASE, ANTHROPIC_BASE_URL, MLFLOW_TRACKING_URI, MLFLOW_RUN_ID, \
    MLFLOW_EXPERIMENT_ID, TRACEPARENT and TAPLINE_URL. mlflow.start_run() in it continues the run; where it \
    calls mlflow.set_experiment(), --experiment must name the same one. Inside another run this makes a child \
    of it.\n\n\
    Exits with the program's own code, or 128 and the number of the signal that ended it; 127 when it was not \
    found, 126 when it could not be started."
)]
pub(super) struct Args {
    /// Experiment, made when it is new [default: $MLFLOW_EXPERIMENT_NAME, else the parent run's, else Default].
    #[arg(long, short = 'e')]
    experiment: Option<String>,
    /// The run's name; made up when not given.
    #[arg(long, short = 'n')]
    name: Option<String>,
    /// A parameter of the run; may be given several times.
    #[arg(long = "param", short = 'P', value_name = "KEY=VALUE", value_parser = pair)]
    params: Vec<(String, String)>,
    /// A tag of the run; may be given several times.
    #[arg(long = "tag", short = 't', value_name = "KEY=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,
    /// Say nothing beside what the program says.
    #[arg(long, short = 'q', conflicts_with = "json")]
    quiet: bool,
    /// Tell the outcome as one line of JSON, on standard error.
    #[arg(long)]
    json: bool,
    /// The running tapline to use [default: http://127.0.0.1:4000; where none runs, one is started for the
    /// time of the program].
    #[arg(long, env = "TAPLINE_URL", value_name = "URL")]
    url: Option<String>,
    /// Where a tapline that is started for the program records [default: as configured, ./tapline-data].
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    /// Where a tapline that is started for the program sends calls [default: as configured,
    /// https://api.openai.com/v1].
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, required = true, value_name = "PROGRAM")]
    command: Vec<std::ffi::OsString>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("expected KEY=VALUE, found {text:?}")),
    }
}

pub(super) async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    let server =
        Server::find(args.url.as_deref(), args.data.as_deref(), args.upstream.as_deref(), output).await?;
    let ended = attend(&args, &server, output).await;
    server.stop().await;
    // The program's end is ours: nothing of ours comes after it.
    match ended? {
        0 => Ok(()),
        code => Err(Stop::silent(code)),
    }
}

/// From the run's start to its end; gives the code to exit with.
async fn attend(args: &Args, server: &Server, output: &Output) -> anyhow::Result<u8> {
    let tracking = Tracking::at(&server.base)?;
    let opened = open(args, &tracking).await?;
    if !args.quiet && !args.json {
        output.note(&format!("run {} ({}) of {}", opened.name, opened.id, opened.experiment));
    }
    let began = Instant::now();
    let end = match child::start(&args.command, environment(server, &opened, output)) {
        Ok(child) => child::wait(child).await.map_err(anyhow::Error::from),
        Err(error) => {
            let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
            let why = format!("{} cannot be started: {error}", args.command[0].to_string_lossy());
            close(&tracking, &opened, RunStatus::Failed, began, None).await?;
            return Err(Stop::error(code, why));
        }
    };
    let status = end?;
    let outcome = close(&tracking, &opened, state(status), began, Some(status)).await;
    match outcome {
        // The program has done its work; that it was not noted down is no failure of it.
        Err(error) => output.note(&format!("the run {} could not be ended: {error:#}", opened.id)),
        Ok(()) if args.quiet => {}
        Ok(()) => match Outcome::read(&server.base, &opened.id, status, began.elapsed()).await {
            Ok(outcome) => outcome.tell(args.json, output)?,
            Err(error) => {
                output.note(&format!("what the run {} came to could not be read: {error:#}", opened.id))
            }
        },
    }
    Ok(child::code(status))
}

/// A run that was opened.
#[derive(Debug)]
struct Opened {
    id: String,
    name: String,
    experiment: String,
    experiment_id: String,
}

async fn open(args: &Args, tracking: &Tracking) -> anyhow::Result<Opened> {
    let parent = match variable(RUN_VARIABLE).or_else(|| variable("MLFLOW_RUN_ID")) {
        Some(id) => parent(tracking, &id).await?,
        None => None,
    };
    let named = args.experiment.clone().or_else(|| variable("MLFLOW_EXPERIMENT_NAME"));
    let (experiment_id, experiment) = match (named, &parent) {
        (Some(name), _) => (tracking.experiment(&name).await?, name),
        (None, Some(parent)) => (parent.experiment_id.clone(), parent.experiment.clone()),
        (None, None) => (tracking.experiment(DEFAULT_EXPERIMENT).await?, DEFAULT_EXPERIMENT.to_owned()),
    };
    let command: Vec<String> = args.command.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let mut tags = surroundings::tags(&redact::arguments(&command)).await;
    tags.extend(parent.map(|parent| (PARENT_RUN_TAG.to_owned(), parent.id)));
    tags.extend(args.tags.iter().cloned());
    let start_time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut body = json!({
        "experiment_id": experiment_id,
        "user_id": variable("USER").or_else(|| variable("USERNAME")).unwrap_or_default(),
        "start_time": u64::try_from(start_time).unwrap_or_default(),
        "tags": pairs(&tags),
    });
    if let Some(name) = &args.name {
        body["run_name"] = Value::from(name.as_str());
    }
    let made = tracking.post("runs/create", &body).await?;
    let info = &made["run"]["info"];
    let text = |name: &str| {
        info[name]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("expected the run's {name} from the server"))
    };
    let opened = Opened { id: text("run_id")?, name: text("run_name")?, experiment, experiment_id };
    if !args.params.is_empty() {
        let params = json!({ "run_id": opened.id, "params": pairs(&args.params) });
        if let Err(error) = tracking.post("runs/log-batch", &params).await {
            // Nothing was started, so nothing is left behind.
            tracking.post("runs/delete", &json!({ "run_id": opened.id })).await.ok();
            return Err(Stop::error(USAGE, format!("the parameters cannot be logged: {error:#}")));
        }
    }
    Ok(opened)
}

/// The run that this one is inside of, if the server knows it: a variable may be left from another server.
async fn parent(tracking: &Tracking, id: &str) -> anyhow::Result<Option<Opened>> {
    let found = match tracking.get("runs/get", &[("run_id", id)]).await {
        Ok(found) => found,
        Err(error) if error.is::<Refused>() => return Ok(None),
        Err(error) => return Err(error),
    };
    let info = &found["run"]["info"];
    let text = |name: &str| info[name].as_str().unwrap_or_default().to_owned();
    let experiment_id = text("experiment_id");
    let experiment = tracking.get("experiments/get", &[("experiment_id", &experiment_id)]).await?;
    let experiment = experiment["experiment"]["name"].as_str().unwrap_or_default().to_owned();
    Ok(Some(Opened { id: text("run_id"), name: text("run_name"), experiment, experiment_id }))
}

fn pairs(pairs: &[(String, String)]) -> Value {
    pairs.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What leads the program's calls and its tracking to the run.
fn environment(server: &Server, opened: &Opened, output: &Output) -> Vec<(&'static str, String)> {
    let Server { base, .. } = server;
    let id = &opened.id;
    let openai = format!("{base}/run/{id}/v1");
    let mut all = vec![
        ("OPENAI_BASE_URL", openai.clone()),
        // What clients before 1.0 read.
        ("OPENAI_API_BASE", openai),
        ("MLFLOW_TRACKING_URI", base.clone()),
        ("MLFLOW_RUN_ID", id.clone()),
        ("MLFLOW_EXPERIMENT_ID", opened.experiment_id.clone()),
        ("TAPLINE_URL", base.clone()),
        (RUN_VARIABLE, id.clone()),
    ];
    match server.anthropic() {
        Some(path) => all.push(("ANTHROPIC_BASE_URL", format!("{base}{path}/run/{id}"))),
        None if variable("ANTHROPIC_API_KEY").is_some() => output.note(
            "calls to Anthropic are not recorded: the tapline that runs has no upstream for them; add one with \
             --upstreams anthropic=https://api.anthropic.com",
        ),
        None => {}
    }
    // A trace that is under way goes on; else the run is one, by its own id.
    let traced = variable("TRACEPARENT").is_some_and(|value| TraceParent::parse(&value).is_some());
    if let (false, Some(span)) = (traced, id.get(..16)) {
        all.push(("TRACEPARENT", format!("00-{id}-{span}-01")));
    }
    all
}

fn state(status: ExitStatus) -> RunStatus {
    match child::code(status) {
        0 => RunStatus::Finished,
        129.. => RunStatus::Killed,
        _ => RunStatus::Failed,
    }
}

/// Ends the run. What the program itself said of its end stays when it exits well.
async fn close(
    tracking: &Tracking,
    opened: &Opened,
    state: RunStatus,
    began: Instant,
    status: Option<ExitStatus>,
) -> anyhow::Result<()> {
    let id = &opened.id;
    let found = tracking.get("runs/get", &[("run_id", id)]).await?;
    let said = found["run"]["info"]["status"].as_str().and_then(RunStatus::parse);
    let state = match said {
        Some(said @ (RunStatus::Failed | RunStatus::Killed)) if state == RunStatus::Finished => said,
        _ => state,
    };
    let duration = began.elapsed().as_secs_f64();
    let mut tags = vec![("tapline.duration_s".to_owned(), format!("{duration:.3}"))];
    tags.extend(status.map(|status| ("tapline.exit_code".to_owned(), child::code(status).to_string())));
    tracking.post("runs/log-batch", &json!({ "run_id": id, "tags": pairs(&tags) })).await?;
    let end_time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let body = json!({
        "run_id": id, "status": state.as_str(), "end_time": u64::try_from(end_time).unwrap_or_default(),
    });
    tracking.post("runs/update", &body).await?;
    Ok(())
}
