//! Terminals.

use serde_json::json;

use super::cases;
use crate::Bench;
use crate::bench::ID;
use crate::console::Console;

cases![
    socket,
    window,
    interrupt,
    hang_up,
    errors,
    size_of_the_spec,
    dev_console
];

fn terminal(b: &mut Bench, script: &str) -> Option<crate::console::Master> {
    b.change(|config| config["process"]["terminal"] = json!(true));
    b.script(script);
    let console = Console::listen(&b.path("socket"));
    let seen = b.run(&["run", "--detach", "--console-socket", "socket", ID]);
    b.note_all("run", &seen);
    let master = console.accept();
    b.note(
        "master",
        master
            .as_ref()
            .map_or("none".to_owned(), |master| master.shape.clone()),
    );
    master
}

fn socket(b: &mut Bench) {
    let Some(mut master) = terminal(
        b,
        "tty; test -t 0 && test -t 1 && test -t 2 && echo all; read x; echo got $x; exit 3",
    ) else {
        return;
    };
    let text = master.until("all");
    b.note("tty", text.lines().next().unwrap_or_default());
    b.note("all", text.contains("all"));
    master.type_in("hello\n");
    let text = master.until("got hello");
    b.note("echo and answer", text.replace('\r', "\\r"));
    b.wait_for("stopped");
}

fn window(b: &mut Bench) {
    let Some(mut master) = terminal(
        b,
        "trap 'stty size' WINCH; echo ready; while :; do read x; done",
    ) else {
        return;
    };
    let _ = master.until("ready");
    crate::console::resize(&master, 33, 111);
    b.note("size", master.until("33 111").contains("33 111"));
}

fn interrupt(b: &mut Bench) {
    let Some(mut master) = terminal(b, "sh -c 'echo ready; sleep 1000'; echo code $?; cat") else {
        return;
    };
    let _ = master.until("ready");
    master.type_in("\u{3}");
    b.note("interrupted", master.until("code 130").contains("code 130"));
    master.type_in("\u{4}");
    b.wait_for("stopped");
}

fn hang_up(b: &mut Bench) {
    let Some(mut master) = terminal(
        b,
        "trap 'exit 7' HUP; echo ready; while :; do sleep 1000 & wait; done",
    ) else {
        return;
    };
    let _ = master.until("ready");
    drop(master);
    b.wait_for("stopped");
}

fn errors(b: &mut Bench) {
    b.change(|config| config["process"]["terminal"] = json!(true));
    b.check("no socket", &["create", ID]);
    b.check(
        "missing socket",
        &["create", "--console-socket", "/nosuch", ID],
    );
    std::fs::write(b.path("file"), "").expect("a file");
    b.check("not a socket", &["create", "--console-socket", "file", ID]);
    b.change(|config| config["process"]["terminal"] = json!(false));
    b.check(
        "without terminal",
        &["create", "--console-socket", "/nosuch", ID],
    );
    b.check(
        "run detached",
        &["run", "--detach", "--console-socket", "/nosuch", ID],
    );
}

fn size_of_the_spec(b: &mut Bench) {
    b.change(|config| config["process"]["consoleSize"] = json!({"height": 22, "width": 99}));
    let Some(mut master) = terminal(b, "stty size; read x") else {
        return;
    };
    b.note("size", master.until("22 99").contains("22 99"));
}

fn dev_console(b: &mut Bench) {
    let Some(mut master) = terminal(
        b,
        "ls -l /dev/console | cut -c1; echo to-console > /dev/console; readlink /proc/self/fd/0; mountpoint -q /dev/console && echo mounted; echo end; read x",
    ) else {
        return;
    };
    b.note("text", master.until("end\r\n").replace('\r', ""));
}
