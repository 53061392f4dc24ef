//! `midge passwd`, which also answers to the name `mosquitto_passwd`: makes and changes password
//! files, with that tool's command line.
//!
//! It belongs to the shell, beside `main`: it touches files, the terminal and the kernel's random
//! bytes. It knows nothing of a running broker, which reads the file again when told to (SIGHUP).
//! It must never leave a password file half written, nor print a password or, except where asked
//! to (`-`), a hash.

mod file;
mod options;
mod prompt;

pub use options::render_page;

use crate::limits::PBKDF2_ITERATIONS_MAX;
use crate::policy::hash::{Recipe, StoredHash};
use options::Flag;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use zeroize::Zeroizing;

/// Bytes of a username or password at most: what fits into a CONNECT packet [MQTT5 §1.5.4].
const FIELD_BYTES_MAX: usize = 65_535;

/// What stands for standard output.
const STDOUT: &str = "-";

/// What was asked for.
#[derive(Debug)]
enum Command {
    Help,
    Set {
        target: Target,
        user: OsString,
        password: Option<OsString>,
        recipe: Recipe,
    },
    Delete {
        path: PathBuf,
        user: OsString,
    },
    Upgrade {
        path: PathBuf,
        recipe: Recipe,
    },
}

/// Where a user is written to.
#[derive(Debug)]
enum Target {
    Stdout,
    New(PathBuf),
    Existing(PathBuf),
}

/// Why nothing was changed.
#[derive(Debug)]
enum Failure {
    /// The command line has too few or too many arguments.
    Arguments,
    /// An option that there is not.
    Option(OsString),
    /// Two options that exclude each other.
    Together(&'static str, &'static str),
    /// `-H` with something else than the hashes there are.
    Hash(Option<OsString>),
    /// `-I` with something else than a count.
    Iterations,
    /// `-` where a file must be changed.
    StdoutChanged,
    Username(UsernameError),
    EmptyPassword,
    LongPassword,
    PasswordsDiffer,
    Prompt(io::Error),
    /// Ctrl-C where a password was asked for.
    Interrupted,
    Random,
    Memory,
    Read(PathBuf, io::Error),
    Write(PathBuf, io::Error),
    NoSuchUser(OsString),
    /// A line that `-U` cannot turn into a hash; counted from 1.
    Line(PathBuf, usize, &'static str),
}

/// Why a name cannot stand in a password file.
#[derive(Debug)]
enum UsernameError {
    Empty,
    TooLong,
    NotUtf8,
    Colon,
    Control,
    Comment,
    Blank,
}

/// Does what `arguments` (without the program's name) ask for. The exit code is 0, or 1 if nothing
/// was changed.
pub fn run(arguments: &[OsString]) -> ExitCode {
    match parse(arguments).and_then(perform) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("Error: {failure}.");
            if failure.is_usage() {
                eprint!("\n{}", options::usage());
            }
            ExitCode::FAILURE
        }
    }
}

/// Options come first, as mosquitto_passwd has it, so that a password may begin with `-`.
fn parse(arguments: &[OsString]) -> Result<Command, Failure> {
    let (mut batch, mut create, mut delete, mut upgrade) = (false, false, false, false);
    let mut hash = None;
    let mut iterations = None;
    let mut rest = arguments.iter();
    let mut free = Vec::new();
    while let Some(argument) = rest.next() {
        let flag = argument.to_str().and_then(options::find);
        match flag {
            Some(Flag::Help) => return Ok(Command::Help),
            Some(Flag::Batch) => batch = true,
            Some(Flag::Create) => create = true,
            Some(Flag::Delete) => delete = true,
            Some(Flag::Upgrade) => upgrade = true,
            Some(Flag::Hash) => hash = Some(rest.next().ok_or(Failure::Hash(None))?),
            Some(Flag::Iterations) => iterations = Some(rest.next().ok_or(Failure::Iterations)?),
            None if is_option(argument) => return Err(Failure::Option(argument.clone())),
            None => {
                free.push(argument.clone());
                free.extend(rest.by_ref().cloned());
            }
        }
    }
    let excluded = [
        (create && delete, "-c", "-D"),
        (create && upgrade, "-c", "-U"),
        (delete && upgrade, "-D", "-U"),
        (batch && delete, "-b", "-D"),
        (batch && upgrade, "-b", "-U"),
    ];
    if let Some((_, one, other)) = excluded.into_iter().find(|(both, ..)| *both) {
        return Err(Failure::Together(one, other));
    }
    let recipe = recipe(hash.map(OsString::as_os_str), iterations)?;
    match free.as_slice() {
        [path] if upgrade => Ok(Command::Upgrade {
            path: file_only(path)?,
            recipe,
        }),
        [path, user] if delete => Ok(Command::Delete {
            path: file_only(path)?,
            user: user.clone(),
        }),
        [path, user, password @ ..]
            if !upgrade && !delete && password.len() == usize::from(batch) =>
        {
            let target = match path {
                path if path == STDOUT => Target::Stdout,
                path if create => Target::New(path.into()),
                path => Target::Existing(path.into()),
            };
            Ok(Command::Set {
                target,
                user: user.clone(),
                password: password.first().cloned(),
                recipe,
            })
        }
        _ => Err(Failure::Arguments),
    }
}

