//! `tapline export mlflow`: what the store here has, to an MLflow server or a folder that MLflow reads.

use std::path::{Path, PathBuf};

use super::{
    import::{Bars, Place, place, tell, unreachable},
    output::Output,
    reach::{Found, Reach},
};
use crate::{
    model::Error,
    transfer::{Export, ExportFolder, tracking::Tracking},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: tapline export mlflow http://127.0.0.1:5000")]
pub(super) struct Args {
    #[command(subcommand)]
    to: To,
}

#[derive(Debug, clap::Subcommand)]
enum To {
    /// To an MLflow server, which gives runs and models new ids (the tag tapline.exportedAs has the old one), or
    /// to a folder of MLflow's file store, where they keep them. Done again, it goes on where it stopped and sends
    /// nothing twice.
    #[command(
        after_help = "Example: tapline export mlflow http://127.0.0.1:5000 --experiment prompt-dev\n         \
        tapline export mlflow ./mlruns"
    )]
    Mlflow(Mlflow),
}

#[derive(Debug, clap::Args)]
struct Mlflow {
    /// The address of the server, or the folder.
    target: String,
    /// This experiment only; may be given several times.
    #[arg(long = "experiment", short = 'e', value_name = "NAME")]
    experiments: Vec<String>,
    /// Where the store is that it comes from [default: as configured, ./tapline-data].
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    /// Tell the outcome as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    let To::Mlflow(args) = args.to;
    let folder = folder(&args.target)?;
    let Place { store, artifacts } = place(args.data.as_deref(), false)?;
    if let Some(root) = folder {
        let export = ExportFolder { store: &store, artifacts: &artifacts, root, only: &args.experiments };
        let report = export.run(&Bars::new("exported", args.json)).await?;
        return tell(&report, "exported", false, args.json, output);
    }
    let target = Tracking::at(&args.target)?;
    // Another tapline answers here, and MLflow's server does not.
    let is_tapline = matches!(Reach::to(Some(&args.target), None).find().await, Ok(Found::Server(_)));
    let export = Export {
        store: &store,
        artifacts: &artifacts,
        target: &target,
        only: &args.experiments,
        without_system_metrics: is_tapline,
    };
    let report = export.run(&Bars::new("exported", args.json)).await.map_err(unreachable)?;
    tell(&report, "exported", false, args.json, output)
}

/// Where to write, unless the target is an address.
fn folder(target: &str) -> anyhow::Result<Option<&Path>> {
    if let Some(path) = target.strip_prefix("file://") {
        return Ok(Some(Path::new(path)));
    }
    if target.contains("://") {
        return Ok(None);
    }
    let path = Path::new(target);
    // `localhost:5000`, or `mlflow.example.com:5000/base`.
    let is_port = |rest: &str| rest.split('/').next().is_some_and(|port| port.parse::<u16>().is_ok());
    if target.split_once(':').is_some_and(|(host, rest)| !host.contains('/') && is_port(rest))
        && !path.exists()
    {
        let message = format!(
            "expected the address of a server or a folder, found {target:?}: write http://{target}, or ./{target} for a folder"
        );
        return Err(Error::invalid(message).into());
    }
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_its_scheme_is_no_folder() {
        for target in ["localhost:5000", "127.0.0.1:5000/base", "mlflow.example.com:80"] {
            let told = folder(target).unwrap_err().to_string();
            assert!(told.contains(&format!("write http://{target}, or ./{target}")), "{told}");
        }
        for target in ["mlruns", "./localhost:5000", "/tmp/a:1", "c:mlruns", "file:///tmp/x"] {
            assert!(folder(target).unwrap().is_some(), "{target}");
        }
        assert!(folder("http://localhost:5000").unwrap().is_none());
    }
}
