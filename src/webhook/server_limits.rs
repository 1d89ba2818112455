//! The limits of a server's connections: their number, sizes and times.

use std::time::Duration;

use crate::limits;

/// The limits of a server's connections.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Most open connections.
    pub max_connections: usize,
    /// Share of the files that the process may have open which connections may take: one in `fd_divisor`.
    pub fd_divisor: usize,
    /// Most bytes of the head of a request, and of one read; at least 8 KiB.
    pub buffer_bytes: usize,
    /// Most bytes of one body.
    pub max_body_bytes: usize,
    /// Most bytes of all bodies in memory.
    pub max_total_body_bytes: usize,
    /// Most time for the TLS handshake; without TLS, for the first byte.
    pub handshake_timeout: Duration,
    /// Most time for the head of a request, from its first byte.
    pub head_timeout: Duration,
    /// Most time without a request.
    ///
    /// Longer than the 90 seconds after which an API server closes a connection itself, so that it does not send a
    /// request on a connection that is being closed here.
    pub idle_timeout: Duration,
    /// Most time for a body and the decision on it, and again for the response.
    pub request_timeout: Duration,
    /// Time for which a stopping server still accepts connections, each for one response.
    ///
    /// API servers and proxies observe late that the endpoint is gone.
    pub shutdown_delay: Duration,
    /// Most time for the requests that are in flight after that.
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
    /// Returns the limits of probes and metrics, whose requests are small and quickly answered.
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