fn is_option(argument: &OsStr) -> bool {
    argument.as_bytes().starts_with(b"-") && argument != STDOUT
}

fn file_only(path: &OsString) -> Result<PathBuf, Failure> {
    if path == STDOUT {
        return Err(Failure::StdoutChanged);
    }
    Ok(path.into())
}

/// Iterations are read, and then of no use, also with hashes that have none, as mosquitto_passwd
/// has it.
fn recipe(hash: Option<&OsStr>, iterations: Option<&OsString>) -> Result<Recipe, Failure> {
    let iterations = match iterations {
        None => None,
        Some(text) => Some(
            text.to_str()
                .and_then(|text| text.parse().ok())
                .filter(|count| (1..=PBKDF2_ITERATIONS_MAX).contains(count))
                .ok_or(Failure::Iterations)?,
        ),
    };
    let Some(hash) = hash else {
        return Ok(with_iterations(Recipe::DEFAULT, iterations));
    };
    match hash.to_str() {
        Some("sha512-pbkdf2") => Ok(with_iterations(Recipe::DEFAULT, iterations)),
        Some("sha512") => Ok(Recipe::Sha512),
        Some("argon2id") => Ok(Recipe::Argon2id),
        _ => Err(Failure::Hash(Some(hash.into()))),
    }
}

fn with_iterations(recipe: Recipe, iterations: Option<u32>) -> Recipe {
    iterations.map_or(recipe, |iterations| Recipe::Pbkdf2 { iterations })
}

fn perform(command: Command) -> Result<(), Failure> {
    match command {
        Command::Help => print(options::usage().as_bytes()),
        Command::Set {
            target,
            user,
            password,
            recipe,
        } => set(&target, &user, password, recipe),
        Command::Delete { path, user } => delete(&path, &user),
        Command::Upgrade { path, recipe } => upgrade(&path, recipe),
    }
}

fn set(
    target: &Target,
    user: &OsStr,
    password: Option<OsString>,
    recipe: Recipe,
) -> Result<(), Failure> {
    let user = check_username(user).map_err(Failure::Username)?;
    // Before anybody has to type a password for nothing.
    let old = match target {
        Target::Existing(path) => read(path)?,
        Target::New(_) | Target::Stdout => Vec::new(),
    };
    let password = match password {
        Some(password) => Zeroizing::new(password.into_encoded_bytes()),
        None => prompt::new_password()?,
    };
    if password.is_empty() {
        return Err(Failure::EmptyPassword);
    }
    if password.len() > FIELD_BYTES_MAX {
        return Err(Failure::LongPassword);
    }
    let hash = new_hash(recipe, &password)?;
    match target {
        Target::Stdout => print(format!("{user}:{hash}\n").as_bytes()),
        Target::New(path) => {
            warn_of_overwriting(path);
            write(path, &file::with_user(&[], user, &hash))
        }
        Target::Existing(path) => write(path, &file::with_user(&old, user, &hash)),
    }
}

fn delete(path: &Path, user: &OsStr) -> Result<(), Failure> {
    let old = read(path)?;
    match file::without_user(&old, user.as_bytes()) {
        Some(new) => write(path, &new),
        None => Err(Failure::NoSuchUser(user.into())),
    }
}

fn upgrade(path: &Path, recipe: Recipe) -> Result<(), Failure> {
    let old = read(path)?;
    let mut new = Zeroizing::new(Vec::with_capacity(old.len()));
    for (index, line) in file::lines(&old).enumerate() {
        let Some((user, password)) = file::split_user(line) else {
            if !file::says_nothing(line) {
                return Err(Failure::Line(path.into(), index + 1, "there is no colon"));
            }
            new.extend_from_slice(line);
            continue;
        };
        if user.is_empty() {
            let what = "there is no username before the colon";
            return Err(Failure::Line(path.into(), index + 1, what));
        }
        if file::is_hashed(password) {
            eprintln!(
                "Line {}: user '{}' has a hash already and is left as it is.",
                index + 1,
                String::from_utf8_lossy(user).escape_debug()
            );
            new.extend_from_slice(line);
            continue;
        }
        if password.is_empty() {
            return Err(Failure::Line(
                path.into(),
                index + 1,
                "there is no password",
            ));
        }
        let hash = new_hash(recipe, password)?;
        new.extend_from_slice(user);
        new.extend_from_slice(format!(":{hash}\n").as_bytes());
    }
    write(path, &new)
}

