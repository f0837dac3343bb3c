//! `run`: create, start and, unless detached, wait and delete.

use anyhow::{Context, Result};

use super::start;
use crate::cli::RunArgs;
use crate::launch::create::{self, Created, Order};
use crate::launch::death;
use crate::launch::foreground::{self, Ended, Signals};
use crate::launch::settings::Settings;
use crate::launch::teardown;
use crate::report;
use crate::state::Container;

/// Exit code of what SIGKILL ended.
const KILLED: u8 = 137;

/// Runs a container; answers its exit code.
pub fn run(settings: &Settings, args: &RunArgs) -> Result<u8> {
    inner(settings, args).context("runsc run failed")
}

fn inner(settings: &Settings, args: &RunArgs) -> Result<u8> {
    let (bundle, spec) = create::load_bundle(&args.create.bundle)?;
    let order = Order {
        id: &args.create.id,
        bundle,
        spec,
        console_socket: args.create.console_socket.as_deref(),
        detached: args.detach,
        preserve_fds: args.create.preserve_fds,
        pid_file: args.create.pid_file.as_deref(),
        mortal_init: false,
        link: false,
    };
    run_order(settings, order, args.keep)
}

/// Runs what `order` says; in the foreground it waits, and deletes the container unless `keep`.
pub fn run_order(settings: &Settings, order: Order<'_>, keep: bool) -> Result<u8> {
    let (id, detached, pid_file) = (
        order.id.to_owned(),
        order.detached,
        order.pid_file.map(std::path::Path::to_owned),
    );
    // Collected from the start: a signal that comes early reaches the container's process as soon as there is one.
    let signals = if detached {
        None
    } else {
        Some(Signals::collect()?)
    };
    let Created {
        container,
        proxy,
        master,
    } = create::create(settings, order)?;
    let container = start::start_or_destroy(settings, container).inspect_err(|_| {
        if let Some(path) = &pid_file {
            let _ = std::fs::remove_file(path);
        }
    })?;
    let Some(signals) = signals else { return Ok(0) };
    // Other commands may act on the container while we wait.
    drop(container);
    let Ended { code, proxy_killed } = foreground::wait(proxy, &signals, master)?;
    if code == KILLED
        && let Ok(state) = Container::peek(&settings.root, &id)
        && let Some(why) = death::of_helpers(&state, proxy_killed)
    {
        settings.note_in_debug_log(&id, &why);
        report::error(&why);
    }
    if !keep && let Ok(container) = Container::open(&settings.root, &id) {
        teardown::destroy(container)?;
    }
    Ok(code)
}
