//! `delete`.

use anyhow::{Result, bail};

use crate::cli::DeleteArgs;
use crate::launch::settings::Settings;
use crate::launch::teardown;
use crate::state::{self, Container, NO_CONTAINER, Status};

/// Deletes a container.
pub fn run(settings: &Settings, args: &DeleteArgs) -> Result<()> {
    let container = match Container::open(&settings.root, &args.id) {
        Ok(container) => container,
        Err(error) if error.to_string() == NO_CONTAINER => {
            // A creator that was killed before it wrote a state leaves a directory. One with a state is another runtime's that shares the root.
            let dir = settings.root.join(&args.id);
            if state::id::validate(&args.id).is_ok() && !dir.join("state.json").exists() {
                state::remove_dir(&dir)?;
            }
            if args.force {
                return Ok(());
            }
            return Err(error);
        }
        Err(error) if args.force && error.is::<state::Damaged>() => {
            let (dir, lock) = state::lock_unread(&settings.root, &args.id)?;
            let destroyed = teardown::destroy_unread(&dir);
            drop(lock);
            return destroyed;
        }
        Err(error) => return Err(error),
    };
    match container.state.status() {
        // runc kills a container that was never started.
        Status::Stopped | Status::Created | Status::Creating => {}
        Status::Running | Status::Paused if args.force => {}
        status => bail!(
            "cannot delete container {} that is not stopped: {status}",
            args.id
        ),
    }
    teardown::destroy(container)
}
