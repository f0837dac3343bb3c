//! mmap and its family: kinds of mappings, sharing, files, protection, moving, limits.

use crate::prelude::*;

cases![
    anonymous_zero_filled, mmap_errors, fixed_replaces, fixed_noreplace, hint_is_followed_when_free, shared_anonymous_across_fork,
    private_anonymous_after_fork, shared_file_writes_are_seen, private_file_writes_stay, file_offset_and_tail, two_mappings_of_one_file,
    mmap_access_modes, mmap_of_other_descriptors, mapping_outlives_descriptor_and_name, munmap_splits, munmap_errors, mprotect_errors,
    mprotect_splits_and_merges, mremap_grows_in_place_and_moves, mremap_shrinks, mremap_fixed, mremap_errors, mremap_shared_duplicate,
    brk_moves, brk_limit, madvise_dontneed, madvise_dontneed_file, madvise_fork_flags, madvise_errors, madvise_remove_and_free,
    mincore_reports, msync_forms, mlock_and_limits, address_space_limit, data_limit, growsdown_stack_guard, maps_file_shows_regions,
    dev_zero_mapping, memfd_mapping_shared, populate_and_stack_flags, mmap_min_address, file_mapping_read_after_write, huge_sparse_reserve,
    process_vm_transfer, process_vm_errors,
    seal_keeps_what_is_mapped, seal_errors, seal_and_advice, remap_file_pages_rearranges, remap_file_pages_errors, mremap_shrinks_over_several,
];

const RW: i32 = PROT_READ | PROT_WRITE;

fn anonymous_zero_filled() {
    let m = map_anon(1 << 20);
    say!("aligned {}, zero {}", m.addr.is_multiple_of(PAGE), (0..m.len).step_by(97).all(|at| m.get(at) == 0));
    m.set(m.len - 1, 1);
    say!("last byte {}", m.get(m.len - 1));
}

fn mmap_errors() {
    let anon = MAP_PRIVATE | MAP_ANONYMOUS;
    say!("zero length: {}", sys!(SYS_mmap, 0, 0, RW, anon, -1, 0));
    say!("neither shared nor private: {}", sys!(SYS_mmap, 0, PAGE, RW, MAP_ANONYMOUS, -1, 0));
    say!("bad descriptor: {}", sys!(SYS_mmap, 0, PAGE, RW, MAP_PRIVATE, -1, 0));
    say!("odd offset: {}", sys!(SYS_mmap, 0, PAGE, RW, MAP_PRIVATE, 0, 100));
    say!("unaligned fixed: {}", sys!(SYS_mmap, 0x10_0001, PAGE, RW, anon | MAP_FIXED, -1, 0));
    say!("beyond the address space: {}", sys!(SYS_mmap, 0, 1u64 << 48, RW, anon, -1, 0));
    say!("length wraps: {}", sys!(SYS_mmap, 0, u64::MAX, RW, anon, -1, 0));
    say!("fixed in the kernel's half: {}", sys!(SYS_mmap, 0x8000_0000_0000_u64, PAGE, RW, anon | MAP_FIXED, -1, 0));
    touch(c"f");
    let fd = open(c"f", O_RDWR).fd();
    say!("shared_validate with unknown flag: {}", sys!(SYS_mmap, 0, PAGE, RW, MAP_SHARED_VALIDATE | 1 << 23, fd, 0));
}

