//! Which request meets a need: the cheapest that is right.

use std::collections::BTreeSet;

use crate::bundle::{Controller, Look, Need, Payload, Release, Touched, Wanted};

use super::action::{Own, Request};
use super::index::Entry;

/// The request for a need. `replace`: whether PUT is permitted.
///
/// - What nobody else has touched is replaced whole.
/// - A key that is wanted and that others own is taken by server-side apply with force: a merge patch does not take over a value
///   that happens to be right.
/// - All else is a strategic merge patch. Server-side apply would cost the server twice as much, and would not take out
///   what an earlier request of another kind put in.
///
/// # Errors
/// The controller that owns the object, where nothing may be asked for.
pub(super) fn request(
    need: &Need,
    payload: Option<&Payload>,
    wanted: &Wanted,
    found: Option<&Entry>,
    replace: bool,
) -> Result<Request, Controller> {
    let Some(Entry { version, look, .. }) = found else {
        return Ok(Request::Create);
    };
    let version = *version;
    Ok(match need {
        Need::Create => Request::Create,
        Need::Inspect => Request::Compare,
        Need::Yield(owner) => return Err(owner.clone()),
        Need::Release(Release::Delete) => Request::Delete(version),
        Need::Release(Release::HandOver) => Request::HandOver(version, own(look)),
        Need::Update(_) if replace && look.touched == Touched::ByUsAlone => Request::Replace(version),
        Need::Update(_) => {
            let keys: BTreeSet<&String> = payload.into_iter().flat_map(|payload| payload.values.keys()).collect();
            if keys.iter().any(|key| is_taken(look, key)) {
                Request::Apply(version)
            } else {
                let stale =
                    look.own_keys.iter().filter(|key| !keys.contains(key) && !look.foreign_keys.contains_key(*key));
                let former = look.controller.as_ref().filter(|owner| owner.uid != wanted.uid);
                Request::Merge {
                    version,
                    stale: stale.cloned().collect(),
                    former_owner: former.map(|owner| owner.uid.clone()),
                }
            }
        }
    })
}

/// Whether others own a key, or may own it, and we do not.
fn is_taken(look: &Look, key: &String) -> bool {
    !look.own_keys.contains(key) && (look.touched == Touched::ByWhoKnows || look.foreign_keys.contains_key(key))
}

/// What is ours and of nobody else.
fn own(look: &Look) -> Own {
    Own {
        keys: look.own_keys.iter().filter(|key| !look.foreign_keys.contains_key(*key)).cloned().collect(),
        labels: look.own_labels.clone(),
        annotations: look.own_annotations.clone(),
    }
}
