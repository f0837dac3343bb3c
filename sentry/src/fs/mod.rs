//! File systems and file types of the sentry's own.

pub mod anon;
pub mod cgroup_view;
pub mod config;
pub mod copy_tree;
pub mod dev;
pub mod devpts;
pub mod dnotify;
pub mod epoll;
pub mod eventfd;
pub mod fasync;
pub mod gofer;
pub mod host_file;
pub mod inotify;
pub mod leases;
pub mod locks;
pub mod memfd;
pub mod overlay;
pub mod pidfd;
pub mod pipe;
pub mod proc;
pub mod signalfd;
pub mod static_tree;
pub mod sysfs;
pub mod timerfd;
pub mod tmpfs;
