//! pivot_root.

use std::sync::Arc;

use abi::UserIn;
use sentry::error::{Errno, SysResult};
use sentry::task::CurrentTask;
use sentry::vfs::lookup::LookupFlags;
use sentry::vfs::{MountNamespace, Path};

use crate::file::path::{CWD, Walker, get_path};

/// `pivot_root(2)`: also moves every task of the mount namespace whose root or working directory was the old root.
pub async fn pivot_root(cx: &CurrentTask, new: UserIn<u8>, put_old: UserIn<u8>) -> SysResult<()> {
    let walker = Walker::new(cx);
    super::require_mounting(&walker)?;
    let flags = LookupFlags::FOLLOW | LookupFlags::DIRECTORY;
    let new_path = get_path(cx, new)?;
    let new = walker.find(cx, CWD, &new_path, flags)?.into_path()?;
    let old_path = get_path(cx, put_old)?;
    let put_old = walker.find(cx, CWD, &old_path, flags)?.into_path()?;
    let root = walker.fs.root();
    if new.mount.id == root.mount.id || put_old.mount.id == root.mount.id {
        return Err(Errno::EBUSY.into());
    }
    let is_mount_root = |path: &Path| Arc::ptr_eq(&path.dentry, &path.mount.root);
    if !is_mount_root(&root) || !is_mount_root(&new) || !is_below(&put_old, &new) {
        return Err(Errno::EINVAL.into());
    }
    let namespace = walker.fs.namespace();
    if namespace.root_mount().id != root.mount.id {
        return Err(Errno::EINVAL.into());
    }
    namespace.pivot(&new, &put_old)?;
    move_tasks(cx, &namespace, &root, &new);
    Ok(())
}

fn is_below(path: &Path, top: &Path) -> bool {
    let mut at = path.clone();
    loop {
        if at.same(top) {
            return true;
        }
        match at.parent(None) {
            Some(parent) => at = parent,
            None => return false,
        }
    }
}

fn move_tasks(cx: &CurrentTask, namespace: &Arc<MountNamespace>, old: &Path, new: &Path) {
    for (_, task) in cx.kernel.root_pid_namespace.tasks() {
        let fs = task.fs();
        if !Arc::ptr_eq(&fs.namespace(), namespace) {
            continue;
        }
        if fs.root().same(old) {
            fs.set_root(new.clone());
        }
        if fs.cwd().same(old) {
            fs.set_cwd(new.clone());
        }
    }
}
