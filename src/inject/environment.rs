//! The environment of a container, folded while it is parsed so that its length costs no memory.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::java_obstacle;
use super::lenient::{Fold, LenientObject, LenientText};
use super::runtimes::{self, JAVA_TOOL_OPTIONS};

/// The content of a container's `env` that injection depends on.
#[derive(Debug, Default)]
pub(super) struct Environment<'a> {
    /// The variables of [`runtimes`] that are set, one bit each.
    set: u16,
    /// The last [`JAVA_TOOL_OPTIONS`] of the list, if any.
    pub(super) java: Option<ExistingVariable<'a>>,
    /// The reason in other variables not to give Java a trust store, if any.
    pub(super) obstacle: Option<&'static str>,
}

/// A variable that the pod sets itself.
#[derive(Debug)]
pub(super) struct ExistingVariable<'a> {
    /// The index of the variable in `env`.
    pub(super) index: usize,
    /// The value of the variable; empty for none.
    pub(super) value: LenientText<'a>,
    /// Whether the variable has `valueFrom`.
    pub(super) has_value_from: bool,
}

/// An item of a container's `env`.
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
    /// Returns whether this variable of [`runtimes`] is set.
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
