//! What is in a file, an object or on a server, for people: certificates read from any format, as tables and documents.
//!
//! ```text
//! bytes --Collection::read--> Collection --table, document, pem--> text
//! two Collections --Difference::between--> Difference --table, document--> text
//! Collection, a server's chain, what TLS says --verdict--> Verdict --Display, document--> text
//! ```
//!
//! Unlike a bundle, which has to be flawless, this shows whatever can be seen, and says what could not be. Everything here
//! is a pure function of its arguments: who has read the bytes, and asks for passwords, is the command line.

mod collection;
mod difference;
mod document;
mod mend;
mod table;
mod verdict;

pub use collection::{At, Collection, Found, Locked, Passwords, Remark};
pub use difference::{Change, Difference};
pub use table::Paint;
pub(crate) use table::{Cell, expiry, lay_out};
pub use verdict::{Answer, Trial, Trouble, Verdict};
