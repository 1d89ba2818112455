//! Whether objects may be replaced by PUT: trust-manager's role does not have the verb `update`.

use super::action::Request;
use super::event::Answer;

/// What is known of the permission. An API server that has just started knows no roles yet and forbids everything for a
/// moment: only where PUT is refused and a patch is granted, twice, is it the verb.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Put {
    /// Nothing speaks against it.
    #[default]
    Open,
    /// It was refused; perhaps a patch is, too.
    Refused,
    /// It was refused where a patch was granted.
    Doubtful,
    /// It is not permitted, for the life of the process.
    Closed,
}

impl Put {
    /// Whether to try it.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Doubtful)
    }

    /// Takes in an answer; whether it is now known that PUT is not permitted.
    pub(super) fn hear(&mut self, request: &Request, answer: &Answer) -> bool {
        let patch = matches!(request, Request::Merge { .. } | Request::Apply { .. });
        let put = matches!(request, Request::Replace(_));
        let before = *self;
        *self = match (before, answer) {
            (Self::Open, Answer::Forbidden(_)) if put => Self::Refused,
            (Self::Doubtful, Answer::Forbidden(_)) if put => Self::Closed,
            (Self::Doubtful, Answer::Is(_)) if put => Self::Open,
            (Self::Refused, Answer::Is(_)) if patch => Self::Doubtful,
            (Self::Refused, Answer::Forbidden(_)) if patch => Self::Open,
            (state, _) => state,
        };
        before != Self::Closed && *self == Self::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Observed, Own, Version};
    use super::*;
    use crate::bundle::Look;

    #[test]
    fn only_where_a_patch_is_granted_twice_is_it_the_verb_that_is_not() {
        let version = Version::parse("1");
        let put = || Request::Replace(version);
        let patch = || Request::Merge { version, stale: Own::default(), former_owner: None, second_owner: None };
        let granted = || Answer::Is(Observed { version, look: Look::default() });
        let forbidden = || Answer::Forbidden(String::new());
        let after = |answers: &[(Request, Answer)]| {
            let mut state = Put::default();
            let news: Vec<_> = answers.iter().map(|(request, answer)| state.hear(request, answer)).collect();
            (state.is_open(), news.iter().filter(|news| **news).count())
        };
        let refused = [(put(), forbidden()), (patch(), granted())];
        assert_eq!(after(&[]), (true, 0));
        assert_eq!(after(&refused[..1]), (false, 0), "a patch is tried in its place");
        assert_eq!(after(&refused), (true, 0), "it may have been a moment's trouble");
        let twice = [refused.clone(), refused.clone()].concat();
        assert_eq!(after(&twice), (false, 1));
        assert_eq!(after(&[twice, refused.to_vec()].concat()), (false, 1), "and it is said once");
        assert_eq!(after(&[(put(), forbidden()), (patch(), forbidden())]), (true, 0), "nothing is permitted");
        let over = [refused.to_vec(), vec![(put(), granted()), (put(), forbidden())]].concat();
        assert_eq!(after(&over), (false, 0), "what has worked since begins anew");
    }
}
