//! Nothing of its own: the tests beside it hold the rules that span crates.
