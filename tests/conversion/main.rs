//! What becomes of messages: the library, beside a second implementation of the contract.

mod contract;
mod corpus;
mod extremes;
mod framing;
mod large;
mod parallel;
mod properties;
mod renames;
mod resume;
mod trace;
