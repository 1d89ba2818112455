//! Tags of the kinds of `GeneralName` (RFC 5280, section 4.2.1.6) whose content is checked.

use crate::trust::der::tag::context;

/// Tag of `rfc822Name`.
pub(super) const EMAIL: u8 = context(1);
/// Tag of `dNSName`.
pub(super) const DNS: u8 = context(2);
/// Tag of `uniformResourceIdentifier`.
pub(super) const URI: u8 = context(6);
/// Tag of `iPAddress`.
pub(super) const IP: u8 = context(7);
