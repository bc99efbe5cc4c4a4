//! One settled call into the store: placed, written, its bodies interned, its sums added; or left as it is
//! when it is there already. Runs inside the writer's transaction and never begins or ends one.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{
    calls, jobs, links, packing::Unpacker, payloads, rollups::Tally, runs, token_errors, tracking,
    writer::Write,
};
use crate::{
    background::Standing,
    model::{
        Error,
        call::{Call, Placement, Settled},
        run::DEFAULT_EXPERIMENT_ID,
    },
};

/// What a call's place says when its run is the one that its caller's address had open.
const ACTIVE_RUN_RULE: &str = "peer:active_run";

/// Writes each call and returns it as it is in the store. What is handed in stays as it was, to be handed in
/// again when the transaction fails. On idle processors it ends early, with at least one call, when `gives_way` does
/// not hold any more or the writer has other work: on processors that are taken it holds them up.
pub(super) fn settle(
    write: &mut Write<'_>,
    settled: &[Settled],
    standing: Standing,
    gives_way: &AtomicBool,
) -> Result<Vec<Call>, Error> {
    let mut tally = Tally::default();
    let mut calls = Vec::with_capacity(settled.len());
    for settled in settled {
        calls.push(one(write, &mut tally, settled)?);
        let urgent = || !gives_way.load(Ordering::Relaxed) || write.is_waited_for();
        if standing == Standing::Idle && urgent() {
            break;
        }
        standing.give_way();
    }
    tally.apply(write.connection)?;
    Ok(calls)
}

fn one(write: &mut Write<'_>, tally: &mut Tally, settled: &Settled) -> Result<Call, Error> {
    let Settled { placement, job, charges, token_sample, lineage, .. } = settled;
    let connection = write.connection;
    if let Some(sequence) = calls::sequence(connection, settled.call.id)?
        && let Some(stored) = calls::by_sequence(connection, &mut Unpacker::default(), sequence)?
    {
        return Ok(stored);
    }
    let mut call = settled.call.clone();
    place(write, &mut call, placement)?;
    if let Some(job) = job {
        jobs::settle(connection, &mut call, job)?;
    }
    let found = links::place(write, &mut call, lineage)?;
    // The name is only needed where a rule asks for it.
    let experiment = match charges.iter().any(|charge| charge.experiment.is_some()) {
        true => runs::experiment_name(connection, &call.experiment_id)?,
        false => String::new(),
    };
    call.charge(&experiment, charges);
    let sequence = calls::insert(connection, write.interned, &call)?;
    payloads::insert(connection, write.interned, sequence, settled)?;
    links::insert(write, sequence, &mut call, lineage, found)?;
    tally.add(&call);
    if let Some(sample) = token_sample {
        token_errors::add(connection, sample)?;
    }
    if let Some(run) = &call.run_id {
        runs::touch(connection, run, call.started_at, call.ended_at)?;
    }
    write.newest = Some(sequence);
    Ok(call)
}

/// Fills the call's experiment and run, making what does not exist. A run that is named by its id decides
/// the experiment too, whatever else the call says: that it was overruled is then noted.
fn place(write: &mut Write<'_>, call: &mut Call, placement: &Placement) -> Result<(), Error> {
    let connection = write.connection;
    let asked = placement.experiment.as_deref().filter(|name| !name.is_empty());
    let run = placement.run.as_deref().filter(|name| !name.is_empty());

    if let Some(run) = run
        && let Some(experiment) = runs::experiment_of_run(connection, run)?
    {
        if let Some(asked) = asked
            && runs::experiment_id(connection, asked)?.as_ref() != Some(&experiment)
        {
            call.notes.push(format!(
                "placement: run {run} belongs to experiment {experiment}, not to {asked:?} as asked"
            ));
        }
        call.experiment_id = experiment;
        call.run_id = Some(run.to_owned());
        return Ok(());
    }

    if run.is_none()
        && let Some(peer) = &placement.peer
        && let Some((run, experiment)) = tracking::active_run(connection, peer, call.started_at)?
        && match asked {
            None => true,
            Some(asked) => runs::experiment_id(connection, asked)?.as_ref() == Some(&experiment),
        }
    {
        call.rules.run = Some(ACTIVE_RUN_RULE.to_owned());
        if asked.is_none() {
            call.rules.experiment = None;
        }
        call.experiment_id = experiment;
        call.run_id = Some(run);
        return Ok(());
    }

    let experiment = match asked {
        None => DEFAULT_EXPERIMENT_ID.to_owned(),
        Some(name) => match runs::experiment_id(connection, name)? {
            Some(id) => id,
            None => runs::create_experiment(connection, name, call.started_at)?,
        },
    };
    call.run_id = match run {
        None => None,
        Some(name) => Some(match runs::run_in(connection, &experiment, name)? {
            Some(id) => id,
            None => runs::create_run(connection, &experiment, name, call.started_at)?,
        }),
    };
    call.experiment_id = experiment;
    Ok(())
}
