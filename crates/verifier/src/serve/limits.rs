//! The limits of a listener, each with its reason.

use std::time::Duration;

use crate::server::HANDSHAKE_TIMEOUT;

/// How much of itself a listener gives to its callers (Invariant 10: every limit is explicit).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections in all; the next is closed at once. Default 10,000, about 1 GB of TLS buffers at worst.
    pub connections: usize,
    /// Open connections of one source (an IPv4 address, an IPv6 /64); the next is closed at once. Default 2,500: a
    /// fleet behind one address still fits, and no source can take more than a quarter.
    pub connections_per_source: usize,
    /// Handshakes at once in all; more wait for their turn. Default 256: each costs CPU, not time.
    pub handshakes: usize,
    /// Handshakes at once of one source; more wait behind each other and in nobody else's way. Default 64.
    pub handshakes_per_source: usize,
    /// How long a handshake may take, waiting included. Default 10 s.
    pub handshake_timeout: Duration,
    /// How long a caller may take to send its next request's headers, so also how long an HTTP/1 connection may idle.
    /// Default 30 s.
    pub header_timeout: Duration,
    /// Size of a request's headers, in octets. Default 16 KiB, never below the 8 KiB hyper insists on.
    pub header_bytes: u32,
    /// Number of headers in an HTTP/1 request. Default 64.
    pub headers: usize,
    /// Requests at once on one HTTP/2 connection. Default 64.
    pub streams: u32,
    /// How long a connection may live before it is asked to end. Default 1 h, less where the peer's certificate ends.
    pub connection_age: Duration,
    /// How long requests under way may take to finish once their connection or the server ends. Default 10 s.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_source: 2_500,
            handshakes: 256,
            handshakes_per_source: 64,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            header_timeout: Duration::from_secs(30),
            header_bytes: 16 * 1024,
            headers: 64,
            streams: 64,
            connection_age: Duration::from_secs(3600),
            drain: Duration::from_secs(10),
        }
    }
}
