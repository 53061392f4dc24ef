//! `midge check` as a command, on the machine that there is: exit codes, what goes to a pipe, real
//! sockets and real files. What it finds on other machines is in `check.rs`.

mod process;
mod table;

use process::{MIDGE, Midge, free_port, run};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory of its own, removed with the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("midge-check-{}", free_port()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn report(file: &str) -> (i32, serde_json::Value) {
    let (code, out, err) = run(&["check", "-c", file, "--json"]);
    assert_eq!(err, "");
    (code, serde_json::from_str(&out).unwrap())
}

/// What was found, in words.
fn messages(report: &serde_json::Value) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| finding["message"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_exit_code_says_whether_midge_would_start() {
    let place = Place::new();
    let listener = format!("listener {} 127.0.0.1\nallow_anonymous true\n", free_port());
    let good = place.file("good.conf", &listener, 0o644);
    let (code, out, err) = run(&["check", "-c", &good]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.contains(&format!("midge would start with {good}, and run as ")),
        "{out}"
    );
    // A pipe gets no colours.
    assert!(!out.contains('\u{1b}'), "{out}");
    assert!(
        out.lines()
            .all(|line| line.chars().count() <= 80 || !line.trim().contains(' ')),
        "{out}"
    );

    let bad = place.file("bad.conf", "listner 1883\n", 0o644);
    let (code, out, _) = run(&["check", "-c", &bad]);
    assert_eq!(code, 3);
    assert!(out.contains("did you mean listener?"), "{out}");

    let missing = place.path("none.conf");
    let (code, report) = report(&missing);
    assert_eq!(
        (code, &report["would_start"]),
        (3, &serde_json::Value::Bool(false))
    );
    assert_eq!(
        messages(&report)[0],
        format!("Unable to open config file {missing}: there is none.")
    );

    for arguments in [&["check", "x"][..], &["check", "--jsn"], &["check", "-c"]] {
        let (code, out, err) = run(arguments);
        assert_eq!((code, out.as_str()), (3, ""));
        assert!(
            err.starts_with("Error: ") && err.contains("Usage: midge check"),
            "{err}"
        );
    }
    let (code, out, _) = run(&["check", "--help"]);
    assert!(code == 0 && out.contains("--json"), "{out}");
}

#[test]
fn a_start_that_fails_points_to_it() {
    let place = Place::new();
    let bad = place.file("bad.conf", "listner 1883\n", 0o644);
    let (code, _, err) = run(&["-c", &bad]);
    assert_eq!(code, 3);
    let last = err.lines().last().unwrap();
    assert_eq!(last, format!("To have it explained: midge check -c {bad}"));
}

#[test]
fn a_port_that_is_taken_and_by_whom() {
    let place = Place::new();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let own = fs::read_to_string("/proc/self/comm").unwrap();
    for address in ["127.0.0.1", "0.0.0.0", ""] {
        let text = format!("listener {port} {address}\nallow_anonymous true\n");
        let file = place.file("m.conf", &text, 0o644);
        let (code, report) = report(&file);
        let found = messages(&report);
        let is_said = |message: &String| {
            message.starts_with(&format!("Port {port} on "))
                && message.ends_with(&format!(
                    " is in use by {} (process {}).",
                    own.trim(),
                    std::process::id()
                ))
        };
        assert!(
            code == 3 && found.iter().any(is_said),
            "{address}: {found:#?}"
        );
    }
    // It was not disturbed.
    socket.set_nonblocking(true).unwrap();
    assert!(socket.accept().is_err());

    let path = place.path("socket");
    let socket = UnixListener::bind(&path).unwrap();
    let file = place.file(
        "m.conf",
        &format!("listener 0 {path}\nallow_anonymous true\n"),
        0o644,
    );
    let (code, report) = report(&file);
    let found = messages(&report);
    assert_eq!(code, 3);
    assert!(
        found[0].starts_with(&format!("The Unix socket {path} is in use by ")),
        "{found:#?}"
    );
    socket.set_nonblocking(true).unwrap();
    assert!(socket.accept().is_err());
}

#[test]
fn a_broker_that_serves_the_configuration_is_no_mistake() {
    let place = Place::new();
    let mut file = String::new();
    let midge = Midge::start_as(|port| {
        let text = format!("user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n");
        file = place.file("m.conf", &text, 0o644);
        let mut command = Command::new(MIDGE);
        command.current_dir(&place.0).args(["-c", "m.conf"]);
        command
    });
    let before = fs::read_dir(&place.0).unwrap().count();
    let (code, found) = report(&file);
    let said = format!(
        "midge (process {}) serves this very configuration already.",
        midge.child.id()
    );
    assert!(code == 0 && messages(&found).contains(&said), "{found:#}");
    assert_eq!(fs::read_dir(&place.0).unwrap().count(), before);
    assert!(!midge.log().contains("New connection"), "{}", midge.log());

    // With another file it is another program.
    let other = place.file("other.conf", &fs::read_to_string(&file).unwrap(), 0o644);
    let (code, found) = report(&other);
    let said = format!("is in use by midge (process {}).", midge.child.id());
    let is_said = |message: &String| message.ends_with(&said);
    assert!(
        code == 3 && messages(&found).iter().any(is_said),
        "{found:#}"
    );
}

#[test]
fn files_that_are_open_to_all() {
    let place = Place::new();
    let passwords = place.path("pass word");
    let (code, _, err) = run(&["passwd", "-c", "-b", &passwords, "ann", "secret"]);
    assert_eq!(code, 0, "{err}");
    fs::set_permissions(&passwords, fs::Permissions::from_mode(0o644)).unwrap();
    let text = format!(
        "listener {} 127.0.0.1\npassword_file {passwords}\n",
        free_port()
    );
    let file = place.file("m.conf", &text, 0o644);
    let (code, found) = report(&file);
    assert_eq!(code, 0, "{found:#}");
    let said = format!("Every user of this machine can read the password_file {passwords}.");
    let finding = found["findings"].as_array().unwrap().iter();
    let finding = finding.clone().find(|one| one["message"] == said.as_str());
    let fix = finding.unwrap()["fix"].as_str().unwrap();
    assert!(fix.contains(&format!("'{passwords}'")), "{fix}");

    // What it advises mends it.
    let command = fix.split('`').nth(1).unwrap();
    let done = Command::new("sh").args(["-c", command]).status().unwrap();
    assert!(done.success(), "{command}");
    let (_, found) = report(&file);
    assert!(!messages(&found).contains(&said), "{found:#}");
    assert!(!Path::new(&place.path("mosquitto.db")).exists());
}

#[test]
fn a_password_file_that_is_none() {
    let place = Place::new();
    let text = format!(
        "listener {}\npassword_file {}\n",
        free_port(),
        place.path("")
    );
    let (code, found) = report(&place.file("m.conf", &text, 0o644));
    let said = format!("The password_file {} cannot be read: ", place.path(""));
    let is_said =
        |message: &String| message.starts_with(&said) && !message.contains("there is none");
    assert!(
        code == 3 && messages(&found).iter().any(is_said),
        "{found:#}"
    );
}
