//! What happens to clusters, and what becomes of rollouts then: on a real API server that dies, hangs, refuses, forgets
//! or loses its answers. Each scenario ends with the right bytes in every namespace, after a bounded number of writes, none
//! of which put old content in the place of new.

mod answers;
mod authority;
mod changes;
mod clock;
mod crowd;
mod outages;
mod restored;
mod stage;
mod watches;
