//! The door as a client meets it, over a real socket.

mod connections;
mod ranges;
mod reading;
mod status;
mod uploads;
mod world;
