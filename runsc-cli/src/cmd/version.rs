//! `--version`.

/// The text: the first line contains `version`, the second begins with `commit:`, as dockerd reads them.
#[must_use]
pub fn text() -> String {
    let commit = option_env!("RUNSC_COMMIT").unwrap_or("unknown");
    format!(
        "runsc version {}\ncommit: {commit}\nspec: {}",
        env!("CARGO_PKG_VERSION"),
        crate::spec::SPEC_VERSION
    )
}
