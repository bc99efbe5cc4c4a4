//! What a run should know of where it was made: the code, the machine, the interpreter. As MLflow's tags where
//! MLflow has one. What cannot be found out is left out.

use std::path::Path;

use tokio::process::Command;

pub(super) type Tags = Vec<(String, String)>;

/// Longest value of a tag, in characters: MLflow's limit.
const LONGEST: usize = 8000;

pub(super) async fn tags(command: &[String]) -> Tags {
    let mut tags = Tags::new();
    let mut push = |key: &str, value: Option<String>| {
        if let Some(value) = value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()) {
            tags.push((key.to_owned(), value.chars().take(LONGEST).collect()));
        }
    };
    let variable = |name: &str| std::env::var(name).ok();
    let line = shown(command);
    push("mlflow.source.type", Some("LOCAL".to_owned()));
    push("mlflow.source.name", Some(script(command).unwrap_or_else(|| line.clone())));
    push("mlflow.user", variable("USER").or_else(|| variable("USERNAME")));
    push("tapline.command", Some(line));
    push("tapline.directory", std::env::current_dir().ok().map(|path| path.display().to_string()));
    push("tapline.host", hostname());
    push("tapline.os", Some(format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)));
    push("tapline.version", Some(env!("CARGO_PKG_VERSION").to_owned()));
    push("tapline.virtualenv", variable("VIRTUAL_ENV").or_else(|| variable("CONDA_PREFIX")));
    let (python, (commit, branch, remote, changes)) = tokio::join!(python(command), async {
        tokio::join!(
            git(&["rev-parse", "--verify", "HEAD"]),
            git(&["rev-parse", "--abbrev-ref", "HEAD"]),
            git(&["config", "--get", "remote.origin.url"]),
            git(&["status", "--porcelain", "--untracked-files=no"]),
        )
    });
    push("tapline.python", python);
    if commit.is_some() {
        push("mlflow.source.git.commit", commit);
        push("mlflow.source.git.branch", branch.filter(|branch| branch.trim() != "HEAD"));
        push("mlflow.source.git.repoURL", remote.map(|url| without_credentials(url.trim())));
        let dirty = changes.map(|changes| !changes.trim().is_empty());
        push("mlflow.source.git.dirty", dirty.map(|dirty| if dirty { "True" } else { "False" }.to_owned()));
    }
    tags
}

async fn git(arguments: &[&str]) -> Option<String> {
    answer(Command::new("git").args(arguments)).await
}

/// Of the interpreter that runs the program, where it is Python.
async fn python(command: &[String]) -> Option<String> {
    let program = command.first()?;
    let name = Path::new(program).file_name()?.to_str()?;
    if !name.starts_with("python") {
        return None;
    }
    let answer = answer(Command::new(program).arg("--version")).await?;
    Some(answer.trim().trim_start_matches("Python ").to_owned())
}

/// What a helper prints, if it ends well: it has no part in our streams.
async fn answer(command: &mut Command) -> Option<String> {
    let output = command.stdin(std::process::Stdio::null()).output().await.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first argument that is a file: what people call the program.
fn script(command: &[String]) -> Option<String> {
    command
        .iter()
        .skip(1)
        .find(|argument| !argument.starts_with('-') && Path::new(argument).is_file())
        .cloned()
}

fn hostname() -> Option<String> {
    #[cfg(unix)]
    return Some(rustix::system::uname().nodename().to_string_lossy().into_owned());
    #[cfg(not(unix))]
    std::env::var("COMPUTERNAME").ok()
}

/// The command as one could type it again.
fn shown(command: &[String]) -> String {
    let plain = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_./=:,@%+*".contains(c))
    };
    let quoted = command.iter().map(|part| match plain(part) {
        true => part.clone(),
        false => format!("'{}'", part.replace('\'', r"'\''")),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// `https://user:token@host/x` without what is before the `@`.
fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_typed_again() {
        let command = ["python", "-c", "print('a b')", "", "x=1"].map(str::to_owned);
        assert_eq!(shown(&command), r"python -c 'print('\''a b'\'')' '' x=1");
    }

    #[test]
    fn a_repository_is_named_without_its_credentials() {
        assert_eq!(without_credentials("https://u:t@host/a@b.git"), "https://host/a@b.git");
        assert_eq!(without_credentials("git@host:a/b.git"), "git@host:a/b.git");
    }
}
