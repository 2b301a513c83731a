//! Sockets and the I/O thread.
//!
//! `io_thread` owns the listeners, every link under way and the connections whose
//! home it is; `endpoint` is what both homes do with an established socket;
//! `crossing` carries messages between the two threads; `layers`, `tls`, `websocket` and
//! `sasl` wrap and unwrap bytes between a socket and its channel. Nothing here knows
//! what a channel says, and nothing here calls the host.

pub mod crossing;
pub mod endpoint;
mod io_connection;
pub mod io_thread;
pub mod keys;
pub mod layers;
pub mod listener;
mod pending_link;
pub mod policy;
mod poller;
mod press_thread;
pub mod reactor;
pub mod sasl;
pub mod statistics;
pub mod stream;
pub mod sys;
pub mod tls;
pub mod websocket;
