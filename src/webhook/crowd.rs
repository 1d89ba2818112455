//! Who is connected, what each does and holds, and so who goes when there is no room.
//!
//! Room is given up by those who are of least use, and never by turning newcomers away: whoever opens connections in
//! masses pushes out only his own. This is bookkeeping alone; the time is told to it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Limits;

/// A connection, numbered in the order of arrival.
pub(super) type Number = u64;

/// What a connection does, in the order of its worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// TLS is agreed on.
    Greeting,
    /// Nothing.
    Waiting,
    /// The head of a request arrives.
    Head,
    /// Its body arrives.
    Body,
    /// It is decided on.
    Decision,
    /// The answer leaves.
    Answer,
}

/// All connections; `E` ends one.
#[derive(Debug)]
pub(super) struct Crowd<E> {
    guests: BTreeMap<Number, Guest<E>>,
    arrived: Number,
    bytes: usize,
}

#[derive(Debug)]
struct Guest<E> {
    phase: Phase,
    since: Instant,
    /// Whether it has ever had an answer.
    served: bool,
    /// What it holds of a body, in bytes.
    bytes: usize,
    end: Option<E>,
}

/// There is no room for a body.
#[derive(Debug)]
pub(super) struct NoRoom;

impl<E> Crowd<E> {
    pub(super) fn new() -> Self {
        Self { guests: BTreeMap::new(), arrived: 0, bytes: 0 }
    }

    /// Somebody comes. Returns the number, and who has to go.
    pub(super) fn enter(&mut self, now: Instant, limits: &Limits) -> (Number, Vec<E>) {
        let mut leaving = Vec::new();
        while self.guests.len() >= limits.connections.max(1) {
            leaving.extend(self.least_useful());
        }
        self.arrived += 1;
        self.guests
            .insert(self.arrived, Guest { phase: Phase::Greeting, since: now, served: false, bytes: 0, end: None });
        (self.arrived, leaving)
    }

    /// How to end a connection, if it has not ended by itself.
    pub(super) fn arm(&mut self, number: Number, end: E) {
        if let Some(guest) = self.guests.get_mut(&number) {
            guest.end = Some(end);
        }
    }

    /// Somebody has gone.
    pub(super) fn leave(&mut self, number: Number) -> Option<E> {
        let Guest { bytes, end, .. } = self.guests.remove(&number)?;
        self.bytes -= bytes;
        end
    }

    /// Whose loss matters least: first those who have never had an answer and do not wait for one, then those who do
    /// nothing; those who have been so for longest first.
    pub(super) fn least_useful(&mut self) -> Option<E> {
        let worth = |guest: &Guest<E>| {
            let stranger = !guest.served && guest.phase < Phase::Body;
            (!stranger, if stranger { Phase::Greeting } else { guest.phase }, guest.since)
        };
        let (&number, _) = self.guests.iter().min_by_key(|(_, guest)| worth(guest))?;
        self.leave(number)
    }

    /// A connection goes over to another phase. Reading leads to a request, and writing away from one, only if there was
    /// nothing else to do.
    pub(super) fn turn(&mut self, number: Number, now: Instant, phase: Phase) {
        let Some(guest) = self.guests.get_mut(&number) else { return };
        match (guest.phase, phase) {
            (Phase::Greeting | Phase::Answer, Phase::Waiting) | (Phase::Waiting, Phase::Head) => {}
            (_, Phase::Waiting | Phase::Head) => return,
            (_, Phase::Answer) => {
                guest.served = true;
                self.bytes -= std::mem::take(&mut guest.bytes);
            }
            (_, Phase::Greeting | Phase::Body | Phase::Decision) => {}
        }
        (guest.phase, guest.since) = (phase, now);
    }

    /// A body needs so many bytes more. Returns who has to go for that: those whose bodies have cost most, in bytes and
    /// time, and have yet to arrive in full. A body that comes at the pace of a network costs next to nothing.
    ///
    /// # Errors
    /// When it would be the one to go, or those that are being decided on hold all there is.
    pub(super) fn hold(
        &mut self,
        number: Number,
        bytes: usize,
        now: Instant,
        limits: &Limits,
    ) -> Result<Vec<E>, NoRoom> {
        let mut leaving = Vec::new();
        while self.bytes + bytes > limits.bodies {
            let arriving = self.guests.iter().filter(|(_, guest)| guest.phase == Phase::Body && guest.bytes > 0);
            let cost = |guest: &Guest<E>| now.duration_since(guest.since).as_nanos().max(1) * guest.bytes as u128;
            let (&costliest, _) = arriving.max_by_key(|(_, guest)| cost(guest)).ok_or(NoRoom)?;
            if costliest == number {
                return Err(NoRoom);
            }
            leaving.extend(self.leave(costliest));
        }
        if let Some(guest) = self.guests.get_mut(&number) {
            guest.bytes += bytes;
            self.bytes += bytes;
        }
        Ok(leaving)
    }

    /// Who has been in one phase for longer than that may take.
    pub(super) fn overdue(&mut self, now: Instant, limits: &Limits) -> Vec<E> {
        let late = |guest: &Guest<E>| now.duration_since(guest.since) >= guest.phase.limit(limits);
        let late: Vec<_> = self.guests.iter().filter(|(_, guest)| late(guest)).map(|(&number, _)| number).collect();
        late.into_iter().filter_map(|number| self.leave(number)).collect()
    }
}

impl Phase {
    fn limit(self, limits: &Limits) -> Duration {
        match self {
            Self::Greeting => limits.handshake,
            Self::Waiting => limits.idle,
            Self::Head => limits.head,
            // Those who wait for an answer are told when it takes too long; this is for when they cannot be.
            Self::Body | Self::Decision => limits.request * 2,
            Self::Answer => limits.request,
        }
    }
}
