//! What is known of one request for a page: its route, its client, and the experiments it takes part in.
//! What a client sends is never trusted by itself; an unknown value counts as absent.

pub mod window;

pub mod region;

pub mod route;

pub mod context;

pub mod reader;

pub mod programs;

pub mod experiment;

pub mod side;
