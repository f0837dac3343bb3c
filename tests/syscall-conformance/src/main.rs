//! `conformance-cases`: system call behaviour as a list of small named programs.
//!
//! Each case exercises Linux and prints what it observed (results, errnos by name, bytes), and nothing that may differ between two
//! runs: no pids, addresses or times. Run natively, a case is the oracle; run in the sandbox, its output and exit code must be the same.
//!
//! ```text
//! conformance-cases --list          every case, one name a line
//! conformance-cases FAMILY/CASE     run one case in the current directory, which should be empty
//! ```

mod case;
mod cases;
mod child;
mod host;
mod inet;
mod memory;
mod prelude;
mod signals;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    match (args.next(), args.next()) {
        (Some(flag), None) if flag == "--list" => {
            for (family, case) in cases::all() {
                println!("{family}/{}", case.name);
            }
            ExitCode::SUCCESS
        }
        // What the exec cases start: each helper is a tiny program of its own.
        (Some(flag), rest) if flag == "--helper" => cases::helper(&rest.unwrap_or_default()),
        (Some(name), None) => {
            let Some((_, case)) =
                cases::all().find(|(family, case)| name == format!("{family}/{}", case.name))
            else {
                eprintln!("no case is called {name}; --list names them all");
                return ExitCode::from(2);
            };
            (case.run)();
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: conformance-cases --list | FAMILY/CASE");
            ExitCode::from(2)
        }
    }
}