fn fixed_replaces() {
    let m = map_anon(PAGE * 3);
    m.put(0, b"a");
    m.put(PAGE, b"b");
    m.put(PAGE * 2, b"c");
    let again = sys!(SYS_mmap, m.addr + PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    say!("same place {}", again.0 as usize == m.addr + PAGE);
    say!("{} {} {}", m.get(0), m.get(PAGE), m.get(PAGE * 2));
}

fn fixed_noreplace() {
    let m = map_anon(PAGE * 2);
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    say!("taken: {}", sys!(SYS_mmap, m.addr, PAGE, RW, flags, -1, 0));
    sys!(SYS_munmap, m.addr, PAGE).must();
    say!("free: {}", sys!(SYS_mmap, m.addr, PAGE, RW, flags, -1, 0).0 as usize == m.addr);
    say!("half taken: {}", sys!(SYS_mmap, m.addr, PAGE * 2, RW, flags, -1, 0));
}

fn hint_is_followed_when_free() {
    let m = map_anon(PAGE * 4);
    m.unmap();
    let at = |addr| sys!(SYS_mmap, addr, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0).0 as usize;
    say!("free: {}", at(m.addr) == m.addr);
    say!("taken goes elsewhere: {}", at(m.addr) != m.addr);
    say!("hint is rounded: {}", at(m.addr + PAGE * 2 + 5) == m.addr + PAGE * 2);
}

fn shared_anonymous_across_fork() {
    let m = map_shared(PAGE * 2);
    fork(|| {
        m.put(0, b"from the child");
        m.set(PAGE + 9, 3);
        0
    })
    .wait();
    say!("{} {}", m.text(0, 14), m.get(PAGE + 9));
}

fn private_anonymous_after_fork() {
    let m = map_anon(PAGE * 64);
    (0..64).for_each(|i| m.set(i * PAGE, i as u8));
    let child = fork(|| {
        let right = (0..64).all(|i| m.get(i * PAGE) == i as u8);
        (0..64).for_each(|i| m.set(i * PAGE, 200));
        i32::from(right)
    });
    say!("{}", child.wait());
    say!("untouched {}", (0..64).all(|i| m.get(i * PAGE) == i as u8));
}

fn shared_file_writes_are_seen() {
    write_file(c"f", &[b'.'; 10]);
    let fd = open(c"f", O_RDWR).fd();
    let m = map(PAGE, RW, MAP_SHARED, fd, 0);
    m.put(2, b"map");
    say!("by read: {}", pread(fd, 20, 0));
    sys!(SYS_pwrite64, fd, &b"write"[..], 5, 5).must();
    say!("by the mapping: {}", m.text(0, 10));
    fork(|| {
        m.put(0, b"##");
        0
    })
    .wait();
    say!("from a child: {}", pread(fd, 20, 0));
}

fn private_file_writes_stay() {
    write_file(c"f", b"original");
    let fd = open(c"f", O_RDONLY).fd();
    let m = map(PAGE, RW, MAP_PRIVATE, fd, 0);
    m.put(0, b"PRIVATE");
    say!("mapping {}, file {}", m.text(0, 8), pread(fd, 8, 0));
}

fn file_offset_and_tail() {
    let mut bytes = vec![b'a'; PAGE];
    bytes.extend(b"second page");
    write_file(c"f", &bytes);
    let fd = open(c"f", O_RDONLY).fd();
    let m = map(PAGE, PROT_READ, MAP_SHARED, fd, PAGE as i64);
    say!("{}, zero after the end {}", m.text(0, 11), (11..PAGE).all(|at| m.get(at) == 0));
}

fn two_mappings_of_one_file() {
    write_file(c"f", &[0; PAGE]);
    let (a, b) = (open(c"f", O_RDWR).fd(), open(c"f", O_RDWR).fd());
    let (x, y) = (map(PAGE, RW, MAP_SHARED, a, 0), map(PAGE, RW, MAP_SHARED, b, 0));
    x.put(100, b"same page");
    say!("{}", y.text(100, 9));
}

fn mmap_access_modes() {
    write_file(c"f", &[0; PAGE]);
    let try_map = |mode, prot, flags| {
        let fd = open(c"f", mode).fd();
        sys!(SYS_mmap, 0, PAGE, prot, flags, fd, 0).ok()
    };
    say!("write-only, private read: {}", try_map(O_WRONLY, PROT_READ, MAP_PRIVATE));
    say!("write-only, shared write: {}", try_map(O_WRONLY, PROT_WRITE, MAP_SHARED));
    say!("read-only, shared write: {}", try_map(O_RDONLY, RW, MAP_SHARED));
    say!("read-only, private write: {}", try_map(O_RDONLY, RW, MAP_PRIVATE));
    say!("O_PATH: {}", try_map(O_PATH, PROT_READ, MAP_PRIVATE));
    let fd = open(c"f", O_RDONLY).fd();
    let m = map(PAGE, PROT_READ, MAP_SHARED, fd, 0);
    say!("mprotect to write later: {}", m.protect(RW));
}

fn mmap_of_other_descriptors() {
    let (r, _w) = pipe();
    let (socket, _) = socketpair(SOCK_STREAM);
    let epoll = sys!(SYS_epoll_create1, 0).fd();
    let directory = open(c".", O_RDONLY).fd();
    for (what, fd) in [("pipe", r), ("socket", socket), ("epoll", epoll), ("directory", directory)] {
        say!("{what}: {}", sys!(SYS_mmap, 0, PAGE, PROT_READ, MAP_PRIVATE, fd, 0));
    }
}

fn mapping_outlives_descriptor_and_name() {
    write_file(c"f", b"still here");
    let fd = open(c"f", O_RDWR).fd();
    let m = map(PAGE, RW, MAP_SHARED, fd, 0);
    close(fd);
    sys!(SYS_unlink, c"f").must();
    say!("{}", m.text(0, 10));
    m.set(0, b'S');
    say!("{}", m.text(0, 10));
}

fn munmap_splits() {
    let m = map_anon(PAGE * 5);
    (0..5).for_each(|i| m.set(i * PAGE, i as u8 + 1));
    say!("middle: {}", sys!(SYS_munmap, m.addr + PAGE * 2, PAGE));
    say!("{} {} {}", m.get(PAGE), m.get(PAGE * 3), m.get(PAGE * 4));
    fault_report("the hole", m.addr, || m.get(PAGE * 2));
    say!("across the hole: {}", m.unmap());
}

fn munmap_errors() {
    let m = map_anon(PAGE);
    say!("unaligned: {}", sys!(SYS_munmap, m.addr + 1, PAGE));
    say!("zero length: {}", sys!(SYS_munmap, m.addr, 0));
    say!("odd length is rounded: {}", sys!(SYS_munmap, m.addr, 1));
    say!("nothing there: {}", m.unmap());
    say!("wraps: {}", sys!(SYS_munmap, m.addr, u64::MAX - 100));
}

fn mprotect_errors() {
    let m = map_anon(PAGE * 3);
    say!("unaligned: {}", sys!(SYS_mprotect, m.addr + 8, PAGE, RW));
    say!("zero length: {}", sys!(SYS_mprotect, m.addr, 0, RW));
    say!("unknown bits: {}", sys!(SYS_mprotect, m.addr, PAGE, 0x100));
    sys!(SYS_munmap, m.addr + PAGE, PAGE).must();
    say!("over a hole: {}", m.protect(PROT_READ));
    fault_report("what came before the hole changed", m.addr, || m.set(0, 1));
    fault_report("what came after did not", m.addr, || m.set(PAGE * 2, 1));
}

fn mprotect_splits_and_merges() {
    let m = map_anon(PAGE * 3);
    sys!(SYS_mprotect, m.addr + PAGE, PAGE, PROT_READ).must();
    m.set(0, 1);
    m.set(PAGE * 2, 1);
    fault_report("middle", m.addr, || m.set(PAGE, 1));
    m.protect(RW).must();
    m.set(PAGE, 1);
    say!("all writable again");
}

fn mremap_grows_in_place_and_moves() {
    let m = map_anon(PAGE * 4);
    m.put(0, b"kept");
    sys!(SYS_munmap, m.addr + PAGE, PAGE * 3).must();
    say!("in place: {}", sys!(SYS_mremap, m.addr, PAGE, PAGE * 3, 0).0 as usize == m.addr);
    let blocker = sys!(SYS_mmap, m.addr + PAGE * 3, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    blocker.must();
    say!("no room: {}", sys!(SYS_mremap, m.addr, PAGE * 3, PAGE * 8, 0));
    let moved = sys!(SYS_mremap, m.addr, PAGE * 3, PAGE * 8, MREMAP_MAYMOVE).must() as usize;
    let there = Map { addr: moved, len: PAGE * 8 };
    say!("moved {}, {} and zero {}", moved != m.addr, there.text(0, 4), there.get(PAGE * 7));
    fault_report("old place", m.addr, || m.get(0));
}

fn mremap_shrinks() {
    let m = map_anon(PAGE * 4);
    m.set(0, 7);
    say!("{}", sys!(SYS_mremap, m.addr, PAGE * 4, PAGE, 0).0 as usize == m.addr);
    say!("{}", m.get(0));
    fault_report("tail", m.addr, || m.get(PAGE));
}

fn mremap_fixed() {
    let (from, to) = (map_anon(PAGE), map_anon(PAGE * 2));
    from.put(0, b"moved");
    to.put(0, b"old");
    let flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    say!("{}", sys!(SYS_mremap, from.addr, PAGE, PAGE, flags, to.addr).0 as usize == to.addr);
    say!("{}", to.text(0, 5));
    say!("without MAYMOVE: {}", sys!(SYS_mremap, to.addr, PAGE, PAGE, MREMAP_FIXED, from.addr));
    say!("overlapping: {}", sys!(SYS_mremap, to.addr, PAGE * 2, PAGE * 2, flags, to.addr + PAGE));
    let dontunmap = sys!(SYS_mremap, to.addr, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
    say!("DONTUNMAP: {}, old reads {}", dontunmap.ok(), to.get(0));
}

fn mremap_errors() {
    let m = map_anon(PAGE * 2);
    say!("unaligned: {}", sys!(SYS_mremap, m.addr + 1, PAGE, PAGE, 0));
    say!("new size zero: {}", sys!(SYS_mremap, m.addr, PAGE, 0, 0));
    say!("unknown flag: {}", sys!(SYS_mremap, m.addr, PAGE, PAGE, 64));
    say!("old size zero of private: {}", sys!(SYS_mremap, m.addr, 0, PAGE, MREMAP_MAYMOVE));
    sys!(SYS_munmap, m.addr + PAGE, PAGE).must();
    say!("longer than the mapping: {}", sys!(SYS_mremap, m.addr, PAGE * 2, PAGE * 3, MREMAP_MAYMOVE));
    m.unmap();
    say!("nothing there: {}", sys!(SYS_mremap, m.addr, PAGE, PAGE * 2, MREMAP_MAYMOVE));
}

fn mremap_shared_duplicate() {
    let m = map_shared(PAGE);
    let twin = sys!(SYS_mremap, m.addr, 0, PAGE, MREMAP_MAYMOVE).must() as usize;
    m.set(5, 77);
    say!("the same memory twice: {}", Map { addr: twin, len: PAGE }.get(5));
}

fn brk_moves() {
    let start = sys!(SYS_brk, 0).0;
    say!("grow: {}", sys!(SYS_brk, start + 3 * PAGE as i64).0 - start);
    let m = Map { addr: (start as usize).next_multiple_of(PAGE), len: PAGE };
    m.set(0, 4);
    say!("usable {}", m.get(0));
    say!("back: {}", sys!(SYS_brk, start).0 - start);
    say!("below the start is refused: {}", sys!(SYS_brk, 4096).0 == start);
    sys!(SYS_brk, start + 3 * PAGE as i64);
    say!("fresh pages are zero: {}", m.get(0));
}

fn brk_limit() {
    let start = sys!(SYS_brk, 0).0;
    set_soft_limit(RLIMIT_DATA, 1 << 20).must();
    say!("past RLIMIT_DATA unchanged: {}", sys!(SYS_brk, start + (64 << 20)).0 == start);
}

fn madvise_dontneed() {
    let m = map_anon(PAGE * 2);
    m.put(0, b"xx");
    say!("{}, then {}", sys!(SYS_madvise, m.addr, PAGE, MADV_DONTNEED), m.get(0));
    let shared = map_shared(PAGE);
    shared.set(0, 5);
    say!("shared keeps: {} {}", sys!(SYS_madvise, shared.addr, PAGE, MADV_DONTNEED), shared.get(0));
}

fn madvise_dontneed_file() {
    write_file(c"f", b"file");
    let fd = open(c"f", O_RDONLY).fd();
    let m = map(PAGE, RW, MAP_PRIVATE, fd, 0);
    m.put(0, b"COPY");
    sys!(SYS_madvise, m.addr, PAGE, MADV_DONTNEED).must();
    say!("{}", m.text(0, 4));
}

fn madvise_fork_flags() {
    let (wipe, gone) = (map_anon(PAGE), map_anon(PAGE));
    wipe.set(0, 9);
    gone.set(0, 9);
    say!("{} {}", sys!(SYS_madvise, wipe.addr, PAGE, MADV_WIPEONFORK), sys!(SYS_madvise, gone.addr, PAGE, MADV_DONTFORK));
    say!("wiped in the child: {}", fork(|| wipe.get(0).into()).wait());
    let child = fork(|| {
        fault_report("not in the child", gone.addr, || gone.get(0));
        0
    });
    child.wait();
    say!("{} {}", wipe.get(0), gone.get(0));
}

fn madvise_errors() {
    let m = map_anon(PAGE * 3);
    say!("unaligned: {}", sys!(SYS_madvise, m.addr + 1, PAGE, MADV_DONTNEED));
    say!("unknown advice: {}", sys!(SYS_madvise, m.addr, PAGE, 9999));
    say!("zero length: {}", sys!(SYS_madvise, m.addr, 0, MADV_DONTNEED));
    sys!(SYS_munmap, m.addr + PAGE, PAGE).must();
    m.set(0, 1);
    m.set(PAGE * 2, 1);
    say!("over a hole: {}, both sides done: {} {}", sys!(SYS_madvise, m.addr, m.len, MADV_DONTNEED), m.get(0), m.get(PAGE * 2));
}

fn madvise_remove_and_free() {
    let m = map_shared(PAGE);
    m.set(0, 6);
    say!("remove: {}, then {}", sys!(SYS_madvise, m.addr, PAGE, MADV_REMOVE), m.get(0));
    let private = map_anon(PAGE);
    private.set(0, 6);
    say!("free: {}", sys!(SYS_madvise, private.addr, PAGE, MADV_FREE));
    private.set(0, 7);
    say!("written after: {}", private.get(0));
    say!("remove of private: {}", sys!(SYS_madvise, private.addr, PAGE, MADV_REMOVE));
}

fn mincore_reports() {
    let m = map_anon(PAGE * 3);
    m.set(PAGE, 1);
    let mut pages = [9u8; 3];
    say!("{}: {:?}", sys!(SYS_mincore, m.addr, m.len, &mut pages), pages.map(|p| p & 1));
    say!("unaligned: {}", sys!(SYS_mincore, m.addr + 1, PAGE, &mut pages));
    say!("bad vector: {}", sys!(SYS_mincore, m.addr, PAGE, 8));
    m.unmap();
    say!("unmapped: {}", sys!(SYS_mincore, m.addr, PAGE, &mut pages));
}

fn msync_forms() {
    write_file(c"f", &[0; PAGE]);
    let fd = open(c"f", O_RDWR).fd();
    let m = map(PAGE, RW, MAP_SHARED, fd, 0);
    m.set(0, b'!');
    say!("sync {}, async {}", sys!(SYS_msync, m.addr, PAGE, MS_SYNC), sys!(SYS_msync, m.addr, PAGE, MS_ASYNC));
    say!("both: {}", sys!(SYS_msync, m.addr, PAGE, MS_SYNC | MS_ASYNC));
    say!("unknown flag: {}", sys!(SYS_msync, m.addr, PAGE, 64));
    say!("unaligned: {}", sys!(SYS_msync, m.addr + 1, PAGE, MS_SYNC));
    m.unmap();
    say!("unmapped: {}", sys!(SYS_msync, m.addr, PAGE, MS_SYNC));
    say!("{}", pread(fd, 1, 0));
}

fn mlock_and_limits() {
    let m = map_anon(PAGE * 4);
    say!("{} {}", sys!(SYS_mlock, m.addr, m.len), sys!(SYS_munlock, m.addr, m.len));
    say!("mlock2 unknown flag: {}", sys!(SYS_mlock2, m.addr, PAGE, 8));
    say!("mlockall bad flags: {}", sys!(SYS_mlockall, 0));
    let hole = map_anon(PAGE);
    hole.unmap();
    say!("unmapped: {}", sys!(SYS_mlock, hole.addr, PAGE));
    say!("munlockall: {}", sys!(SYS_munlockall));
}

fn address_space_limit() {
    say!("{}", fork(|| {
        set_soft_limit(RLIMIT_AS, 256 << 20).must();
        let anon = MAP_PRIVATE | MAP_ANONYMOUS;
        say!("1 GiB: {}", sys!(SYS_mmap, 0, 1 << 30, RW, anon, -1, 0));
        say!("1 MiB: {}", sys!(SYS_mmap, 0, 1 << 20, RW, anon, -1, 0).ok());
        0
    })
    .wait());
}

fn data_limit() {
    say!("{}", fork(|| {
        set_soft_limit(RLIMIT_DATA, 64 << 20).must();
        say!("private writable: {}", sys!(SYS_mmap, 0, 128 << 20, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        say!("read-only does not count: {}", sys!(SYS_mmap, 0, 128 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0).ok());
        say!("shared does not count: {}", sys!(SYS_mmap, 0, 128 << 20, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0).ok());
        0
    })
    .wait());
}

fn growsdown_stack_guard() {
    let area = map(PAGE * 1024, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    area.unmap();
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN;
    let top = Map { addr: area.addr + PAGE * 1000, len: PAGE };
    sys!(SYS_mmap, top.addr, PAGE, RW, flags, -1, 0).must();
    let below = Map { addr: top.addr - PAGE, len: PAGE };
    say!("{}", fork(|| {
        below.set(0, 5);
        below.get(0).into()
    })
    .wait());
}

fn maps_file_shows_regions() {
    write_file(c"mapped-file", &[0; PAGE * 2]);
    let fd = open(c"mapped-file", O_RDWR).fd();
    let shared = map(PAGE, PROT_READ, MAP_SHARED, fd, PAGE as i64);
    let private = map_anon(PAGE * 7);
    private.protect(PROT_READ | PROT_EXEC).must();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = |addr: usize| maps.lines().find(|line| line.starts_with(&format!("{addr:x}-"))).unwrap_or("absent");
    let words: Vec<&str> = line(shared.addr).split_whitespace().collect();
    say!("{} {} ends right {}", words[1], words[2], words[0].ends_with(&format!("{:x}", shared.addr + PAGE)));
    say!("names the file {}", words.last().unwrap().ends_with("/mapped-file"));
    say!("anonymous {}", line(private.addr).split_whitespace().nth(1).unwrap());
    for name in ["[heap]", "[stack]", "[vdso]"] {
        say!("{name} {}", maps.lines().filter(|line| line.ends_with(name)).count());
    }
}

fn dev_zero_mapping() {
    let fd = open(c"/dev/zero", O_RDWR).fd();
    let m = map(PAGE, RW, MAP_PRIVATE, fd, 0);
    m.set(1, 1);
    let shared = map(PAGE, RW, MAP_SHARED, fd, 0);
    fork(|| {
        shared.set(0, 8);
        0
    })
    .wait();
    say!("{} {} {}", m.get(0), m.get(1), shared.get(0));
}

fn memfd_mapping_shared() {
    let fd = sys!(SYS_memfd_create, c"m", 0).fd();
    sys!(SYS_ftruncate, fd, PAGE).must();
    let m = map(PAGE, RW, MAP_SHARED, fd, 0);
    fork(|| {
        map(PAGE, RW, MAP_SHARED, fd, 0).put(0, b"child");
        0
    })
    .wait();
    say!("{} {}", m.text(0, 5), pread(fd, 5, 0));
}

fn populate_and_stack_flags() {
    let m = map(PAGE * 4, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    let mut pages = [0u8; 4];
    sys!(SYS_mincore, m.addr, m.len, &mut pages).must();
    say!("populated {:?}", pages.map(|p| p & 1));
    say!("stack, noreserve: {}", sys!(SYS_mmap, 0, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0).ok());
    let low = sys!(SYS_mmap, 0, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0).must();
    say!("below 2 GiB: {}", low < 1 << 31);
}

fn mmap_min_address() {
    say!("{}", fork(|| {
        sys!(SYS_setresuid, 4321, 4321, 4321).must();
        say!("page 0: {}", sys!(SYS_mmap, 0, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
        0
    })
    .wait());
}

fn file_mapping_read_after_write() {
    let fd = open(c"f", O_RDWR | O_CREAT).fd();
    sys!(SYS_ftruncate, fd, PAGE * 16).must();
    let m = map(PAGE * 16, PROT_READ, MAP_SHARED, fd, 0);
    let right = (0..16u8).all(|i| {
        sys!(SYS_pwrite64, fd, &[i + 1; 8][..], 8, usize::from(i) * PAGE + 100).must();
        m.get(usize::from(i) * PAGE + 100) == i + 1
    });
    say!("{right}");
}

fn huge_sparse_reserve() {
    let m = map(1 << 36, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    say!("64 GiB reserved; open a piece: {}", sys!(SYS_mprotect, m.addr + (1 << 35), PAGE, RW));
    let piece = Map { addr: m.addr + (1 << 35), len: PAGE };
    piece.set(0, 1);
    say!("{}", piece.get(0));
}

fn process_vm_transfer() {
    let m = map_anon(PAGE);
    m.put(0, b"parent's");
    let (r, w) = pipe();
    let child = fork(|| {
        m.put(0, b"children");
        write(w, b"x");
        sys!(SYS_pause);
        0
    });
    read(r, 1);
    let mut buf = [0u8; 8];
    let local = iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: 8 };
    let remote = iovec { iov_base: m.addr as *mut c_void, iov_len: 8 };
    say!("{}", sys!(SYS_process_vm_readv, child.0, &local, 1, &remote, 1, 0));
    say!("{} here {}", buf.escape_ascii(), m.text(0, 8));
    child.kill(SIGKILL);
    child.wait();
}

fn process_vm_errors() {
    let remote = iovec { iov_base: 8 as *mut c_void, iov_len: 8 };
    let mut buf = [0u8; 8];
    let local = iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: 8 };
    say!("bad remote: {}", sys!(SYS_process_vm_readv, getpid(), &local, 1, &remote, 1, 0));
    say!("bad flags: {}", sys!(SYS_process_vm_readv, getpid(), &local, 1, &local, 1, 1));
    say!("nobody: {}", sys!(SYS_process_vm_readv, i32::MAX, &local, 1, &local, 1, 0));
    say!("too many: {}", sys!(SYS_process_vm_readv, getpid(), &local, 1025, &local, 1, 0));
}

const SYS_MSEAL: i64 = 462;

fn seal_keeps_what_is_mapped() {
    let m = map_anon(PAGE * 4);
    m.set(PAGE, 7);
    say!("{}", sys!(SYS_MSEAL, m.addr + PAGE, PAGE, 0));
    say!("again {}", sys!(SYS_MSEAL, m.addr + PAGE, PAGE, 0));
    say!("unmap {} around it {}", sys!(SYS_munmap, m.addr + PAGE, PAGE), m.unmap());
    say!("protect {}", sys!(SYS_mprotect, m.addr + PAGE, PAGE, PROT_READ));
    say!("map over {}", sys!(SYS_mmap, m.addr + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    say!("move {} shrink {}", sys!(SYS_mremap, m.addr + PAGE, PAGE, PAGE * 2, MREMAP_MAYMOVE), sys!(SYS_mremap, m.addr, PAGE * 4, PAGE, 0));
    say!("still {}", m.get(PAGE));
    m.set(PAGE, 8);
    let child = fork(|| {
        say!("in a child {} {}", sys!(SYS_munmap, m.addr + PAGE, PAGE), m.get(PAGE));
        0
    });
    say!("{}", child.wait());
    say!("others go {} {}", sys!(SYS_munmap, m.addr, PAGE), sys!(SYS_munmap, m.addr + PAGE * 2, PAGE * 2));
}

fn seal_errors() {
    let m = map_anon(PAGE * 3);
    sys!(SYS_munmap, m.addr + PAGE, PAGE).must();
    say!("flags {}", sys!(SYS_MSEAL, m.addr, PAGE, 1));
    say!("unaligned {}", sys!(SYS_MSEAL, m.addr + 1, PAGE, 0));
    say!("a hole {}", sys!(SYS_MSEAL, m.addr, PAGE * 3, 0));
    say!("nothing {}", sys!(SYS_MSEAL, m.addr, 0, 0));
    say!("overflow {}", sys!(SYS_MSEAL, m.addr, usize::MAX - 10, 0));
    say!("not sealed {}", sys!(SYS_munmap, m.addr, PAGE));
}

fn seal_and_advice() {
    let m = map_anon(PAGE * 2);
    m.set(0, 1);
    m.set(PAGE, 2);
    sys!(SYS_mprotect, m.addr, PAGE, PROT_READ).must();
    sys!(SYS_MSEAL, m.addr, PAGE * 2, 0).must();
    say!("read-only {}", sys!(SYS_madvise, m.addr, PAGE, MADV_DONTNEED));
    say!("writable {} {}", sys!(SYS_madvise, m.addr + PAGE, PAGE, MADV_DONTNEED), m.get(PAGE));
    say!("harmless {}", sys!(SYS_madvise, m.addr, PAGE, MADV_WILLNEED));
    say!("kept {}", m.get(0));
}

fn remap_file_pages_rearranges() {
    let mut bytes = vec![0u8; PAGE * 3];
    for (i, page) in bytes.chunks_mut(PAGE).enumerate() {
        page[0] = b'a' + i as u8;
    }
    write_file(c"f", &bytes);
    let fd = open(c"f", O_RDWR).fd();
    let m = map(PAGE * 3, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    let show = || format!("{}{}{}", m.text(0, 1), m.text(PAGE, 1), m.text(PAGE * 2, 1));
    say!("{}", show());
    say!("{} {}", sys!(SYS_remap_file_pages, m.addr, PAGE, 0, 2, 0), show());
    say!("{} {}", sys!(SYS_remap_file_pages, m.addr + PAGE * 2, PAGE, 0, 0, 0), show());
    m.set(0, b'z');
    say!("{}", pread(fd, 1, PAGE as i64 * 2));
}

fn remap_file_pages_errors() {
    let private = map_anon(PAGE);
    say!("private {}", sys!(SYS_remap_file_pages, private.addr, PAGE, 0, 0, 0));
    let shared = map_shared(PAGE * 2);
    say!("rights {}", sys!(SYS_remap_file_pages, shared.addr, PAGE, PROT_READ, 0, 0));
    say!("nothing {}", sys!(SYS_remap_file_pages, shared.addr, 0, 0, 0, 0));
    say!("beyond {}", sys!(SYS_remap_file_pages, shared.addr, PAGE * 3, 0, 0, 0));
    say!("overflow {}", sys!(SYS_remap_file_pages, shared.addr, PAGE, 0, usize::MAX, 0));
}

fn mremap_shrinks_over_several() {
    let m = map_anon(PAGE * 4);
    sys!(SYS_mprotect, m.addr + PAGE * 2, PAGE, PROT_READ).must();
    say!("{}", sys!(SYS_mremap, m.addr, PAGE * 4, PAGE, 0).0 as usize == m.addr);
    say!("gone {}", sys!(SYS_madvise, m.addr + PAGE, PAGE * 3, MADV_NORMAL));
    say!("grown beyond one {}", {
        let m = map_anon(PAGE * 4);
        sys!(SYS_mprotect, m.addr + PAGE, PAGE, PROT_READ).must();
        sys!(SYS_mremap, m.addr, PAGE * 4, PAGE * 8, MREMAP_MAYMOVE)
    });
    say!("absurd {}", sys!(SYS_mremap, m.addr, usize::MAX - PAGE * 4, PAGE, 0).get().is_err());
}
