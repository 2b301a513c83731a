//! (being written)

pub mod qxl;
