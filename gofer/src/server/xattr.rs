//! Extended attributes, whatever kinds the host permits.

#![forbid(unsafe_code)]

use super::path::FdPath;
use super::worker::Worker;
use crate::host;
use crate::protocol::XATTR_MAX;
use crate::protocol::request::{NodeId, XattrFlags};
use abi::Errno;
use std::ffi::CString;

/// Longest name in bytes (`XATTR_NAME_MAX`).
const NAME_MAX: usize = 255;

impl Worker {
    pub(super) fn getxattr(&mut self, node: NodeId, name: &[u8]) -> Result<&[u8], Errno> {
        let node = self.node(node)?;
        let name = check_name(name)?;
        let len = host::getxattr(FdPath::of(node.fd()).as_cstr(), &name, &mut self.scratch)?;
        self.scratch.get(..len).ok_or(Errno::EIO)
    }

    pub(super) fn setxattr(
        &self,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        flags: XattrFlags,
    ) -> Result<(), Errno> {
        let node = self.node(node)?;
        let name = check_name(name)?;
        self.writable(&node)?;
        if value.len() > XATTR_MAX {
            return Err(Errno::E2BIG);
        }
        host::setxattr(
            FdPath::of(node.fd()).as_cstr(),
            &name,
            value,
            flags.bits().cast_signed(),
        )
    }

    /// The names, each followed by NUL.
    pub(super) fn listxattr(&mut self, node: NodeId) -> Result<&[u8], Errno> {
        let node = self.node(node)?;
        let len = host::listxattr(FdPath::of(node.fd()).as_cstr(), &mut self.scratch)?;
        self.scratch.get(..len).ok_or(Errno::EIO)
    }

    pub(super) fn removexattr(&self, node: NodeId, name: &[u8]) -> Result<(), Errno> {
        let node = self.node(node)?;
        let name = check_name(name)?;
        self.writable(&node)?;
        host::removexattr(FdPath::of(node.fd()).as_cstr(), &name)
    }
}

fn check_name(name: &[u8]) -> Result<CString, Errno> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(Errno::ERANGE);
    }
    CString::new(name).map_err(|_| Errno::EINVAL)
}
