//! What the environment of the process says: mosquitto's variables, one row each.
//!
//! They are read once, when the program starts, by `main`, and go on as values. The core and the
//! configuration never see the environment; where a variable overrides an option, the option's
//! place in the configuration gets its value.

use super::disk::Links;
use std::ffi::OsString;
use std::fmt;

/// The permission bits a umask can take away.
const UMASK_MAX: u32 = 0o777;

/// The user and group id that stands for none.
const NO_ID: u32 = u32::MAX;

/// What the environment asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Whose rights root gives itself up for, instead of `user`'s.
    pub user_id: Option<u32>,
    /// The group that goes with it.
    pub group_id: Option<u32>,
    /// What nobody may do with new files.
    pub umask: Option<u32>,
    /// The directory that state is kept in, instead of `persistence_location`.
    pub persistence_location: Option<String>,
    /// Which symbolic links are followed.
    pub links: Links,
}

/// One variable.
pub struct Variable {
    /// As the environment has it.
    pub name: &'static str,
    /// What its value is, in words.
    pub shape: &'static str,
    /// What it does: whole sentences.
    pub doc: &'static str,
    set: fn(&mut Environment, &str) -> Result<(), Wrong>,
}

/// What a value is not, and should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Id,
    Umask,
    Text,
}

/// A variable that cannot be obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentError {
    name: &'static str,
    given: OsString,
    wrong: Wrong,
}

/// Every variable, in the order of the manual page. Those for systemd are read where it is told.
pub const VARIABLES: &[Variable] = &[
    Variable {
        name: "PUID",
        shape: "number",
        doc: "The user id to run as when root starts midge, instead of the option `user`; 0 stays \
              root. It needs no name in /etc/passwd.",
        set: |environment, value| {
            environment.user_id = Some(id(value)?);
            Ok(())
        },
    },
    Variable {
        name: "PGID",
        shape: "number",
        doc: "The group id to run with when root starts midge, instead of the user's own group. \
              Where PUID has no name and PGID is not set, the group has the number of the user.",
        set: |environment, value| {
            environment.group_id = Some(id(value)?);
            Ok(())
        },
    },
    Variable {
        name: "UMASK_SET",
        shape: "octal number",
        doc: "What nobody may do with files and sockets that midge makes, as in umask(2): 027 \
              keeps others out. Without it a new log file is for its owner alone.",
        set: |environment, value| {
            environment.umask = Some(umask(value)?);
            Ok(())
        },
    },
    Variable {
        name: "MOSQUITTO_PERSISTENCE_LOCATION",
        shape: "directory",
        doc: "The directory that state is kept in, instead of the option `persistence_location`.",
        set: |environment, value| {
            environment.persistence_location = Some(value.to_owned());
            Ok(())
        },
    },
    Variable {
        name: "MOSQUITTO_UNSAFE_ALLOW_SYMLINKS",
        shape: "anything but 0 or false",
        doc: "Follows every symbolic link that a password, ACL, log or pid file is named by. \
              Without it, only links of root and of the user that midge runs as are followed.",
        set: |environment, value| {
            environment.links = match value {
                "0" | "false" => Links::Trusted,
                _ => Links::All,
            };
            Ok(())
        },
    },
];

impl Environment {
    /// What the variables say that `find` knows; one with an empty value counts as not set.
    ///
    /// # Errors
    /// Every variable that cannot be obeyed.
    pub fn read(find: impl Fn(&str) -> Option<OsString>) -> Result<Self, Vec<EnvironmentError>> {
        let mut environment = Self::default();
        let mut errors = Vec::new();
        for variable in VARIABLES {
            let Some(given) = find(variable.name).filter(|given| !given.is_empty()) else {
                continue;
            };
            let text = given.to_str().ok_or(Wrong::Text);
            if let Err(wrong) = text.and_then(|text| (variable.set)(&mut environment, text)) {
                let name = variable.name;
                errors.push(EnvironmentError { name, given, wrong });
            }
        }
        match errors.is_empty() {
            true => Ok(environment),
            false => Err(errors),
        }
    }
}

fn id(value: &str) -> Result<u32, Wrong> {
    let id = value.parse().map_err(|_| Wrong::Id)?;
    match id {
        NO_ID => Err(Wrong::Id),
        id => Ok(id),
    }
}

fn umask(value: &str) -> Result<u32, Wrong> {
    match u32::from_str_radix(value, 8) {
        Ok(umask) if umask <= UMASK_MAX => Ok(umask),
        _ => Err(Wrong::Umask),
    }
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = self.given.to_string_lossy();
        let (name, given) = (self.name, given.escape_debug());
        write!(f, "Error: Invalid environment variable {name} ({given}): ")?;
        f.write_str(match self.wrong {
            Wrong::Id => "it takes the number of a user or group, such as 1883.",
            Wrong::Umask => "it takes an octal number from 0 to 777, such as 027.",
            Wrong::Text => "it is not UTF-8.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn read(rows: &[(&str, &str)]) -> Result<Environment, Vec<String>> {
        let find = |name: &str| {
            let row = rows.iter().find(|row| row.0 == name);
            row.map(|row| OsString::from(row.1))
        };
        let words =
            |errors: Vec<EnvironmentError>| errors.iter().map(ToString::to_string).collect();
        Environment::read(find).map_err(words)
    }

    #[test]
    fn what_is_not_set_or_empty_says_nothing() {
        let empty: Vec<_> = VARIABLES.iter().map(|row| (row.name, "")).collect();
        assert_eq!(read(&[]), Ok(Environment::default()));
        assert_eq!(read(&empty), Ok(Environment::default()));
    }

    #[test]
    fn each_variable_has_its_place() {
        let all = [
            ("PUID", "0"),
            ("PGID", "4294967294"),
            ("UMASK_SET", "0027"),
            ("MOSQUITTO_PERSISTENCE_LOCATION", "/data"),
            ("MOSQUITTO_UNSAFE_ALLOW_SYMLINKS", "1"),
        ];
        let expected = Environment {
            user_id: Some(0),
            group_id: Some(4_294_967_294),
            umask: Some(0o27),
            persistence_location: Some(String::from("/data")),
            links: Links::All,
        };
        assert_eq!(read(&all), Ok(expected));
        for off in ["0", "false"] {
            let read = read(&[("MOSQUITTO_UNSAFE_ALLOW_SYMLINKS", off)]);
            assert_eq!(read, Ok(Environment::default()));
        }
    }

    #[test]
    fn every_wrong_value_is_told_in_words() {
        let rows = [("PUID", "mosquitto"), ("PGID", "-1"), ("UMASK_SET", "0o22")];
        let wrong = [
            "Error: Invalid environment variable PUID (mosquitto): it takes the number of a user \
             or group, such as 1883.",
            "Error: Invalid environment variable PGID (-1): it takes the number of a user or \
             group, such as 1883.",
            "Error: Invalid environment variable UMASK_SET (0o22): it takes an octal number from \
             0 to 777, such as 027.",
        ];
        assert_eq!(read(&rows), Err(wrong.map(String::from).to_vec()));
        let rows = [
            ("PUID", "4294967295"),
            ("PGID", "4294967296"),
            ("UMASK_SET", "1000"),
        ];
        assert_eq!(read(&rows).map_err(|errors| errors.len()), Err(3));
        let errors = Environment::read(|_| Some(OsString::from_vec(vec![0xff])));
        let first = errors.map_err(|errors| errors.first().map(ToString::to_string));
        let words = "Error: Invalid environment variable PUID (\u{fffd}): it is not UTF-8.";
        assert_eq!(first, Err(Some(String::from(words))));
    }
}
