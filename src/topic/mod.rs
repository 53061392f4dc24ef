//! Topic Names, Topic Filters, and one tree of levels for subscriptions and retained messages.

mod arena;
mod buckets;
mod edges;
pub mod filter;
mod level;
mod matching;
pub mod name;
pub mod tree;
mod walk;
