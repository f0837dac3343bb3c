//! What the test needs on the host: containers that run the hostile guest ([`bench`]), a trace of the host calls that the guests' threads
//! really executed ([`trace`]) and the list of those that they may execute ([`allowed`]).

pub mod allowed;
pub mod bench;
pub mod trace;
