//! What a person at a terminal expects.

use abi::signal::Signal;

use super::*;
use crate::fs::devpts::termios::{iflag, oflag};

fn shown(ldisc: &mut LineDiscipline) -> String {
    String::from_utf8_lossy(&ldisc.take_output(usize::MAX)).into_owned()
}

fn data(bytes: &[u8]) -> ReadOutcome {
    ReadOutcome::Data(bytes.to_vec())
}

fn raw() -> LineDiscipline {
    let mut ldisc = LineDiscipline::default();
    let mut termios = Termios::default();
    termios.lflag &= !(lflag::ICANON | lflag::ECHO | lflag::ISIG);
    ldisc.set_termios(termios);
    ldisc
}

#[test]
fn a_line_is_read_when_it_is_complete() {
    let mut ldisc = LineDiscipline::default();
    ldisc.receive(b"ls");
    assert!(!ldisc.readable());
    assert_eq!(ldisc.read(100, false), ReadOutcome::Nothing(false));
    ldisc.receive(b"\rnext\r");
    assert_eq!(ldisc.pending(), 8);
    assert_eq!(ldisc.read(2, false), data(b"ls"));
    assert_eq!(ldisc.read(100, false), data(b"\n"));
    assert_eq!(ldisc.read(100, false), data(b"next\n"));
    assert_eq!(shown(&mut ldisc), "ls\r\nnext\r\n");
}

#[test]
fn the_end_of_file_character_gives_what_is_there_or_nothing() {
    let mut ldisc = LineDiscipline::default();
    ldisc.receive(b"ab\x04");
    assert_eq!(ldisc.read(100, false), data(b"ab"));
    ldisc.receive(b"\x04");
    assert!(ldisc.readable());
    assert_eq!(ldisc.read(100, false), data(b""));
    assert!(!ldisc.readable());
}

#[test]
fn erasing_works_on_characters_words_and_lines() {
    let mut ldisc = LineDiscipline::default();
    ldisc.receive(b"abc\x7fd\r");
    assert_eq!(ldisc.read(100, false), data(b"abd\n"));
    assert_eq!(shown(&mut ldisc), "abc\x08 \x08d\r\n");
    ldisc.receive(b"one two_3  \x17four\r");
    assert_eq!(ldisc.read(100, false), data(b"one four\n"));
    ldisc.receive(b"rubbish\x15ok\r");
    assert_eq!(ldisc.read(100, false), data(b"ok\n"));
    shown(&mut ldisc);
    ldisc.receive(b"\x7f\x7f");
    assert_eq!(shown(&mut ldisc), "");
}

#[test]
fn utf8_characters_are_erased_whole() {
    let mut ldisc = LineDiscipline::default();
    let mut termios = *ldisc.termios();
    termios.iflag |= iflag::IUTF8;
    ldisc.set_termios(termios);
    ldisc.receive("aé€\x7f\x7fb\r".as_bytes());
    assert_eq!(ldisc.read(100, false), data(b"ab\n"));
    assert_eq!(shown(&mut ldisc), "aé€\x08 \x08\x08 \x08b\r\n");
}

#[test]
fn control_characters_echo_visibly_and_erase_two_columns() {
    let mut ldisc = LineDiscipline::default();
    ldisc.receive(b"\x01\x7f");
    assert_eq!(shown(&mut ldisc), "^A\x08 \x08\x08 \x08");
}

#[test]
fn tabs_are_erased_to_where_they_began() {
    let mut ldisc = LineDiscipline::default();
    ldisc.receive(b"ab\t\x7f");
    assert_eq!(shown(&mut ldisc), "ab\t\x08\x08\x08\x08\x08\x08");
}

#[test]
fn signal_characters_flush_and_signal() {
    let mut ldisc = LineDiscipline::default();
    let received = ldisc.receive(b"half\x03");
    assert_eq!(received.signals, [Signal::INT]);
    assert!(received.flushed);
    assert_eq!(shown(&mut ldisc), "^C");
    ldisc.receive(b"x\r");
    assert_eq!(ldisc.read(100, false), data(b"x\n"));
    assert_eq!(
        ldisc.receive(b"\x1c\x1a").signals,
        [Signal::QUIT, Signal::TSTP]
    );
}

