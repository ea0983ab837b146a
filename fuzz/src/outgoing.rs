//! What the configuration knows of servers: the allow-list, which is pure. Requests are made elsewhere.

#[path = "../../host/src/outgoing/address.rs"]
#[allow(dead_code)]
mod address;
#[path = "../../host/src/outgoing/allow.rs"]
#[allow(dead_code)]
mod allow;

pub use allow::Origin;
