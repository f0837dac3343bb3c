//! What the test programs with a `main` of their own share: the command line, running trials on a few threads with cargo's output
//! ([`trials`]), running a command with a deadline ([`run`]), finding the binary under test ([`runsc`]), leaving nothing behind ([`contained`]), and what
//! bundles have in common ([`usual_mounts`]).

mod contained;
mod run;
mod spec;
mod trials;

pub use contained::{begin, contained, run_name};
pub use run::{DEADLINE_CODE, Observation, Scratch, observe, runsc};
pub use spec::usual_mounts;
pub use trials::{Options, Outcome, Trial, run_all};
