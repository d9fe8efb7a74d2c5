//! What becomes of messages: the library, beside a second implementation of the contract.

mod contract;
mod corpus;
mod extremes;
mod framing;
mod parallel;
mod properties;
mod resume;
mod trace;
