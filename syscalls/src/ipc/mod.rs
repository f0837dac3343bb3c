//! Interprocess communication.

mod mqueue;
mod msg;
mod sem;
mod shm;

pub use mqueue::{mq_getsetattr, mq_notify, mq_open, mq_timedreceive, mq_timedsend, mq_unlink};
pub use msg::{msgctl, msgget, msgrcv, msgsnd};
pub use sem::{semctl, semget, semop, semtimedop};
pub use shm::{shmat, shmctl, shmdt, shmget};

/// The 64-bit structures are the only ones of x86-64; the C library may still set this bit of a command.
const IPC_64: i32 = 0x100;
