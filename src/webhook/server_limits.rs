//! The limits of a server's connections: their number, sizes and times.

use std::time::Duration;

use crate::limits;

/// What a server gives to its clients at most.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Connections.
    pub max_connections: usize,
    /// The part of the files that the process may have open which connections take at most: one in so many.
    pub fd_divisor: usize,
    /// Bytes of the head of a request, and how much is read at once; at least 8 KiB.
    pub buffer_bytes: usize,
    /// Bytes of one body.
    pub max_body_bytes: usize,
    /// Bytes of all bodies in memory.
    pub max_total_body_bytes: usize,
    /// Time for the TLS handshake; without TLS, for the first byte.
    pub handshake_timeout: Duration,
    /// Time for the head of a request, from its first byte.
    pub head_timeout: Duration,
    /// Time without a request. Longer than the 90 seconds after which an API server closes a connection itself: a request
    /// must not meet a closed door.
    pub idle_timeout: Duration,
    /// Time for a body and the decision on it, and again for the answer.
    pub request_timeout: Duration,
    /// How long connections are still accepted when the server is to stop, each for one answer: the news that it stops
    /// takes time to get around.
    pub shutdown_delay: Duration,
    /// Time for the requests that are in flight then.
    pub drain_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            max_connections: limits::REVIEW_CONNECTIONS.max,
            fd_divisor: 2,
            buffer_bytes: limits::REVIEW_HEAD.max,
            max_body_bytes: limits::REVIEW_BODY.max,
            max_total_body_bytes: limits::REVIEW_BODIES.max,
            handshake_timeout: Duration::from_secs(5),
            head_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_mins(2),
            request_timeout: Duration::from_secs(10),
            shutdown_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(5),
        }
    }
}

impl ServerLimits {
    /// The limits of probes and metrics: little is asked there, and soon answered.
    #[must_use]
    pub fn admin() -> Self {
        Self {
            max_connections: limits::ADMIN_CONNECTIONS.max,
            fd_divisor: 8,
            buffer_bytes: limits::ADMIN_HEAD.max,
            max_body_bytes: limits::ADMIN_BODY.max,
            max_total_body_bytes: limits::ADMIN_CONNECTIONS.max * limits::ADMIN_BODY.max,
            handshake_timeout: Duration::from_secs(2),
            head_timeout: Duration::from_secs(2),
            drain_timeout: Duration::ZERO,
            ..Self::default()
        }
    }
}
