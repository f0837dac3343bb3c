//! System V shared memory, semaphores and message queues.

use crate::memory::Map;
use crate::prelude::*;

cases![
    shm_shared_between_processes, shm_by_key, shm_errors, shm_stat_and_removal, shm_attach_forms, shm_inherited_and_exec_detaches,
    sem_operations, sem_blocks_and_wakes, sem_interrupted_and_timed, sem_undo_at_exit, sem_control, sem_errors, sem_removed_wakes,
    msg_order_and_types, msg_blocks_and_wakes, msg_errors, ipc_permissions, ipc_namespace_is_apart,
];

fn shmget(size: usize) -> i32 {
    sys!(SYS_shmget, IPC_PRIVATE, size, IPC_CREAT | 0o600).fd()
}

fn attach(id: i32, flags: i32) -> Map {
    Map { addr: sys!(SYS_shmat, id, 0, flags).must() as usize, len: PAGE }
}

fn remove_shm(id: i32) {
    sys!(SYS_shmctl, id, IPC_RMID, NULL).must();
}

fn shm_shared_between_processes() {
    let id = shmget(PAGE);
    let m = attach(id, 0);
    fork(|| {
        attach(id, 0).put(0, b"from the child");
        0
    })
    .wait();
    say!("{}", m.text(0, 14));
    say!("detach {} again {}", sys!(SYS_shmdt, m.addr), sys!(SYS_shmdt, m.addr));
    remove_shm(id);
}

/// A key that no other run uses.
fn key() -> i32 {
    0x4000_0000 | getpid()
}

fn shm_by_key() {
    let key = key();
    say!("absent {}", sys!(SYS_shmget, key, 0, 0));
    let id = sys!(SYS_shmget, key, 100, IPC_CREAT | 0o600);
    say!("{} found {}", id.ok(), sys!(SYS_shmget, key, 0, 0) == id);
    say!("exclusive {}, larger than it is {}", sys!(SYS_shmget, key, 100, IPC_CREAT | IPC_EXCL), sys!(SYS_shmget, key, 5000, 0));
    remove_shm(id.fd());
    say!("gone {}", sys!(SYS_shmget, key, 0, 0));
}

fn shm_errors() {
    say!("size 0 {}", sys!(SYS_shmget, IPC_PRIVATE, 0, IPC_CREAT));
    say!("no such segment {} {}", sys!(SYS_shmat, i32::MAX, 0, 0), sys!(SYS_shmctl, i32::MAX, IPC_RMID, NULL));
    let id = shmget(PAGE);
    say!("odd address {}", sys!(SYS_shmat, id, 12345, 0));
    say!("detach what is not attached {}", sys!(SYS_shmdt, map_anon(PAGE).addr));
    say!("unknown command {}", sys!(SYS_shmctl, id, 77, NULL));
    remove_shm(id);
}

fn shm_stat_and_removal() {
    let id = shmget(5000);
    let m = attach(id, 0);
    let mut stat: shmid_ds = zeroed();
    sys!(SYS_shmctl, id, IPC_STAT, &mut stat).must();
    say!("size {} attached {} creator me {} mode {:o}", stat.shm_segsz, stat.shm_nattch, stat.shm_cpid == getpid(), stat.shm_perm.mode);
    remove_shm(id);
    m.set(0, 3);
    say!("usable after removal {}", m.get(0));
    sys!(SYS_shmctl, id, IPC_STAT, &mut stat).must();
    say!("marked {:o}", stat.shm_perm.mode);
    sys!(SYS_shmdt, m.addr).must();
    say!("then gone {}", sys!(SYS_shmctl, id, IPC_STAT, &mut stat));
}

fn shm_attach_forms() {
    let id = shmget(PAGE);
    attach(id, 0).set(0, 9);
    let readonly = attach(id, SHM_RDONLY);
    fault_report("write to a read-only attachment", readonly.addr, || readonly.set(0, 1));
    let place = map_anon(PAGE * 4);
    say!("over a mapping {}", sys!(SYS_shmat, id, place.addr, 0));
    place.unmap();
    say!("rounded {}", sys!(SYS_shmat, id, place.addr + 5, SHM_RND).0 as usize == place.addr);
    say!("remap {}", sys!(SYS_shmat, id, place.addr, SHM_REMAP).0 as usize == place.addr);
    remove_shm(id);
}

