//! `create`.

use anyhow::{Context, Result};

use crate::cli::CreateArgs;
use crate::launch::create::{self, Order};
use crate::launch::settings::Settings;

/// Creates a container and leaves it.
pub fn run(settings: &Settings, args: &CreateArgs) -> Result<()> {
    inner(settings, args).context("runsc create failed")
}

fn inner(settings: &Settings, args: &CreateArgs) -> Result<()> {
    let (bundle, spec) = create::load_bundle(&args.bundle)?;
    let order = Order {
        id: &args.id,
        bundle,
        spec,
        console_socket: args.console_socket.as_deref(),
        detached: true,
        preserve_fds: args.preserve_fds,
        pid_file: args.pid_file.as_deref(),
        mortal_init: false,
        link: false,
    };
    create::create(settings, order).map(drop)
}
