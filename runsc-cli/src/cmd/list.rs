//! `list`.

use std::io::Write;

use anyhow::Result;

use crate::cli::{ListArgs, OutputFormat};
use crate::launch::settings::Settings;
use crate::state;

/// Lists containers.
pub fn run(settings: &Settings, args: &ListArgs) -> Result<()> {
    let states = state::all(&settings.root)?;
    let mut out = std::io::stdout().lock();
    if args.quiet {
        for state in &states {
            writeln!(out, "{}", state.id)?;
        }
        return Ok(());
    }
    match args.format {
        // runc prints null for none, and its callers accept it.
        OutputFormat::Json if states.is_empty() => writeln!(out, "null")?,
        OutputFormat::Json => {
            let list: Vec<_> = states.iter().map(state::State::oci).collect();
            serde_json::to_writer(&mut out, &list)?;
            writeln!(out)?;
        }
        OutputFormat::Table => {
            let mut rows =
                vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
            for state in &states {
                let owner = nix::unistd::User::from_uid(state.owner.into())
                    .ok()
                    .flatten()
                    .map_or_else(|| format!("#{}", state.owner), |user| user.name);
                rows.push([
                    state.id.clone(),
                    state.pid().to_string(),
                    state.status().to_string(),
                    state.bundle.display().to_string(),
                    state.created.clone(),
                    owner,
                ]);
            }
            write!(out, "{}", table(&rows))?;
        }
    }
    Ok(())
}

/// Columns padded to at least 12 characters, three apart, as runc's tab writer makes them.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row.get(column).map_or(0, String::len) + 3)
            .max()
            .unwrap_or(0)
            .max(12)
    };
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            if column + 1 == N {
                text.push_str(cell);
            } else {
                text.push_str(&format!("{cell:<width$}", width = width(column)));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_runcs() {
        let header = [["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
        assert_eq!(
            table(&header),
            "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
        );
    }
}
