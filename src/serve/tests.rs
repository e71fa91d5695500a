//! The door as a client meets it, over a real socket.

mod connections;
mod reading;
mod uploads;
mod world;
