//! Rules of the device, one a test; random sequences against a model are in
//! `tests/chardev_model.rs`.
