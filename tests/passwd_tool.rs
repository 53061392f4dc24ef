//! `midge passwd` on real files, and side by side with Debian's mosquitto_passwd and mosquitto:
//! what one writes the other reads. Those tests fail where mosquitto is not installed: `tests/run`
//! installs it.

use midge::policy::password::PasswordFile;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

const MIDGE: &str = env!("CARGO_BIN_EXE_midge");

/// A directory of a test's own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("midge-passwd-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn holds(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The names in it: nothing may be left lying about.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let name = |entry: Result<fs::DirEntry, _>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs `midge passwd` with `arguments`, and `typed` as its standard input.
fn passwd(arguments: &[&str], typed: &str) -> Output {
    let mut command = Command::new(MIDGE);
    command.arg("passwd").args(arguments);
    run(&mut command, typed)
}

fn run(command: &mut Command, typed: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who refuses the arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn works(arguments: &[&str], typed: &str) -> String {
    let output = passwd(arguments, typed);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    stderr
}

#[track_caller]
fn fails(arguments: &[&str], typed: &str, words: &str) {
    let output = passwd(arguments, typed);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
    assert!(stderr.starts_with("Error: "), "{stderr}");
    assert!(stderr.contains(words), "{words:?} is not in {stderr:?}");
    assert!(output.stdout.is_empty());
}

#[track_caller]
fn admits(path: &Path, user: &str, password: &str) -> bool {
    let file = PasswordFile::parse(&fs::read(path).unwrap()).unwrap();
    file.check(user, Some(password.as_bytes())).run()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_new_file_holds_one_user_and_is_its_owners_alone() {
    let folder = Folder::new();
    let path = folder.path("passwd");
    works(&["-c", text(&path), "ann"], "tea\ntea\n");
    let written = fs::read_to_string(&path).unwrap();
    assert!(written.starts_with("ann:$7$1000$"), "{written}");
    assert_eq!(written.lines().count(), 1);
    assert!(written.ends_with('\n') && !written.contains("tea"));
    assert!(admits(&path, "ann", "tea"));
    assert!(!admits(&path, "ann", "tee"));
    assert_eq!(mode(&path), 0o600);
    assert_eq!(folder.names(), ["passwd"]);
}

#[test]
fn users_are_added_changed_and_deleted_and_the_rest_stays() {
    let folder = Folder::new();
    let path = folder.holds("passwd", "# the house\n\n");
    works(&["-b", text(&path), "ann", "one"], "");
    works(&["-b", text(&path), "bob", "two"], "");
    works(&[text(&path), "ann"], "three\nthree\n");
    let lines = fs::read_to_string(&path).unwrap();
    assert!(lines.starts_with("# the house\n\nann:$7$"), "{lines}");
    assert_eq!(lines.lines().count(), 4);
    assert!(admits(&path, "ann", "three") && !admits(&path, "ann", "one"));
    assert!(admits(&path, "bob", "two"));
    works(&["-D", text(&path), "ann"], "");
    assert!(!admits(&path, "ann", "three") && admits(&path, "bob", "two"));
    let before = fs::read(&path).unwrap();
    fails(&["-D", text(&path), "ann"], "", "User ann not found");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(folder.names(), ["passwd"]);
}

#[test]
fn a_line_without_an_end_and_a_user_there_twice() {
    let folder = Folder::new();
    let path = folder.holds("passwd", "bob:x\nann:y\nbob:z");
    works(&["-b", text(&path), "bob", "two"], "");
    let lines = fs::read_to_string(&path).unwrap();
    let users: Vec<_> = lines.lines().map(|line| &line[..4]).collect();
    assert_eq!(users, ["bob:", "ann:"]);
    let path = folder.holds("other", "ann:x");
    works(&["-b", text(&path), "bob", "two"], "");
    let lines = fs::read_to_string(&path).unwrap();
    assert!(lines.starts_with("ann:x\nbob:$7$"), "{lines}");
}

#[test]
fn every_hash_and_a_salt_of_its_own_each_time() {
    let folder = Folder::new();
    let path = folder.path("passwd");
    for (arguments, begin) in [
        (&["-c"] as &[&str], "ann:$7$1000$"),
        (&["-c", "-I", "77"], "ann:$7$77$"),
        (&["-c", "-H", "sha512-pbkdf2", "-I", "5"], "ann:$7$5$"),
        (&["-c", "-H", "sha512"], "ann:$6$"),
        (
            &["-H", "argon2id", "-c"],
            "ann:$argon2id$v=19$m=47104,t=1,p=1$",
        ),
    ] {
        let arguments = [arguments, &["-b", text(&path), "ann", "tea"]].concat();
        works(&arguments, "");
        let first = fs::read_to_string(&path).unwrap();
        assert!(first.starts_with(begin), "{first}");
        assert!(admits(&path, "ann", "tea"));
        works(&arguments, "");
        assert_ne!(fs::read_to_string(&path).unwrap(), first);
    }
    for (wrong, words) in [
        (&["-H", "md5"] as &[&str], "Unknown hash 'md5'"),
        (&["-I", "0"], "-I needs a number from 1 to 1000000"),
        (&["-I", "1000001"], "-I needs a number"),
        (&["-I", "many"], "-I needs a number"),
    ] {
        let arguments = [wrong, &["-b", text(&path), "ann", "tea"]].concat();
        fails(&arguments, "", words);
    }
}

#[test]
fn to_standard_output() {
    let folder = Folder::new();
    for arguments in [
        &["-c", "-b", "-", "ann", "tea"] as &[&str],
        &["-b", "-", "ann", "tea"],
    ] {
        let output = passwd(arguments, "");
        assert!(output.status.success() && output.stderr.is_empty());
        let path = folder.holds("passwd", std::str::from_utf8(&output.stdout).unwrap());
        assert!(admits(&path, "ann", "tea"));
    }
    // Here a pipe, which is neither read nor replaced.
    let output = passwd(&["-c", "-b", "/dev/stdout", "ann", "tea"], "");
    assert!(output.status.success() && output.stdout.starts_with(b"ann:$7$1000$"));
    let output = passwd(&["-c", "-", "ann"], "tea\ntea\n");
    assert!(output.stdout.starts_with(b"ann:$7$1000$"));
    assert_eq!(
        output.stdout.iter().filter(|byte| **byte == b'\n').count(),
        1
    );
    fails(&["-D", "-", "ann"], "", "Standard output holds no users");
    fails(&["-U", "-"], "", "Standard output holds no users");
}

#[test]
fn plain_text_becomes_hashes() {
    let folder = Folder::new();
    let path = folder.holds(
        "passwd",
        "# users\nann:tea\n\n bob : with: colon \r\ncarl:$6$money$",
    );
    assert_eq!(works(&["-U", text(&path)], ""), "");
    assert!(admits(&path, "ann", "tea"));
    assert!(admits(&path, "bob", "with: colon"));
    assert!(admits(&path, "carl", "$6$money$"));
    let written = fs::read_to_string(&path).unwrap();
    assert!(written.starts_with("# users\nann:$7$1000$"), "{written}");
    assert_eq!(written.lines().count(), 5);
    // Once more: hashes are not hashed again, which would lock everybody out.
    works(&["-b", text(&path), "dora", "four"], "");
    let before = fs::read_to_string(&path).unwrap();
    let said = works(&["-U", text(&path)], "");
    assert!(
        said.contains("Line 2: user 'ann' has a hash already and is left as it is.\n"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
    for (wrong, words) in [
        ("ann:tea\nbob\n", "line 2: there is no colon"),
        ("ann:\n", "line 1: there is no password"),
        (":tea\n", "line 1: there is no username before the colon"),
    ] {
        let path = folder.holds("wrong", wrong);
        fails(&["-U", text(&path)], "", words);
        assert_eq!(fs::read_to_string(&path).unwrap(), wrong);
    }
}

#[test]
fn names_that_cannot_stand_in_a_file() {
    let folder = Folder::new();
    let path = folder.path("passwd");
    for (name, words) in [
        ("", "Empty username"),
        ("a:b", "must not contain the ':' character"),
        ("a\nb", "must not contain control characters"),
        ("a\u{7f}", "must not contain control characters"),
        ("#ann", "must not begin with '#'"),
        (" ann", "must not begin or end with a space"),
        ("ann ", "must not begin or end with a space"),
        (&"a".repeat(65_536), "longer than 65535 bytes"),
    ] {
        fails(&["-c", "-b", text(&path), name, "tea"], "", words);
    }
    assert!(folder.names().is_empty());
    works(&["-c", "-b", text(&path), "Élise the 2nd", "tea"], "");
    assert!(admits(&path, "Élise the 2nd", "tea"));
}

#[test]
fn what_changes_nothing() {
    let folder = Folder::new();
    let path = folder.path("passwd");
    let name = text(&path);
    let missing = "No such file or directory (os error 2) (-c creates it)";
    fails(&["-b", name, "ann", "tea"], "", missing);
    fails(&["-D", name, "ann"], "", missing);
    fails(&["-U", name], "", missing);
    fails(&["-c", name, "ann"], "tea\ntee\n", "Passwords do not match");
    fails(&["-c", name, "ann"], "tea\n", "Passwords do not match");
    fails(&["-c", name, "ann"], "\n\n", "Empty password");
    fails(&["-c", name, "ann"], "", "Empty password");
    fails(&["-c", "-b", name, "ann", ""], "", "Empty password");
    let few = "Too few or too many arguments";
    for arguments in [
        &[] as &[&str],
        &["-c"],
        &[name],
        &["-b", name, "ann"],
        &[name, "ann", "tea"],
        &["-b", name, "ann", "tea", "more"],
        &["-U", name, "ann"],
        &["-D", name],
        &["-D", name, "ann", "tea"],
    ] {
        fails(arguments, "", few);
    }
    let both = "cannot be used together";
    fails(&["-c", "-D", name, "ann"], "", both);
    fails(&["-c", "-U", name], "", both);
    fails(&["-U", "-D", name], "", both);
    fails(&["-x", name, "ann"], "", "Unknown option '-x'");
    fails(&["-H"], "", "-H needs the name of a hash");
    fails(
        &["-c", "-b", "/nowhere/passwd", "a", "b"],
        "",
        "Unable to write",
    );
    assert!(folder.names().is_empty());
    let output = passwd(&["--help"], "");
    assert!(output.status.success() && output.stdout.starts_with(b"midge passwd"));
}

#[test]
fn a_password_may_begin_with_a_dash() {
    let folder = Folder::new();
    let path = folder.path("passwd");
    works(&["-c", "-b", text(&path), "-ann", "-c"], "");
    assert!(admits(&path, "-ann", "-c"));
}

#[test]
fn beginning_anew_says_who_is_gone() {
    let folder = Folder::new();
    let path = folder.holds("passwd", "# c\nann:x\nbob:y\n");
    let said = works(&["-c", "-b", text(&path), "carl", "tea"], "");
    assert!(said.contains("had 2 users; -c begins it anew"), "{said}");
    assert!(admits(&path, "carl", "tea"));
}

#[test]
fn owner_group_and_their_rights_stay_and_others_have_none() {
    let folder = Folder::new();
    let path = folder.holds("passwd", "");
    for (before, after, warns) in [
        (0o600, 0o600, false),
        (0o640, 0o640, false),
        (0o660, 0o660, false),
        (0o400, 0o600, false),
        (0o644, 0o640, true),
        (0o777, 0o770, true),
    ] {
        fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
        let said = works(&["-b", text(&path), "ann", "tea"], "");
        assert_eq!(mode(&path), after, "{before:o}");
        assert_eq!(said.contains("everybody on this machine"), warns, "{said}");
    }
    if fs::metadata(&folder.0).unwrap().uid() != 0 {
        return; // only root can give a file away
    }
    std::os::unix::fs::chown(&path, Some(1234), Some(2345)).unwrap();
    works(&["-b", text(&path), "ann", "tea"], "");
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (1234, 2345));
    // A new file of root's in somebody's directory is that somebody's.
    std::os::unix::fs::chown(&folder.0, Some(1234), Some(2345)).unwrap();
    let new = folder.path("new");
    works(&["-c", "-b", text(&new), "ann", "tea"], "");
    let metadata = fs::metadata(&new).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (1234, 2345));
    assert_eq!(mode(&new), 0o600);
}

#[test]
fn a_symbolic_link_stays_one() {
    let folder = Folder::new();
    let path = folder.holds("passwd", "");
    let link = folder.path("link");
    symlink("passwd", &link).unwrap();
    works(&["-b", text(&link), "ann", "tea"], "");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(admits(&path, "ann", "tea"));
    assert_eq!(folder.names(), ["link", "passwd"]);
}

#[test]
fn a_file_that_cannot_be_replaced_is_overwritten() {
    let folder = Folder::new();
    if fs::metadata(&folder.0).unwrap().uid() != 0 {
        return; // only root can become somebody else, who may write the file and nothing beside it
    }
    let path = folder.holds("passwd", "# kept\n");
    std::os::unix::fs::chown(&path, Some(1234), Some(2345)).unwrap();
    let midge = folder.path("midge");
    fs::copy(MIDGE, &midge).unwrap();
    let as_owner = |arguments: &[&str]| {
        let mut command = Command::new(&midge);
        command.uid(1234).gid(2345).arg("passwd").args(arguments);
        run(&mut command, "").status.success()
    };
    assert!(as_owner(&["-b", text(&path), "ann", "tea"]));
    assert!(admits(&path, "ann", "tea"));
    assert!(fs::read(&path).unwrap().starts_with(b"# kept\nann:"));
    assert!(!as_owner(&[
        "-c",
        "-b",
        text(&folder.path("new")),
        "ann",
        "tea"
    ]));
    assert_eq!(folder.names(), ["midge", "passwd"]);
}

#[test]
fn a_file_in_the_current_directory() {
    let folder = Folder::new();
    let mut command = Command::new(MIDGE);
    command.current_dir(&folder.0);
    command.args(["passwd", "-c", "-b", "passwd", "ann", "tea"]);
    assert!(run(&mut command, "").status.success());
    assert!(admits(&folder.path("passwd"), "ann", "tea"));
}

#[test]
fn called_by_the_name_of_mosquittos_tool() {
    let folder = Folder::new();
    let path = folder.path("passwd");
    for name in ["mosquitto_passwd", "/usr/bin/mosquitto_passwd"] {
        let mut command = Command::new(MIDGE);
        command.arg0(name);
        command.args(["-c", "-b", text(&path), "ann", "tea"]);
        assert!(run(&mut command, "").status.success());
        assert!(admits(&path, "ann", "tea"));
    }
}

/// Reads from `from` until it has said `words`.
fn hears(from: &mut impl Read, heard: &mut String, words: &str) {
    let mut bytes = [0; 64];
    while !heard.contains(words) {
        let count = from.read(&mut bytes).unwrap();
        assert_ne!(count, 0, "{words:?} is not in {heard:?}");
        heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
}

/// Runs `midge passwd -c PATH ann` on a terminal of its own, which `script` makes, and types each
/// line when asked; gives what the terminal showed, how its echo is afterwards included.
fn at_a_terminal(path: &Path, typed: [&str; 2]) -> String {
    let command = format!(
        "{MIDGE} passwd -c {} ann; echo code $?; stty -a",
        path.display()
    );
    let mut child = Command::new("script")
        .args(["-E", "always", "-qec", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut heard = String::new();
    for (prompt, typed) in ["Password: ", "Reenter password: "].into_iter().zip(typed) {
        hears(&mut stdout, &mut heard, prompt);
        stdin.write_all(typed.as_bytes()).unwrap();
        if typed == "\u{3}" {
            break;
        }
    }
    stdout.read_to_string(&mut heard).unwrap();
    child.wait().unwrap();
    assert!(heard.contains(" echo "), "{heard}");
    heard
}

#[test]
fn on_a_terminal_the_password_is_not_shown() {
    let folder = Folder::new();
    let path = folder.path("passwd");
    let heard = at_a_terminal(&path, ["tea4two\r", "tea4twoo\u{7f}\r"]);
    assert!(heard.contains("code 0"), "{heard}");
    assert!(!heard.contains("tea4two"), "{heard}");
    assert!(admits(&path, "ann", "tea4two"));
}

#[test]
fn interrupted_at_a_terminal_nothing_is_made() {
    let folder = Folder::new();
    for typed in [["\u{3}", ""], ["tea4two\r", "\u{3}"]] {
        let heard = at_a_terminal(&folder.path("passwd"), typed);
        assert!(heard.contains("Error: Interrupted."), "{heard}");
        assert!(heard.contains("code 1"), "{heard}");
        assert!(folder.names().is_empty());
    }
}

/// Fails where Debian's packages are not installed.
fn need_mosquitto() {
    for name in ["mosquitto_passwd", "mosquitto_pub", "mosquitto"] {
        let run = Command::new(name)
            .arg("--help")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let is_here = run.is_ok() || Path::new("/usr/sbin").join(name).exists();
        assert!(is_here, "{name} is not installed; tests/run installs it");
    }
}

/// Debian's broker with one password file.
struct Mosquitto {
    child: Child,
    port: u16,
}

impl Mosquitto {
    fn start(folder: &Folder, passwords: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let conf = folder.holds(
            "mosquitto.conf",
            &format!(
                "listener {port} 127.0.0.1\nallow_anonymous false\nuser root\npassword_file {}\n",
                passwords.display()
            ),
        );
        let path = std::env::var("PATH").unwrap_or_default();
        let child = Command::new("mosquitto")
            .env("PATH", format!("{path}:/usr/sbin"))
            .arg("-c")
            .arg(conf)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "mosquitto does not listen");
            sleep(Duration::from_millis(20));
        }
        Self { child, port }
    }

    fn admits(&self, user: &str, password: &str) -> bool {
        Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-u", user, "-P", password, "-t", "a", "-m", "b"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn debians_broker_lets_in_whom_this_tool_wrote() {
    need_mosquitto();
    let folder = Folder::new();
    let path = folder.path("passwd");
    works(&["-c", "-b", text(&path), "ann", "tea for two"], "");
    works(&["-b", "-H", "sha512", text(&path), "bob", "two"], "");
    works(&["-b", "-I", "20000", text(&path), "Élise", "été"], "");
    let mosquitto = Mosquitto::start(&folder, &path);
    assert!(mosquitto.admits("ann", "tea for two"));
    assert!(mosquitto.admits("bob", "two"));
    assert!(mosquitto.admits("Élise", "été"));
    assert!(!mosquitto.admits("ann", "two"));
    assert!(!mosquitto.admits("carl", "two"));
}

#[test]
fn what_debians_tool_wrote_is_read_and_changed_and_back() {
    need_mosquitto();
    let folder = Folder::new();
    let path = folder.path("passwd");
    let debian = |arguments: &[&str]| {
        let status = Command::new("mosquitto_passwd").args(arguments).status();
        assert!(status.unwrap().success(), "{arguments:?}");
    };
    debian(&["-c", "-b", text(&path), "ann", "tea for two"]);
    debian(&["-b", "-H", "sha512", text(&path), "bob", "two"]);
    assert!(admits(&path, "ann", "tea for two") && !admits(&path, "ann", "two"));
    assert!(admits(&path, "bob", "two") && !admits(&path, "bob", "tea for two"));
    works(&["-b", text(&path), "ann", "three"], "");
    debian(&["-b", text(&path), "carl", "four"]);
    debian(&["-D", text(&path), "bob"]);
    assert!(admits(&path, "ann", "three") && admits(&path, "carl", "four"));
    assert!(!admits(&path, "bob", "two"));
    fs::write(&path, "dora: plain \nemil:x\n").unwrap();
    debian(&["-U", text(&path)]);
    assert!(admits(&path, "dora", "plain") && admits(&path, "emil", "x"));
}
