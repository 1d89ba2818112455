//! Table of open connections with their phases and buffered bytes.
//!
//! When a limit is reached the least useful connection is evicted instead of rejecting the new one, so a client that
//! floods the server evicts its own connections first. The table is pure bookkeeping: callers pass in the time.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::ServerLimits;

/// The number of a connection, in the order of arrival.
pub(super) type ConnectionId = u64;

/// The phase of a connection, from the least to the most useful one.
///
/// Each has a limit of its own. `header_read_timeout` of hyper replaces none: it is one limit for idle time and head,
/// and does not run before the first byte arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ConnectionPhase {
    /// The TLS handshake is under way; without TLS, no byte has arrived.
    Handshake,
    /// There is no request.
    Idle,
    /// The head of a request is arriving.
    Head,
    /// The body of a request is arriving.
    Body,
    /// The request is being decided.
    Decision,
    /// The response is being written.
    Response,
}

/// The open connections of a server; an `E` aborts one of them.
#[derive(Debug)]
pub(super) struct ConnectionTable<E> {
    entries: BTreeMap<ConnectionId, ConnEntry<E>>,
    last_id: ConnectionId,
    bytes: usize,
}

#[derive(Debug)]
struct ConnEntry<E> {
    phase: ConnectionPhase,
    since: Instant,
    /// Whether a response has ever been made.
    served: bool,
    /// The bytes reserved for a body.
    bytes: usize,
    end: Option<E>,
}

/// All bytes for bodies are taken, and no other connection is to be evicted for more.
#[derive(Debug)]
pub(super) struct BodyLimitReached;

impl<E> ConnectionTable<E> {
    /// Returns an empty table.
    pub(super) fn new() -> Self {
        Self { entries: BTreeMap::new(), last_id: 0, bytes: 0 }
    }

    /// Adds a connection; returns its number and the connections that are evicted for it.
    pub(super) fn insert(&mut self, now: Instant, limits: &ServerLimits) -> (ConnectionId, Vec<E>) {
        let mut evicted = Vec::new();
        while self.entries.len() >= limits.max_connections.max(1) {
            evicted.extend(self.pop_eviction_candidate());
        }
        self.last_id += 1;
        self.entries.insert(
            self.last_id,
            ConnEntry { phase: ConnectionPhase::Handshake, since: now, served: false, bytes: 0, end: None },
        );
        (self.last_id, evicted)
    }

    /// Sets what aborts a connection, unless the connection has ended.
    pub(super) fn set_abort_handle(&mut self, id: ConnectionId, end: E) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.end = Some(end);
        }
    }

    /// Removes a connection and returns what aborts it.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<E> {
        let ConnEntry { bytes, end, .. } = self.entries.remove(&id)?;
        self.bytes -= bytes;
        end
    }

    /// Removes the least useful connection and returns what aborts it.
    ///
    /// Connections without a response so far and without a complete head come first, then idle ones, then later phases;
    /// of equals the one that has been in its phase for longest.
    pub(super) fn pop_eviction_candidate(&mut self) -> Option<E> {
        let worth = |entry: &ConnEntry<E>| {
            let unserved = !entry.served && entry.phase < ConnectionPhase::Body;
            (!unserved, if unserved { ConnectionPhase::Handshake } else { entry.phase }, entry.since)
        };
        let (&id, _) = self.entries.iter().min_by_key(|(_, entry)| worth(entry))?;
        self.remove(id)
    }

    /// Moves a connection to another phase.
    ///
    /// `Head` (bytes were read) and `Idle` (bytes were flushed) apply only where they begin or end a request.
    pub(super) fn set_phase(&mut self, id: ConnectionId, now: Instant, phase: ConnectionPhase) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let leads_there = match phase {
            ConnectionPhase::Idle => matches!(entry.phase, ConnectionPhase::Handshake | ConnectionPhase::Response),
            ConnectionPhase::Head => entry.phase == ConnectionPhase::Idle,
            ConnectionPhase::Handshake
            | ConnectionPhase::Body
            | ConnectionPhase::Decision
            | ConnectionPhase::Response => true,
        };
        if leads_there {
            (entry.phase, entry.since) = (phase, now);
        }
        if phase == ConnectionPhase::Response {
            entry.served = true;
            self.bytes -= std::mem::take(&mut entry.bytes);
        }
    }

    /// Reserves more bytes for a connection's body; returns the connections that are evicted for them.
    ///
    /// Evicted are connections with incomplete bodies, the highest product of bytes and time first. A body that comes
    /// at the speed of a network costs next to nothing.
    ///
    /// # Errors
    /// When the connection itself would be evicted, or all bytes are held by requests that are being decided.
    pub(super) fn reserve_bytes(
        &mut self,
        id: ConnectionId,
        bytes: usize,
        now: Instant,
        limits: &ServerLimits,
    ) -> Result<Vec<E>, BodyLimitReached> {
        let mut evicted = Vec::new();
        while self.bytes + bytes > limits.max_total_body_bytes {
            let arriving =
                self.entries.iter().filter(|(_, entry)| entry.phase == ConnectionPhase::Body && entry.bytes > 0);
            let cost = |entry: &ConnEntry<E>| now.duration_since(entry.since).as_nanos().max(1) * entry.bytes as u128;
            let (&costliest, _) = arriving.max_by_key(|(_, entry)| cost(entry)).ok_or(BodyLimitReached)?;
            if costliest == id {
                return Err(BodyLimitReached);
            }
            evicted.extend(self.remove(costliest));
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.bytes += bytes;
            self.bytes += bytes;
        }
        Ok(evicted)
    }

    /// Removes the connections that exceed the time of their phase, and returns what aborts them.
    pub(super) fn take_expired(&mut self, now: Instant, limits: &ServerLimits) -> Vec<E> {
        let late = |entry: &ConnEntry<E>| now.duration_since(entry.since) >= entry.phase.timeout(limits);
        let late: Vec<_> = self.entries.iter().filter(|(_, entry)| late(entry)).map(|(&number, _)| number).collect();
        late.into_iter().filter_map(|id| self.remove(id)).collect()
    }
}

