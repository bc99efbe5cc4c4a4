//! The data path, byte by byte.

mod asking;
mod bodies;
mod endings;
mod faces;
mod failures;
mod heads;
mod routing;
mod shutdown;
mod tunnels;
