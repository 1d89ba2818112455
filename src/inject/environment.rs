//! The environment of a container, of which only what matters here is kept, however long it is.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::java_obstacle;
use super::lenient::{Fold, LenientObject, LenientText};
use super::runtimes::{self, JAVA_TOOL_OPTIONS};

/// What a container's `env` says.
#[derive(Debug, Default)]
pub(super) struct Environment<'a> {
    /// The variables of [`runtimes`] that are set, a bit each.
    set: u16,
    /// The last `JAVA_TOOL_OPTIONS`.
    pub(super) java: Option<ExistingVariable<'a>>,
    /// What forbids to give Java a trust store, in other variables.
    pub(super) obstacle: Option<&'static str>,
}

/// A variable of the user's.
#[derive(Debug)]
pub(super) struct ExistingVariable<'a> {
    /// Its index in `env`.
    pub(super) index: usize,
    /// Its value.
    pub(super) value: LenientText<'a>,
    /// Whether its value comes from elsewhere.
    pub(super) has_value_from: bool,
}

/// An item of `env`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Variable<'a> {
    #[serde(default, borrow)]
    name: LenientText<'a>,
    #[serde(default, borrow)]
    value: LenientText<'a>,
    #[serde(default)]
    value_from: Option<IgnoredAny>,
}

impl Environment<'_> {
    /// Whether this variable of [`runtimes`] is there.
    pub(super) fn sets(&self, variable: &str) -> bool {
        runtimes::index(variable).is_some_and(|index| self.set & (1 << index) != 0)
    }
}

impl<'de: 'a, 'a> Fold<'de> for Environment<'a> {
    type Element = Option<LenientObject<Variable<'a>>>;

    fn add(&mut self, index: usize, variable: Self::Element) {
        let Some(LenientObject(Variable { name, value, value_from })) = variable else { return };
        if let Some(row) = runtimes::index(&name) {
            self.set |= 1 << row;
        }
        if *name == *JAVA_TOOL_OPTIONS {
            self.java = Some(ExistingVariable { index, value, has_value_from: value_from.is_some() });
        } else if self.obstacle.is_none() {
            self.obstacle = java_obstacle::obstacle_in_variable(&name, &value, value_from.is_some());
        }
    }
}
