//! What the tests stand on: a raw-socket `Peer` for either end of the wire, a scripted `Upstream`, and a
//! `Proxy` that listens on a port of its own and shows what it journalled.

pub(crate) mod peer;
pub(crate) mod running;
pub(crate) mod tap;

pub(crate) use self::{
    peer::{Peer, Upstream, within},
    tap::{Proxy, Settings},
};
