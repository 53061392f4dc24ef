//! Asks a person, or a script, for a new password.

use super::Failure;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use std::io::{self, BufRead, IsTerminal, Write};
use zeroize::Zeroizing;

/// What Ctrl-C types.
const INTERRUPT: u8 = 3;

/// A password, typed twice without being shown; where standard input is no terminal, two lines of
/// it.
pub(super) fn new_password() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let password = ask("Password: ")?;
    if password.is_empty() {
        return Err(Failure::EmptyPassword);
    }
    if ask("Reenter password: ")? != password {
        return Err(Failure::PasswordsDiffer);
    }
    Ok(password)
}

/// Prompts go to standard error: standard output may be the file that is being made.
fn ask(prompt: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let line = if io::stdin().is_terminal() {
        let unseen = Unseen::begin().map_err(Failure::Prompt)?;
        eprint!("{prompt}");
        let _ = io::stderr().flush();
        let line = read_line();
        drop(unseen);
        line
    } else {
        read_line()
    };
    let line = line.map_err(Failure::Prompt)?;
    if line.last() == Some(&INTERRUPT) {
        eprintln!();
        return Err(Failure::Interrupted);
    }
    Ok(line)
}

/// A line without its end. Ctrl-C ends one too, and is then its last byte.
fn read_line() -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::new());
    let mut stdin = io::stdin().lock();
    loop {
        let Some(byte) = stdin.fill_buf()?.first().copied() else {
            return Ok(line);
        };
        stdin.consume(1);
        match byte {
            b'\n' => break,
            byte => line.push(byte),
        }
        if byte == INTERRUPT {
            return Ok(line);
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

/// As long as this lives, the terminal does not show what is typed.
struct Unseen {
    before: Termios,
}

impl Unseen {
    /// Ctrl-C is taken as the end of a line and not as a signal, which would end this process
    /// before the terminal is as it was.
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut during = before.clone();
        during
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ISIG);
        during.local_modes.insert(LocalModes::ECHONL);
        during.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(io::stdin(), OptionalActions::Now, &during)?;
        Ok(Self { before })
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
