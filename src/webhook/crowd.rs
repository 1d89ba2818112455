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
    /// TLS is agreed on; without TLS, nothing has come yet.
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
        let leads_there = match phase {
            Phase::Waiting => matches!(guest.phase, Phase::Greeting | Phase::Answer),
            Phase::Head => guest.phase == Phase::Waiting,
            Phase::Greeting | Phase::Body | Phase::Decision | Phase::Answer => true,
        };
        if leads_there {
            (guest.phase, guest.since) = (phase, now);
        }
        if phase == Phase::Answer {
            guest.served = true;
            self.bytes -= std::mem::take(&mut guest.bytes);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { connections: 4, bodies: 100, ..Limits::default() }
    }

    /// A crowd whose members leave by their number; they come a second apart and take these turns at once.
    struct Story {
        crowd: Crowd<Number>,
        now: Instant,
    }

    impl Story {
        fn new() -> Self {
            Self { crowd: Crowd::new(), now: Instant::now() }
        }

        fn enters(&mut self, turns: &[Phase]) -> (Number, Vec<Number>) {
            let (number, leaving) = self.crowd.enter(self.now, &limits());
            self.crowd.arm(number, number);
            for phase in turns {
                self.crowd.turn(number, self.now, *phase);
            }
            self.passes(1);
            (number, leaving)
        }

        fn holds(&mut self, number: Number, bytes: usize) -> Result<Vec<Number>, ()> {
            self.crowd.hold(number, bytes, self.now, &limits()).map_err(|NoRoom| ())
        }

        fn passes(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        fn phase(&self, number: Number) -> Phase {
            self.crowd.guests[&number].phase
        }
    }

    use Phase::{Answer, Body, Decision, Greeting, Head, Waiting};

    /// A request from the first byte to the answer.
    const REQUEST: [Phase; 6] = [Waiting, Head, Body, Decision, Answer, Waiting];

    #[test]
    fn who_goes_when_it_is_full() {
        // Whoever comes first in time, those of this order in worth.
        let order: [&[Phase]; 4] = [&[], &REQUEST, &[Waiting, Head, Body], &[Waiting, Head, Body, Decision]];
        for first in 0..order.len() {
            let mut story = Story::new();
            let mut numbers = [0; 4];
            for step in 0..order.len() {
                let index = (first + step) % order.len();
                numbers[index] = story.enters(order[index]).0;
            }
            let gone: Vec<_> = std::iter::from_fn(|| story.crowd.least_useful()).collect();
            assert_eq!(gone, numbers, "first came {first}");
        }
    }

    #[test]
    fn of_equals_the_one_who_has_been_so_for_longest_goes() {
        for turns in [&[][..], &[Waiting], &[Waiting, Head], &REQUEST, &[Waiting, Head, Body]] {
            let mut story = Story::new();
            let numbers: Vec<_> = (0..4).map(|_| story.enters(turns).0).collect();
            assert_eq!(story.enters(turns).1, [numbers[0]], "{turns:?}");
        }
        // To be served once more makes young again; to send half a head, and never more, does not make useful.
        let mut story = Story::new();
        let numbers: Vec<_> =
            [&REQUEST[..], &REQUEST, &[Waiting], &[Waiting, Head]].iter().map(|turns| story.enters(turns).0).collect();
        for phase in &REQUEST[1..] {
            story.crowd.turn(numbers[0], story.now, *phase);
        }
        let gone: Vec<_> = std::iter::from_fn(|| story.crowd.least_useful()).collect();
        assert_eq!(gone, [numbers[2], numbers[3], numbers[1], numbers[0]]);
    }

    #[test]
    fn reading_and_writing_change_a_phase_only_where_they_begin_or_end_a_request() {
        let mut story = Story::new();
        let (number, _) = story.enters(&[Waiting]);
        for (turn, phase) in [
            (Waiting, Waiting),
            (Head, Head),
            (Waiting, Head),
            (Body, Body),
            (Head, Body),
            (Waiting, Body),
            (Decision, Decision),
            (Head, Decision),
            (Waiting, Decision),
            (Answer, Answer),
            (Head, Answer),
            (Waiting, Waiting),
            (Head, Head),
        ] {
            story.crowd.turn(number, story.now, turn);
            assert_eq!(story.phase(number), phase, "after {turn:?}");
        }
    }

    #[test]
    fn the_body_that_has_cost_most_makes_room_and_a_whole_one_never() {
        let mut story = Story::new();
        let (whole, _) = story.enters(&[Waiting, Head, Body]);
        assert_eq!(story.holds(whole, 30), Ok(vec![]));
        story.crowd.turn(whole, story.now, Decision);
        let (small, _) = story.enters(&[Waiting, Head, Body]);
        assert_eq!(story.holds(small, 2), Ok(vec![]));
        story.passes(5);
        let (large, _) = story.enters(&[Waiting, Head, Body]);
        assert_eq!(story.holds(large, 60), Ok(vec![]));
        story.passes(1);
        // Large and two seconds old costs more than small and eight seconds old.
        let (new, _) = story.enters(&[Waiting, Head, Body]);
        assert_eq!(story.holds(new, 10), Ok(vec![large]));
        assert_eq!(story.holds(new, 58), Ok(vec![]));
        assert_eq!(story.crowd.bytes, 100);
        // Now the newest is the costliest itself.
        assert_eq!(story.holds(new, 1), Err(()));
        story.crowd.turn(whole, story.now, Answer);
        assert_eq!(story.holds(new, 1), Ok(vec![]));
        for number in [whole, small, new, large] {
            story.crowd.leave(number);
        }
        assert_eq!((story.crowd.bytes, story.crowd.guests.len()), (0, 0));
    }

    #[test]
    fn nobody_makes_room_for_a_body_that_nobody_could() {
        let mut story = Story::new();
        let (whole, _) = story.enters(&[Waiting, Head, Body]);
        assert_eq!(story.holds(whole, 90), Ok(vec![]));
        story.crowd.turn(whole, story.now, Decision);
        let (new, _) = story.enters(&[Waiting, Head, Body]);
        assert_eq!(story.holds(new, 11), Err(()));
        assert_eq!(story.holds(new, 10), Ok(vec![]));
    }

    #[test]
    fn each_phase_has_its_time() {
        let limits = limits();
        for (turns, phase, limit) in [
            (&[][..], Greeting, limits.handshake),
            (&[Waiting], Waiting, limits.idle),
            (&[Waiting, Head], Head, limits.head),
            (&[Waiting, Head, Body], Body, limits.request * 2),
            (&[Waiting, Head, Body, Decision], Decision, limits.request * 2),
            (&[Waiting, Head, Body, Decision, Answer], Answer, limits.request),
        ] {
            let mut story = Story::new();
            let came = story.now;
            let (number, _) = story.enters(turns);
            assert_eq!(story.phase(number), phase);
            assert!(story.crowd.overdue(came + limit - Duration::from_millis(1), &limits).is_empty(), "{phase:?}");
            assert_eq!(story.crowd.overdue(came + limit, &limits), [number], "{phase:?}");
        }
    }
}
