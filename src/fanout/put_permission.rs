//! Permission to replace objects by PUT: trust-manager's role lacks the verb `update`.

use super::action::TargetRequest;
use super::event::WriteResult;

/// The known state of the permission to PUT.
///
/// An API server that has just started knows no roles yet and forbids everything for a moment: PUT counts as denied
/// only after it was refused and a patch granted, twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PutPermission {
    /// PUT was not refused.
    #[default]
    Allowed,
    /// PUT was refused; perhaps a patch is, too.
    Refused,
    /// PUT was refused where a patch was granted.
    Suspected,
    /// PUT is not permitted, for the life of the process.
    Denied,
}

impl PutPermission {
    /// Returns whether PUT is to be tried.
    pub(super) fn is_allowed(self) -> bool {
        matches!(self, Self::Allowed | Self::Suspected)
    }

    /// Learns from the result of a request; returns whether PUT is known from now on not to be permitted.
    pub(super) fn on_result(&mut self, request: &TargetRequest, result: &WriteResult) -> bool {
        let patch = matches!(request, TargetRequest::Merge { .. } | TargetRequest::Apply { .. });
        let put = matches!(request, TargetRequest::Replace(_));
        let before = *self;
        *self = match (before, result) {
            (Self::Allowed, WriteResult::Forbidden(_)) if put => Self::Refused,
            (Self::Suspected, WriteResult::Forbidden(_)) if put => Self::Denied,
            (Self::Suspected, WriteResult::Observed(_)) if put => Self::Allowed,
            (Self::Refused, WriteResult::Observed(_)) if patch => Self::Suspected,
            (Self::Refused, WriteResult::Forbidden(_)) if patch => Self::Allowed,
            (state, _) => state,
        };
        before != Self::Denied && *self == Self::Denied
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Observed, OwnedFields, ResourceVersion};
    use super::*;
    use crate::bundle::ObservedMetadata;

    #[test]
    fn only_where_a_patch_is_granted_twice_is_it_the_verb_that_is_not() {
        let version = ResourceVersion::parse("1");
        let put = || TargetRequest::Replace(version);
        let patch =
            || TargetRequest::Merge { version, stale: OwnedFields::default(), former_owner: None, second_owner: None };
        let granted = || WriteResult::Observed(Observed { version, metadata: ObservedMetadata::default() });
        let forbidden = || WriteResult::Forbidden(String::new());
        let after = |answers: &[(TargetRequest, WriteResult)]| {
            let mut state = PutPermission::default();
            let news: Vec<_> = answers.iter().map(|(request, result)| state.on_result(request, result)).collect();
            (state.is_allowed(), news.iter().filter(|news| **news).count())
        };
        let refused = [(put(), forbidden()), (patch(), granted())];
        assert_eq!(after(&[]), (true, 0));
        assert_eq!(after(&refused[..1]), (false, 0), "a patch is tried in its place");
        assert_eq!(after(&refused), (true, 0), "it may have been a moment's failure");
        let twice = [refused.clone(), refused.clone()].concat();
        assert_eq!(after(&twice), (false, 1));
        assert_eq!(after(&[twice, refused.to_vec()].concat()), (false, 1), "and it is reported once");
        assert_eq!(after(&[(put(), forbidden()), (patch(), forbidden())]), (true, 0), "nothing is permitted");
        let over = [refused.to_vec(), vec![(put(), granted()), (put(), forbidden())]].concat();
        assert_eq!(after(&over), (false, 0), "what has worked since begins anew");
    }
}
