//! The commands, one file each.

pub mod create;
pub mod debug;
pub mod delete;
pub mod do_command;
pub mod events;
pub mod exec;
pub mod features;
pub mod kill;
pub mod list;
pub mod pause;
pub mod ps;
pub mod run;
pub mod spec;
pub mod start;
pub mod state;
pub mod update;
pub mod version;
pub mod wait;

use std::path::Path;

use anyhow::{Result, bail};

use crate::boot::client::Client;
use crate::cli::Command;
use crate::launch::settings::Settings;
use crate::state::{Container, State};

/// Runs a command; answers the exit code of the program.
pub fn run(command: Command, settings: &Settings) -> Result<u8> {
    let done = |result: Result<()>| result.map(|()| 0);
    match command {
        Command::Create(args) => done(create::run(settings, &args)),
        Command::Start(args) => done(start::run(settings, &args.id)),
        Command::Run(args) => run::run(settings, &args),
        Command::State(args) => done(state::run(settings, &args.id)),
        Command::Kill(args) => done(kill::run(settings, &args)),
        Command::Delete(args) => done(delete::run(settings, &args)),
        Command::List(args) => done(list::run(settings, &args)),
        Command::Ps(args) => ps::run(settings, &args),
        Command::Exec(args) => exec::run(settings, &args),
        Command::Pause(args) => done(pause::pause(settings, &args.id)),
        Command::Resume(args) => done(pause::resume(settings, &args.id)),
        Command::Wait(args) => done(wait::run(settings, &args.id)),
        Command::Spec(args) => done(spec::run(&args)),
        Command::Features => done(features::run()),
        Command::Do(args) => do_command::run(settings, args),
        Command::Debug(args) => done(debug::run(settings, &args)),
        Command::Events(args) => done(events::run(settings, &args)),
        Command::Update(args) => done(update::run(settings, &args)),
        Command::Install(args) => done(crate::install::install(&args)),
        Command::Uninstall(args) => done(crate::install::uninstall(&args)),
        Command::Checkpoint(_) => bail!(
            "checkpoint is not supported: a container's state cannot be saved; its files can, with the engine's commit or export"
        ),
        Command::Restore(_) => {
            bail!(
                "restore is not supported: no container's state can have been saved by this runtime"
            )
        }
    }
}

/// Connects to the sentry in which a container lives.
pub fn connect(root: &Path, state: &State) -> Result<Client> {
    let sentry = if state.sandbox == state.id {
        state.sentry
    } else {
        Container::peek(root, &state.sandbox)?.sentry
    };
    let Some(sentry) = sentry else {
        bail!("container not running")
    };
    Client::connect(&root.join(&state.sandbox), sentry)
}