fn attached(id: i32) -> u64 {
    let mut stat: shmid_ds = zeroed();
    sys!(SYS_shmctl, id, IPC_STAT, &mut stat).must();
    stat.shm_nattch
}

fn shm_inherited_and_exec_detaches() {
    let id = shmget(PAGE);
    let m = attach(id, 0);
    let (r, w) = pipe();
    let child = fork(|| {
        read(r, 1);
        exec(c"/bin/true", &[c"true"], &[]).0 as i32
    });
    say!("after a fork {}", attached(id));
    write(w, b"x");
    child.wait();
    say!("after its exec {}", attached(id));
    m.set(0, 1);
    remove_shm(id);
}

fn semget(count: i32) -> i32 {
    sys!(SYS_semget, IPC_PRIVATE, count, IPC_CREAT | 0o600).fd()
}

fn op(number: u16, amount: i16, flags: i32) -> sembuf {
    sembuf { sem_num: number, sem_op: amount, sem_flg: flags as i16 }
}

fn semop(id: i32, ops: &[sembuf]) -> Ret {
    sys!(SYS_semop, id, ops, ops.len())
}

fn value(id: i32, number: i32) -> Ret {
    sys!(SYS_semctl, id, number, GETVAL, 0)
}

fn remove_sem(id: i32) {
    sys!(SYS_semctl, id, 0, IPC_RMID, 0).must();
}

fn sem_operations() {
    let id = semget(2);
    say!("{} {}", semop(id, &[op(0, 3, 0), op(1, 1, 0)]), value(id, 0));
    say!("all or nothing {}, {} {}", semop(id, &[op(0, -1, 0), op(1, -2, IPC_NOWAIT)]), value(id, 0), value(id, 1));
    say!("together {}, {} {}", semop(id, &[op(0, -3, 0), op(1, -1, 0)]), value(id, 0), value(id, 1));
    say!("wait for zero {}", semop(id, &[op(0, 0, 0)]));
    semop(id, &[op(0, 1, 0)]).must();
    say!("not zero {}", semop(id, &[op(0, 0, IPC_NOWAIT)]));
    remove_sem(id);
}

fn sem_blocks_and_wakes() {
    let id = semget(1);
    let start = now_ns();
    let child = after(20, || semop(id, &[op(0, 2, 0)]));
    say!("{}, waited {}", semop(id, &[op(0, -2, 0)]), now_ns() - start >= 5_000_000);
    child.wait();
    semop(id, &[op(0, 1, 0)]).must();
    let child = after(20, || semop(id, &[op(0, -1, 0)]));
    say!("zero {}", semop(id, &[op(0, 0, 0)]));
    child.wait();
    remove_sem(id);
}

fn sem_interrupted_and_timed() {
    let id = semget(1);
    say!("{}", interrupted(|| semop(id, &[op(0, -1, 0)])));
    say!("timed {}", sys!(SYS_semtimedop, id, &[op(0, -1, 0)], 1, &timespec_ms(10)));
    remove_sem(id);
}

fn sem_undo_at_exit() {
    let id = semget(1);
    semop(id, &[op(0, 5, 0)]).must();
    fork(|| {
        semop(id, &[op(0, -3, SEM_UNDO)]).must();
        say!("inside {}", value(id, 0));
        0
    })
    .wait();
    say!("undone {}", value(id, 0));
    remove_sem(id);
}

fn sem_control() {
    let id = semget(3);
    say!("set all {}", sys!(SYS_semctl, id, 0, SETALL, &[1u16, 2, 3]));
    let mut all = [0u16; 3];
    sys!(SYS_semctl, id, 0, GETALL, &mut all).must();
    say!("{all:?} set one {} {}", sys!(SYS_semctl, id, 1, SETVAL, 9), value(id, 1));
    say!("last changer me {}", sys!(SYS_semctl, id, 1, GETPID, 0).0 as i32 == getpid());
    say!("waiting {} {}", sys!(SYS_semctl, id, 0, GETNCNT, 0), sys!(SYS_semctl, id, 0, GETZCNT, 0));
    say!("out of range {} {}", sys!(SYS_semctl, id, 0, SETVAL, 40_000), value(id, 3));
    remove_sem(id);
}