#[test]
fn the_next_character_can_be_literal() {
    let mut ldisc = LineDiscipline::default();
    let received = ldisc.receive(b"\x16\x03\r");
    assert_eq!(received.signals, []);
    assert_eq!(ldisc.read(100, false), data(b"\x03\n"));
}

#[test]
fn flow_control_stops_and_starts_output() {
    let mut ldisc = LineDiscipline::default();
    assert_eq!(ldisc.receive(b"\x13").flow, Some(true));
    assert_eq!(ldisc.write(b"x"), 0);
    assert!(!ldisc.writable());
    assert_eq!(ldisc.receive(b"\x11").flow, Some(false));
    assert_eq!(ldisc.write(b"x"), 1);
}

#[test]
fn raw_mode_gives_bytes_as_they_come() {
    let mut ldisc = raw();
    ldisc.receive(b"\x03\x7f");
    assert_eq!(ldisc.read(100, false), data(b"\x03\x7f"));
    assert_eq!(ldisc.read(100, false), ReadOutcome::Nothing(false));
    assert_eq!(shown(&mut ldisc), "");
}

#[test]
fn vmin_and_vtime_decide_when_a_raw_read_is_satisfied() {
    let mut ldisc = raw();
    let mut termios = *ldisc.termios();
    termios.cc[cc::VMIN] = 3;
    ldisc.set_termios(termios);
    ldisc.receive(b"ab");
    assert!(!ldisc.readable());
    assert_eq!(ldisc.read(100, false), ReadOutcome::Nothing(false));
    assert_eq!(ldisc.read(2, false), data(b"ab"));
    termios.cc[cc::VMIN] = 0;
    ldisc.set_termios(termios);
    assert_eq!(ldisc.read(100, false), ReadOutcome::Nothing(true));
    termios.cc[cc::VTIME] = 5;
    ldisc.set_termios(termios);
    assert_eq!(ldisc.read(100, false), ReadOutcome::Nothing(false));
    assert_eq!(ldisc.read(100, true), data(b""));
}

#[test]
fn output_is_processed_unless_raw() {
    let mut ldisc = LineDiscipline::default();
    assert_eq!(ldisc.write(b"a\tb\n"), 4);
    assert_eq!(shown(&mut ldisc), "a\tb\r\n");
    let mut termios = *ldisc.termios();
    termios.oflag |= oflag::XTABS;
    ldisc.set_termios(termios);
    ldisc.write(b"a\tb\n");
    assert_eq!(shown(&mut ldisc), "a       b\r\n");
    termios.oflag = 0;
    ldisc.set_termios(termios);
    ldisc.write(b"a\n");
    assert_eq!(shown(&mut ldisc), "a\n");
}

#[test]
fn changing_modes_loses_no_input() {
    let mut ldisc = LineDiscipline::default();
    let canonical = *ldisc.termios();
    ldisc.receive(b"abc");
    let mut termios = canonical;
    termios.lflag &= !lflag::ICANON;
    ldisc.set_termios(termios);
    assert!(ldisc.readable());
    ldisc.set_termios(canonical);
    assert_eq!(ldisc.read(100, false), data(b"abc"));
    assert!(!ldisc.readable());
}

#[test]
fn nothing_grows_without_bound() {
    let mut ldisc = raw();
    let flood = vec![b'x'; 100_000];
    assert_eq!(ldisc.receive(&flood).taken, INPUT_LIMIT);
    assert_eq!(ldisc.room(), 0);
    assert!(ldisc.write(&flood) <= OUTPUT_LIMIT);
    let mut ldisc = LineDiscipline::default();
    assert_eq!(ldisc.receive(&flood).taken, flood.len());
    assert!(ldisc.output_len() <= ECHO_LIMIT + 8);
    ldisc.receive(b"\r");
    let ReadOutcome::Data(line) = ldisc.read(usize::MAX, false) else {
        panic!("a line is there");
    };
    assert_eq!(line.len(), INPUT_LIMIT);
    assert_eq!(line.last(), Some(&b'\n'));
}
