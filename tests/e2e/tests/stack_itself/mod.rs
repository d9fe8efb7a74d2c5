//! The servers themselves, and that nothing of them is left behind.

mod descendants;
mod leftovers;
mod proxy;
mod receiver;
mod servers;
mod template;
