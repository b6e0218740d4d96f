//! What several replicas of one site decide together: the order of purges and fetches, who fetches, whether the shared store is
//! asked, and who is there.
//! Only decided here: `engine/shared` carries it out for one replica, `edge/cluster` tells the others.

pub mod order;

pub mod lease;

pub mod health;

pub mod wait;

pub mod wanted;

pub mod members;

pub mod report;

#[cfg(test)]
mod tests;
