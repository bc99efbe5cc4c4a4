//! The filters of calls as flags. Values go to the API as they were written: it knows what they may be.

#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which calls")]
pub(super) struct Filter {
    /// Experiment id or name.
    #[arg(long)]
    experiment: Option<String>,
    /// Run id or name.
    #[arg(long)]
    run: Option<String>,
    #[arg(long)]
    session: Option<String>,
    /// The model that answered, or the one asked for where none did.
    #[arg(long)]
    model: Option<String>,
    #[arg(long)]
    provider: Option<String>,
    #[arg(long)]
    upstream: Option<String>,
    /// chat, embeddings, text_completion, …; http for plain HTTP.
    #[arg(long)]
    operation: Option<String>,
    /// ok, error, cancelled or interrupted.
    #[arg(long)]
    status: Option<String>,
    #[arg(long)]
    user: Option<String>,
    #[arg(long)]
    tag: Option<String>,
    /// Trace id, 32 hex digits.
    #[arg(long)]
    trace: Option<String>,
    /// Started at or after: a time, a date, or an age such as 7d, 12h, 30m.
    #[arg(long)]
    since: Option<String>,
    /// Started before.
    #[arg(long)]
    until: Option<String>,
    /// Cost at least, in US dollars.
    #[arg(long, value_name = "USD")]
    min_cost: Option<String>,
    /// Duration at least, such as 1.5s.
    #[arg(long, value_name = "DURATION")]
    min_duration: Option<String>,
}

impl Filter {
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("experiment", &self.experiment),
            ("run", &self.run),
            ("session", &self.session),
            ("model", &self.model),
            ("provider", &self.provider),
            ("upstream", &self.upstream),
            ("operation", &self.operation),
            ("status", &self.status),
            ("user", &self.user),
            ("tag", &self.tag),
            ("trace", &self.trace),
            ("since", &self.since),
            ("until", &self.until),
            ("min_cost", &self.min_cost),
            ("min_duration", &self.min_duration),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}
