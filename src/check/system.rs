//! The machine that midge runs on, asked without leaving a trace: attributes of files, the tables of
//! sockets and processes below `/proc`, and sockets that are bound but never listen.

use super::facts::{Account, InTheWay, Obstacle, Program, Step, System, Trail};
use crate::config::{Bind, FileError, Files, Listener};
use crate::net::{Disk, addresses};
use nix::unistd::{Gid, Group, Uid, User};
use std::ffi::CString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The real machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine;

/// The bit of the capability to read what belongs to others.
const DAC_READ_SEARCH: u64 = 1 << 2;

/// The state of a socket that listens, in the kernel's tables.
const LISTENS: &str = "0A";

impl Files for Machine {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        Disk.read(path)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        Disk.list(path)
    }
}

impl System for Machine {
    fn me(&self) -> Account {
        let uid = Uid::effective();
        let me = User::from_uid(uid).ok().flatten();
        me.map_or_else(
            || Account {
                name: uid.to_string(),
                group: Gid::effective().to_string(),
                uid: uid.as_raw(),
                gids: vec![Gid::effective().as_raw()],
            },
            |me| account(&me),
        )
    }

    fn account(&self, name: &str) -> Option<Account> {
        let found = User::from_name(name).ok().flatten();
        found.as_ref().map(account)
    }

    fn trail(&self, path: &str) -> Trail {
        trail(Path::new(path))
    }

    fn obstacles(&self, listener: &Listener) -> Vec<Obstacle> {
        if let Bind::Unix(path) = &listener.bind {
            let taken = unix_inode(path).map(|inode| Obstacle {
                what: format!("the Unix socket {path}"),
                why: InTheWay::Program(holder(inode)),
            });
            return taken.into_iter().collect();
        }
        let found = match addresses(listener) {
            Ok(found) => found,
            Err(error) => {
                return vec![Obstacle {
                    what: format!("listener {}", listener.name()),
                    why: InTheWay::Other(error.to_string()),
                }];
            }
        };
        // Where nobody asked for IPv6 by name, it may be missing.
        let is_needed = |address: &SocketAddr| address.is_ipv4() || found.len() == 1;
        let interface = listener.bind_interface.as_deref();
        let obstacle = |address: &SocketAddr| {
            let error = bind(*address, interface).err()?;
            let why = match error.kind() {
                io::ErrorKind::AddrInUse => InTheWay::Program(tcp_inode(*address).and_then(holder)),
                _ if !is_needed(address) => return None,
                io::ErrorKind::PermissionDenied => InTheWay::NotPermitted,
                io::ErrorKind::AddrNotAvailable => InTheWay::NoAddress,
                _ => InTheWay::Other(error.to_string()),
            };
            let what = format!("port {} on {}", address.port(), address.ip());
            Some(Obstacle { what, why })
        };
        found.iter().filter_map(obstacle).collect()
    }
}

fn account(user: &User) -> Account {
    let name = CString::new(user.name.as_str()).unwrap_or_default();
    let gids = nix::unistd::getgrouplist(&name, user.gid).unwrap_or_else(|_| vec![user.gid]);
    Account {
        name: user.name.clone(),
        group: group(user.gid.as_raw()),
        uid: user.uid.as_raw(),
        gids: gids.into_iter().map(Gid::as_raw).collect(),
    }
}

fn group(gid: u32) -> String {
    let found = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    found.map_or_else(|| gid.to_string(), |group| group.name)
}

/// The steps to `path`, links followed; as far as they exist if it does not.
fn trail(path: &Path) -> Trail {
    let absolute = env::current_dir().unwrap_or_default().join(path);
    let is_whole = absolute.exists();
    let end = absolute
        .ancestors()
        .find_map(|at| fs::canonicalize(at).ok());
    let end = end.unwrap_or_else(|| PathBuf::from("/"));
    let mut steps: Vec<Step> = end.ancestors().filter_map(step).collect();
    steps.reverse();
    Trail { steps, is_whole }
}

