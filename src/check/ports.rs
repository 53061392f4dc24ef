//! Mistakes that only the machine's sockets show: who is in the way of a listener.

use super::Findings;
use super::facts::{InTheWay, Program, System};
use super::mistake::Mistake;
use crate::config::reading::{Of, Reading};

/// Where packages put the file.
const CHECK_CONFIG_FILE: &str = "/etc/mosquitto/mosquitto.conf";

/// Finds them; `file` is the main file.
pub fn look<S: System>(reading: &Reading, file: Option<&str>, system: &S, found: &mut Findings) {
    if file.is_none() && system.trail(CHECK_CONFIG_FILE).is_whole {
        let path = CHECK_CONFIG_FILE;
        found.add(None, None, &Mistake::FileNotNamed { path });
    }
    let own = path_of(file, system);
    let mut told = Vec::new();
    for (begun, listener) in reading.listeners_of(Of::AllListeners) {
        for obstacle in system.obstacles(listener) {
            match obstacle.why {
                InTheWay::Program(Some(program)) if serves(&program, own.as_deref()) => {
                    let is_midge = program.name == "midge";
                    found.add(None, None, &Mistake::Serving { program, is_midge });
                }
                // The same on IPv4 and on IPv6.
                why if told.contains(&(listener.port, why.clone())) => {}
                why => {
                    told.push((listener.port, why.clone()));
                    let (what, port) = (obstacle.what, listener.port);
                    found.at(&begun.place, &Mistake::InTheWay { what, port, why });
                }
            }
        }
    }
}

/// Whether this very file is served by a midge that may read every file: so it will go on reading
/// what root alone may.
pub fn is_served_by_one_that_reads_all<S: System>(
    reading: &Reading,
    file: Option<&str>,
    system: &S,
) -> bool {
    let own = path_of(file, system);
    let mut listeners = reading.listeners_of(Of::AllListeners);
    listeners.any(|(_, listener)| {
        let obstacles = system.obstacles(listener);
        obstacles.iter().any(|obstacle| match &obstacle.why {
            InTheWay::Program(Some(program)) => {
                program.reads_all && serves(program, own.as_deref())
            }
            _ => false,
        })
    })
}

/// The main file, links followed.
fn path_of<S: System>(file: Option<&str>, system: &S) -> Option<String> {
    file.and_then(|file| system.trail(file).end().map(|end| end.path.clone()))
}

/// Whether it is a broker with this very file.
fn serves(program: &Program, own: Option<&str>) -> bool {
    program.is_broker() && program.config.as_deref() == own
}
