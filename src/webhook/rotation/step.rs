//! What to do next.

use std::time::Duration;

use jiff::Timestamp;

use super::{Authorities, Content, Generation, Kept, Settings};

/// How long to wait at most before looking again: clocks are set.
const LOOK: Duration = Duration::from_hours(1);

/// What one replica sees, however old.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The Secret.
    pub secret: &'a Kept,
    /// The entries of the webhook configuration that name our service.
    pub entries: &'a [Entry],
    /// For how long, at least, the entries are known to be as they are.
    pub quiet: Duration,
    /// What this replica serves.
    pub served: Option<&'a Generation>,
    /// The time of day.
    pub now: Timestamp,
}

/// An entry of the webhook configuration.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name, which no other entry has.
    pub name: String,
    /// The CAs of ours in its `caBundle`.
    pub trusted: Authorities,
    /// What else is in there.
    pub flaw: Option<String>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write the Secret, unless it has changed since it was seen.
    Write {
        /// Its new content.
        content: Content,
        /// Why.
        cause: String,
        /// Whether somebody has damaged it.
        damaged: bool,
    },
    /// Write `caBundle` of these entries, unless the configuration has changed since it was seen.
    Announce {
        /// The names of the entries.
        entries: Vec<String>,
        /// The CAs.
        trusted: Authorities,
        /// Why.
        cause: String,
    },
    /// Look again after this time, or when something has changed.
    Wait(Duration),
}

/// What one replica does next. Each step rests only on what is in the view, and is guarded by its versions: of replicas
/// that take one step, one does.
///
/// # Errors
/// When no generation can be made; see [`Generation::new`].
pub fn step(view: &View<'_>, settings: &Settings) -> Result<Step, rcgen::Error> {
    let &View { secret: Kept { content: seen, flaws }, entries, .. } = view;
    let (content, turn) = turn(view, settings)?;
    if content != *seen || !flaws.is_empty() {
        let cause = if turn.is_empty() && flaws.is_empty() { trust_changed(&content, seen) } else { turn };
        let damaged = !flaws.is_empty();
        let cause = flaws.iter().cloned().chain((!cause.is_empty()).then_some(cause)).collect::<Vec<_>>().join("; ");
        return Ok(Step::Write { content, cause, damaged });
    }
    let differ = |entry: &&Entry| entry.trusted != content.trusted || entry.flaw.is_some();
    let differing: Vec<_> = entries.iter().filter(differ).collect();
    if let Some(first) = differing.first() {
        let cause = match &first.flaw {
            Some(flaw) => flaw.clone(),
            None if first.trusted.are_within(&content.trusted) => "a CA is to be trusted".to_owned(),
            None => "a CA has expired".to_owned(),
        };
        let entries = differing.iter().map(|entry| entry.name.clone()).collect();
        return Ok(Step::Announce { entries, trusted: content.trusted, cause });
    }
    Ok(Step::Wait(until_next(view, settings, &content)))
}

/// What is to be in the Secret, and whose turn it is, in words, if that changes.
fn turn(view: &View<'_>, settings: &Settings) -> Result<(Content, String), rcgen::Error> {
    let &View { secret: Kept { content: seen, .. }, entries, quiet, served, now } = view;
    let valid = |generation: Option<&Generation>| generation.filter(|it| it.is_valid(now)).cloned();
    let (kept, served, next) = (valid(seen.current.as_ref()), valid(served), valid(seen.next.as_ref()));
    let lost = kept.is_none();
    let mut trusted = seen.trusted.clone();
    for entry in entries {
        trusted.merge(&entry.trusted);
    }
    trusted.prune(now);

    let announced = |next: &Generation| entries.iter().all(|entry| entry.trusted.hold(next.authority()));
    let new = || Generation::new(&settings.names, settings.lifetime, now);
    let (current, next, turn) = match (kept.or(served), next) {
        (Some(_), Some(next)) if announced(&next) && quiet >= settings.settle() => (Some(next), None, TAKES_OVER),
        (Some(current), Some(next)) => (Some(current), Some(next), if lost { PUT_BACK } else { "" }),
        (Some(current), None) => match due(&current, lost, settings, now) {
            Some(why) => (Some(current), Some(new()?), why),
            None => (Some(current), None, ""),
        },
        (None, Some(next)) if trusted.are_only(next.authority()) => (Some(next), None, TAKES_OVER),
        (None, Some(next)) if announced(&next) && quiet >= settings.grace() => (Some(next), None, TAKES_OVER),
        (None, Some(next)) => (None, Some(next), ""),
        (None, None) if trusted.is_empty() => (Some(new()?), None, "the first certificate"),
        (None, None) => (None, Some(new()?), "no valid certificate here, but other replicas may serve one"),
    };
    for generation in [&current, &next].into_iter().flatten() {
        trusted.add(generation.authority());
    }
    Ok((Content { trusted, current, next }, turn.to_owned()))
}

const TAKES_OVER: &str = "the next certificate takes over";
const PUT_BACK: &str = "what is served was taken out and is put back";

/// Why a valid certificate needs a successor.
fn due(current: &Generation, lost: bool, settings: &Settings, now: Timestamp) -> Option<&'static str> {
    let (life, from) = current.life();
    let reasons = [
        (lost, "what is served was taken out: it is put back and gets a successor"),
        (life > settings.lifetime, "the certificate is valid for longer than it is to be: it gets a successor"),
        (!current.covers(&settings.names), "the certificate has not the names of the service: it gets a successor"),
        (now >= from, "two thirds of the certificate's life are over: it gets a successor"),
    ];
    reasons.into_iter().find_map(|(holds, reason)| holds.then_some(reason))
}

fn trust_changed(content: &Content, seen: &Content) -> String {
    let grows = seen.trusted.are_within(&content.trusted);
    if grows { "a CA that an entry trusts is missing" } else { "a CA has expired" }.to_owned()
}

/// When time alone gives something to do.
fn until_next(view: &View<'_>, settings: &Settings, content: &Content) -> Duration {
    let &View { quiet, now, .. } = view;
    let after = |end: i64| Timestamp::from_second(end + 1).unwrap_or(Timestamp::MAX);
    let until = |time: Timestamp| Duration::try_from(time.duration_since(now)).unwrap_or_default();
    let pause = if content.current.is_some() { settings.settle() } else { settings.grace() };
    let settled = content.next.as_ref().map(|_| pause.saturating_sub(quiet));
    let due = content.current.as_ref().filter(|_| content.next.is_none()).map(|current| until(current.life().1));
    let ends = [&content.current, &content.next].into_iter().flatten().map(|it| it.not_after().as_second());
    let ends = ends.chain(content.trusted.first_end()).map(|end| until(after(end)));
    ends.chain(settled).chain(due).min().unwrap_or(LOOK).min(LOOK)
}