fn step(path: &Path) -> Option<Step> {
    let found = fs::metadata(path).ok()?;
    Some(Step {
        path: path.display().to_string(),
        uid: found.uid(),
        gid: found.gid(),
        group: group(found.gid()),
        mode: found.mode() & 0o777,
    })
}

/// Binds a socket as a listener would be, and lets go of it. It never listens, so that nobody can
/// connect to it, and it does not hinder a broker that starts meanwhile.
fn bind(address: SocketAddr, interface: Option<&str>) -> io::Result<()> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    socket.bind(&address.into())
}

/// The number of the socket that listens at `address`, or at all addresses of its port.
fn tcp_inode(address: SocketAddr) -> Option<u64> {
    // A socket of IPv6 may serve IPv4 as well.
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let port = format!(":{:04X}", address.port());
    let mut found = tables.iter().flat_map(|table| {
        let text = fs::read_to_string(table).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines
    });
    found.find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        (local.ends_with(&port) && *state == LISTENS && may_be(local, address))
            .then(|| inode.parse().ok())?
    })
}

/// Whether the address of a socket, in the kernel's hexadecimal, can be the one in the way of
/// `address`: it is the same, or one of them is all addresses.
fn may_be(local: &str, address: SocketAddr) -> bool {
    let host = local.split(':').next().unwrap_or_default();
    let is_all = host.bytes().all(|digit| digit == b'0');
    let is_of_family = address.is_ipv6() == (host.len() > 8);
    let same = match address {
        SocketAddr::V4(address) => {
            let word = u32::from_ne_bytes(address.ip().octets());
            host == format!("{word:08X}")
        }
        SocketAddr::V6(address) => {
            let words = address.ip().octets();
            let words = words.chunks_exact(4).map(|word| {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(word);
                format!("{:08X}", u32::from_ne_bytes(bytes))
            });
            host == words.collect::<String>()
        }
    };
    is_all || (is_of_family && (same || address.ip().is_unspecified()))
}

/// The number of the Unix socket that listens at `path`.
fn unix_inode(path: &str) -> Option<u64> {
    let path = fs::canonicalize(path).ok()?;
    let path = path.to_str()?;
    let text = fs::read_to_string("/proc/net/unix").ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (flags, inode, at) = (fields.get(3)?, fields.get(6)?, fields.get(7)?);
        // The flag of a socket that accepts connections.
        let listens = u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & 0x1_0000 != 0);
        (listens && *at == path).then(|| inode.parse().ok())?
    })
}

/// The program that has the socket of this number open, if this user may see it.
fn holder(inode: u64) -> Option<Program> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|process| {
            let open = fs::read_dir(format!("/proc/{process}/fd"))
                .into_iter()
                .flatten()
                .flatten();
            open.filter_map(|entry| fs::read_link(entry.path()).ok())
                .any(|target| target.to_str() == Some(&wanted))
        })
        .map(program)
}

fn program(process: u32) -> Program {
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    let called = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let called: Vec<String> = called
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let file = config_file(&called).and_then(|file| {
        let directory = fs::read_link(format!("/proc/{process}/cwd")).unwrap_or_default();
        let path = fs::canonicalize(directory.join(file)).ok()?;
        Some(path.display().to_string())
    });
    Program {
        name: name.trim().to_owned(),
        process,
        config: file,
        reads_all: reads_all(process),
    }
}

/// Whether a process has the capability DAC_READ_SEARCH in force.
fn reads_all(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let mut lines = status.lines();
    let capabilities = lines.find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|word| u64::from_str_radix(word.trim(), 16).ok());
    capabilities.is_some_and(|set| set & DAC_READ_SEARCH != 0)
}

/// What stands behind `-c` on a command line.
fn config_file(called: &[String]) -> Option<&str> {
    let at = called
        .iter()
        .position(|word| word.starts_with("-c") || word.starts_with("--config-file"))?;
    let word = called.get(at)?;
    match word
        .strip_prefix("--config-file=")
        .or_else(|| word.strip_prefix("-c"))
    {
        Some(file) if !file.is_empty() && !word.starts_with("--config-file") => Some(file),
        Some(file) if word.starts_with("--config-file=") => Some(file),
        _ => called.get(at + 1).map(String::as_str),
    }
}