fn new_hash(recipe: Recipe, password: &[u8]) -> Result<StoredHash, Failure> {
    let mut salt = vec![0; recipe.salt_bytes()];
    getrandom::fill(&mut salt).map_err(|_| Failure::Random)?;
    StoredHash::new(recipe, password, &salt).map_err(|_| Failure::Memory)
}

/// Takes a name that can stand in a password file and be sent by a client.
fn check_username(user: &OsStr) -> Result<&str, UsernameError> {
    let user = user.to_str().ok_or(UsernameError::NotUtf8)?;
    if user.is_empty() {
        return Err(UsernameError::Empty);
    }
    if user.len() > FIELD_BYTES_MAX {
        return Err(UsernameError::TooLong);
    }
    if user.contains(':') {
        return Err(UsernameError::Colon);
    }
    if user.contains(char::is_control) {
        return Err(UsernameError::Control);
    }
    if user.starts_with('#') {
        return Err(UsernameError::Comment);
    }
    if user.trim() != user {
        return Err(UsernameError::Blank);
    }
    Ok(user)
}

fn warn_of_overwriting(path: &Path) {
    let count = file::count_users(path);
    if count > 0 {
        let users = if count == 1 { "user" } else { "users" };
        eprintln!(
            "Warning: {} had {count} {users}; -c begins it anew. Leave out -c to add to a file.",
            path.display()
        );
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::Read(path.into(), error))
}

fn write(path: &Path, text: &[u8]) -> Result<(), Failure> {
    let closed = file::replace(path, text).map_err(|error| Failure::Write(path.into(), error))?;
    if closed {
        eprintln!(
            "Warning: everybody on this machine could read {}. Now its owner and group alone can; \
             the user that the broker runs as must be one of them.",
            path.display()
        );
    }
    Ok(())
}

fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text).and_then(|()| out.flush());
    written.map_err(|error| Failure::Write("standard output".into(), error))
}

impl Failure {
    /// Whether the command line is at fault, so that it helps to see how it should be.
    fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Arguments | Self::Option(_) | Self::Together(..) | Self::Hash(_)
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments => f.write_str("Too few or too many arguments"),
            Self::Option(option) => write!(f, "Unknown option '{}'", Path::new(option).display()),
            Self::Together(one, other) => write!(f, "{one} and {other} cannot be used together"),
            Self::Hash(None) => f.write_str("-H needs the name of a hash"),
            Self::Hash(Some(hash)) => write!(f, "Unknown hash '{}'", Path::new(hash).display()),
            Self::Iterations => write!(f, "-I needs a number from 1 to {PBKDF2_ITERATIONS_MAX}"),
            Self::StdoutChanged => f.write_str("Standard output holds no users to change"),
            Self::Username(error) => error.fmt(f),
            Self::EmptyPassword => f.write_str("Empty password"),
            Self::LongPassword => {
                write!(f, "The password is longer than {FIELD_BYTES_MAX} bytes")
            }
            Self::PasswordsDiffer => f.write_str("Passwords do not match"),
            Self::Prompt(error) => write!(f, "Unable to read a password: {error}"),
            Self::Interrupted => f.write_str("Interrupted"),
            Self::Random => f.write_str("The system gave no random bytes for a salt"),
            Self::Memory => f.write_str("Not enough memory to compute the hash"),
            Self::Read(path, error) => {
                write!(
                    f,
                    "Unable to open password file {}: {error}",
                    path.display()
                )?;
                if error.kind() == io::ErrorKind::NotFound {
                    f.write_str(" (-c creates it)")?;
                }
                Ok(())
            }
            Self::Write(path, error) => write!(f, "Unable to write {}: {error}", path.display()),
            Self::NoSuchUser(user) => {
                write!(
                    f,
                    "User {} not found in password file",
                    Path::new(user).display()
                )
            }
            Self::Line(path, line, what) => {
                write!(f, "{}, line {line}: {what}", path.display())
            }
        }
    }
}

impl fmt::Display for UsernameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty username",
            Self::TooLong => "The username is longer than 65535 bytes",
            Self::NotUtf8 => "The username is not UTF-8",
            Self::Colon => "Username must not contain the ':' character",
            Self::Control => "Username must not contain control characters",
            Self::Comment => "Username must not begin with '#', which begins a comment",
            Self::Blank => "Username must not begin or end with a space",
        })
    }
}