fn sem_errors() {
    say!("zero of them {}", sys!(SYS_semget, IPC_PRIVATE, 0, IPC_CREAT));
    let id = semget(1);
    say!("bad number {}, no operations {}", semop(id, &[op(5, 1, 0)]), semop(id, &[]));
    say!("too many {}, bad pointer {}", sys!(SYS_semop, id, &[op(0, 1, 0)], 100_000), sys!(SYS_semop, id, 8, 1));
    semop(id, &[op(0, 32_767, 0)]).must();
    say!("overflow {}", semop(id, &[op(0, 1, 0)]));
    remove_sem(id);
    say!("gone {}", semop(id, &[op(0, 1, 0)]));
}

fn sem_removed_wakes() {
    let id = semget(1);
    let child = after(20, || remove_sem(id));
    say!("{}", semop(id, &[op(0, -1, 0)]));
    child.wait();
}

fn msgget() -> i32 {
    sys!(SYS_msgget, IPC_PRIVATE, IPC_CREAT | 0o600).fd()
}

fn send(id: i32, kind: i64, text: &[u8], flags: i32) -> Ret {
    let mut bytes = kind.to_ne_bytes().to_vec();
    bytes.extend(text);
    sys!(SYS_msgsnd, id, &bytes[..], text.len(), flags)
}

fn receive(id: i32, room: usize, kind: i64, flags: i32) -> String {
    let mut bytes = vec![0u8; 8 + room];
    match sys!(SYS_msgrcv, id, &mut bytes[..], room, kind, flags).get() {
        Ok(n) => format!("{}:{}", i64::from_ne_bytes(bytes[..8].try_into().unwrap()), bytes[8..8 + n as usize].escape_ascii()),
        Err(errno) => format!("{errno:?}"),
    }
}

fn remove_msg(id: i32) {
    sys!(SYS_msgctl, id, IPC_RMID, NULL).must();
}

fn msg_order_and_types() {
    let id = msgget();
    for (kind, text) in [(3, "three"), (1, "one"), (2, "two"), (1, "uno"), (5, "five")] {
        send(id, kind, text.as_bytes(), 0).must();
    }
    say!("by type {}", receive(id, 20, 1, 0));
    say!("lowest up to 2 {}", receive(id, 20, -2, 0));
    say!("any {}", receive(id, 20, 0, 0));
    say!("except 2 {}", receive(id, 20, 2, MSG_EXCEPT));
    say!("none of type 9 {}", receive(id, 20, 9, IPC_NOWAIT));
    say!("rest {}", receive(id, 20, 0, 0));
    remove_msg(id);
}

fn msg_blocks_and_wakes() {
    let id = msgget();
    let child = after(20, || send(id, 4, b"late", 0));
    say!("{}", receive(id, 20, 4, 0));
    child.wait();
    say!("{}", interrupted(|| receive(id, 20, 0, 0)));
    let child = after(20, || remove_msg(id));
    say!("removed {}", receive(id, 20, 0, 0));
    child.wait();
}

fn msg_errors() {
    let id = msgget();
    say!("type 0 {}, too long {}", send(id, 0, b"x", 0), send(id, 1, &[0; 10_000], 0));
    send(id, 1, b"0123456789", 0).must();
    say!("no room {}, cut {}", receive(id, 4, 0, 0), receive(id, 4, 0, MSG_NOERROR));
    let mut sent = 0;
    while send(id, 1, &[0; 8000], IPC_NOWAIT).get().is_ok() {
        sent += 1;
    }
    say!("full after {sent} {}", send(id, 1, &[0; 8000], IPC_NOWAIT));
    remove_msg(id);
    say!("gone {} {}", send(id, 1, b"x", 0), receive(id, 4, 0, 0));
}

fn ipc_permissions() {
    let id = shmget(PAGE);
    fork(|| {
        sys!(SYS_setresgid, 5, 5, 5).must();
        sys!(SYS_setresuid, 5, 5, 5).must();
        say!("attach {}, remove {}", sys!(SYS_shmat, id, 0, 0), sys!(SYS_shmctl, id, IPC_RMID, NULL));
        0
    })
    .wait();
    remove_shm(id);
}

fn ipc_namespace_is_apart() {
    let key = key();
    let id = sys!(SYS_shmget, key, 100, IPC_CREAT | 0o600).fd();
    fork(|| {
        say!("{}", sys!(SYS_unshare, CLONE_NEWIPC));
        say!("not seen {}", sys!(SYS_shmget, key, 0, 0));
        0
    })
    .wait();
    remove_shm(id);
}
