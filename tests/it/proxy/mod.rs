//! The data path, byte by byte.

mod asking;
mod bodies;
mod endings;
mod faces;
mod failures;
mod heads;
mod http2;
mod routing;
mod shutdown;
mod tunnels;