impl ConnectionPhase {
    fn timeout(self, limits: &ServerLimits) -> Duration {
        match self {
            Self::Handshake => limits.handshake_timeout,
            Self::Idle => limits.idle_timeout,
            Self::Head => limits.head_timeout,
            // After `request_timeout` there is a response about it; this is for connections that do not read it.
            Self::Body | Self::Decision => limits.request_timeout * 2,
            Self::Response => limits.request_timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> ServerLimits {
        ServerLimits { max_connections: 4, max_total_body_bytes: 100, ..ServerLimits::default() }
    }

    /// A table of connections that arrive a second apart and go through their phases at once.
    struct Scenario {
        table: ConnectionTable<ConnectionId>,
        now: Instant,
    }

    impl Scenario {
        fn new() -> Self {
            Self { table: ConnectionTable::new(), now: Instant::now() }
        }

        fn insert(&mut self, turns: &[ConnectionPhase]) -> (ConnectionId, Vec<ConnectionId>) {
            let (number, evicted) = self.table.insert(self.now, &limits());
            self.table.set_abort_handle(number, number);
            for phase in turns {
                self.table.set_phase(number, self.now, *phase);
            }
            self.advance(1);
            (number, evicted)
        }

        fn reserve(&mut self, number: ConnectionId, bytes: usize) -> Result<Vec<ConnectionId>, ()> {
            self.table.reserve_bytes(number, bytes, self.now, &limits()).map_err(|BodyLimitReached| ())
        }

        fn advance(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        fn phase(&self, number: ConnectionId) -> ConnectionPhase {
            self.table.entries[&number].phase
        }
    }

    use ConnectionPhase::{Body, Decision, Handshake, Head, Idle, Response};

    /// A request from the first byte to the answer.
    const REQUEST: [ConnectionPhase; 6] = [Idle, Head, Body, Decision, Response, Idle];

    #[test]
    fn which_connection_is_evicted_when_the_table_is_full() {
        // Phases from the least to the most useful connection, whichever of them arrives first.
        let order: [&[ConnectionPhase]; 4] = [&[], &REQUEST, &[Idle, Head, Body], &[Idle, Head, Body, Decision]];
        for first in 0..order.len() {
            let mut scenario = Scenario::new();
            let mut numbers = [0; 4];
            for step in 0..order.len() {
                let index = (first + step) % order.len();
                numbers[index] = scenario.insert(order[index]).0;
            }
            let evicted: Vec<_> = std::iter::from_fn(|| scenario.table.pop_eviction_candidate()).collect();
            assert_eq!(evicted, numbers, "first came {first}");
        }
    }

    #[test]
    fn of_equals_the_one_that_has_been_so_for_longest_is_evicted() {
        for turns in [&[][..], &[Idle], &[Idle, Head], &REQUEST, &[Idle, Head, Body]] {
            let mut scenario = Scenario::new();
            let numbers: Vec<_> = (0..4).map(|_| scenario.insert(turns).0).collect();
            assert_eq!(scenario.insert(turns).1, [numbers[0]], "{turns:?}");
        }
        // Another response resets the time; half a head does not make a connection more useful.
        let mut scenario = Scenario::new();
        let numbers: Vec<_> =
            [&REQUEST[..], &REQUEST, &[Idle], &[Idle, Head]].iter().map(|turns| scenario.insert(turns).0).collect();
        for phase in &REQUEST[1..] {
            scenario.table.set_phase(numbers[0], scenario.now, *phase);
        }
        let evicted: Vec<_> = std::iter::from_fn(|| scenario.table.pop_eviction_candidate()).collect();
        assert_eq!(evicted, [numbers[2], numbers[3], numbers[1], numbers[0]]);
    }

    #[test]
    fn reading_and_writing_change_a_phase_only_where_they_begin_or_end_a_request() {
        let mut scenario = Scenario::new();
        let (number, _) = scenario.insert(&[Idle]);
        for (turn, phase) in [
            (Idle, Idle),
            (Head, Head),
            (Idle, Head),
            (Body, Body),
            (Head, Body),
            (Idle, Body),
            (Decision, Decision),
            (Head, Decision),
            (Idle, Decision),
            (Response, Response),
            (Head, Response),
            (Idle, Idle),
            (Head, Head),
        ] {
            scenario.table.set_phase(number, scenario.now, turn);
            assert_eq!(scenario.phase(number), phase, "after {turn:?}");
        }
    }

    #[test]
    fn the_costliest_body_is_evicted_and_a_complete_one_never() {
        let mut scenario = Scenario::new();
        let (whole, _) = scenario.insert(&[Idle, Head, Body]);
        assert_eq!(scenario.reserve(whole, 30), Ok(vec![]));
        scenario.table.set_phase(whole, scenario.now, Decision);
        let (small, _) = scenario.insert(&[Idle, Head, Body]);
        assert_eq!(scenario.reserve(small, 2), Ok(vec![]));
        scenario.advance(5);
        let (large, _) = scenario.insert(&[Idle, Head, Body]);
        assert_eq!(scenario.reserve(large, 60), Ok(vec![]));
        scenario.advance(1);
        // Large and two seconds old costs more than small and eight seconds old.
        let (new, _) = scenario.insert(&[Idle, Head, Body]);
        assert_eq!(scenario.reserve(new, 10), Ok(vec![large]));
        assert_eq!(scenario.reserve(new, 58), Ok(vec![]));
        assert_eq!(scenario.table.bytes, 100);
        // Now the newest is the costliest itself.
        assert_eq!(scenario.reserve(new, 1), Err(()));
        scenario.table.set_phase(whole, scenario.now, Response);
        assert_eq!(scenario.reserve(new, 1), Ok(vec![]));
        for number in [whole, small, new, large] {
            scenario.table.remove(number);
        }
        assert_eq!((scenario.table.bytes, scenario.table.entries.len()), (0, 0));
    }

    #[test]
    fn no_connection_is_evicted_for_a_body_that_would_not_fit_even_then() {
        let mut scenario = Scenario::new();
        let (whole, _) = scenario.insert(&[Idle, Head, Body]);
        assert_eq!(scenario.reserve(whole, 90), Ok(vec![]));
        scenario.table.set_phase(whole, scenario.now, Decision);
        let (new, _) = scenario.insert(&[Idle, Head, Body]);
        assert_eq!(scenario.reserve(new, 11), Err(()));
        assert_eq!(scenario.reserve(new, 10), Ok(vec![]));
    }

    #[test]
    fn each_phase_has_its_time() {
        let limits = limits();
        for (turns, phase, limit) in [
            (&[][..], Handshake, limits.handshake_timeout),
            (&[Idle], Idle, limits.idle_timeout),
            (&[Idle, Head], Head, limits.head_timeout),
            (&[Idle, Head, Body], Body, limits.request_timeout * 2),
            (&[Idle, Head, Body, Decision], Decision, limits.request_timeout * 2),
            (&[Idle, Head, Body, Decision, Response], Response, limits.request_timeout),
        ] {
            let mut scenario = Scenario::new();
            let came = scenario.now;
            let (number, _) = scenario.insert(turns);
            assert_eq!(scenario.phase(number), phase);
            assert!(
                scenario.table.take_expired(came + limit - Duration::from_millis(1), &limits).is_empty(),
                "{phase:?}"
            );
            assert_eq!(scenario.table.take_expired(came + limit, &limits), [number], "{phase:?}");
        }
    }
}
