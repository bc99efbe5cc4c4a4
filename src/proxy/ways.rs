//! What of the data path may change while it runs: where calls go, time-outs, limits, who may call. A call keeps
//! the ways it began with; a connection takes each call by those that are in force then.

use std::sync::Arc;

use super::{Config, Guard, Upload, serve::Server, serve::server};
use crate::{
    model::Error,
    upstream::{self, Client, Upstreams},
};

/// Made whole or not at all, before any of it is in force.
pub struct Ways {
    pub(super) config: Config,
    pub(super) upstreams: Upstreams,
    pub(super) client: Client<Upload>,
    pub(super) guard: Guard,
    pub(super) server: Arc<Server>,
}

impl std::fmt::Debug for Ways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ways")
            .field("config", &self.config)
            .field("upstreams", &self.upstreams)
            .finish_non_exhaustive()
    }
}

impl Ways {
    pub fn new(config: Config, upstreams: Upstreams) -> Result<Self, Error> {
        let client = upstream::client::client(&config.client, &upstreams)?;
        Ok(Self::with(config, upstreams, client))
    }

    /// New ways that keep the connections of these ones where they serve as well.
    pub fn changed(&self, config: Config, upstreams: Upstreams) -> Result<Self, Error> {
        let alike =
            config.client == self.config.client && upstreams.is_secure() == self.upstreams.is_secure();
        if alike {
            Ok(Self::with(config, upstreams, self.client.clone()))
        } else {
            Self::new(config, upstreams)
        }
    }

    fn with(config: Config, upstreams: Upstreams, client: Client<Upload>) -> Self {
        Self {
            guard: Guard::new(&config.guard),
            server: Arc::new(server(&config)),
            config,
            upstreams,
            client,
        }
    }
}
