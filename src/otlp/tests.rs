//! Spans as they leave, and deliveries to collectors that misbehave.

mod collector;
mod delivery;
mod spans;
