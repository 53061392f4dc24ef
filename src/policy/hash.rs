//! One stored password hash: the text that stands behind a user's name in a password file.
//!
//! ```text
//!   $6$ salt $ hash                                    one SHA-512 over password, then salt
//!   $7$ iterations $ salt $ hash                       PBKDF2-HMAC-SHA512
//!   $argon2id$v=19$m=KiB,t=passes,p=lanes$ salt $ hash  PHC string, base64 without padding
//!   PBKDF2$sha512$ iterations $ salt $ hash            go-auth's, also with sha256
//! ```
//!
//! It is apart from the file because the tool that writes files needs it too. What a text can ask
//! for is bounded by `limits.rs` when it is read, so that computing it later needs no more checks.
//! It must never show a hash or a password in an error or a debug line.

use crate::limits::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX, PASSWORD_HASH_BYTES,
    PBKDF2_ITERATIONS_MAX, SALT_BYTES,
};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64ct::{Base64, Base64Unpadded, Encoding};
use ctutils::CtEq;
use sha2::{Digest, Sha256, Sha512};
use std::fmt;
use zeroize::Zeroizing;

/// Bytes of a hash in mosquitto's own forms.
const MOSQUITTO_HASH_BYTES: usize = 64;

/// Bytes of salt in mosquitto's own forms: before 2.1, and since.
const MOSQUITTO_SALT_BYTES: [usize; 2] = [12, 64];

/// What mosquitto 2.1 asks of argon2id.
const ARGON2_MEMORY_KIB: u32 = 47_104;

/// How a new hash is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// `$6$`: what mosquitto 1.6 and older can read. Cheap to guess.
    Sha512,
    /// `$7$`: what every mosquitto since 2.0 can read.
    Pbkdf2 {
        /// From 1 to [`PBKDF2_ITERATIONS_MAX`].
        iterations: u32,
    },
    /// argon2id as mosquitto 2.1 writes it: 46 MiB for each check.
    Argon2id,
}

/// A stored hash with all that is needed to hold a password against it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredHash {
    form: Form,
    salt: Box<[u8]>,
    hash: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Sha512,
    Pbkdf2 {
        iterations: u32,
    },
    GoAuth {
        prf: Prf,
        iterations: u32,
    },
    Argon2id {
        version: Version,
        memory_kib: u32,
        passes: u32,
        lanes: u32,
    },
}

/// What go-auth's PBKDF2 is built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prf {
    Sha256,
    Sha512,
}

/// What one check costs, before it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Time, in compressions of SHA-512 (128 bytes each). Measured on a desktop machine: a third of
    /// a microsecond each, so 1 ms for mosquitto's `$7$1000$` and 55 ms for its argon2id.
    pub work: u64,
    /// Memory taken while it runs.
    pub memory_bytes: usize,
}

/// Why a text is no stored hash, or none that is taken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashError {
    /// There is no text.
    Empty,
    /// It begins like none of the forms: plain text, most likely.
    UnknownForm,
    /// It has too few or too many `$`-separated parts for its form.
    Parts,
    /// The iterations are no number from 1 to [`PBKDF2_ITERATIONS_MAX`].
    Iterations,
    /// The salt is not base64.
    SaltEncoding,
    /// The salt has a length its form does not have.
    SaltLength,
    /// The hash is not base64.
    HashEncoding,
    /// The hash has a length its form does not have.
    HashLength,
    /// go-auth's PBKDF2 over something else than sha256 and sha512.
    Digest,
    /// A version of argon2 that does not exist.
    Argon2Version,
    /// `m=`, `t=`, `p=` are missing, out of order, or too small for each other.
    Argon2Parameters,
    /// More memory, passes or lanes than `limits.rs` allows.
    Argon2TooCostly,
}

/// There was no memory to compute the hash in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl Recipe {
    /// What `mosquitto_passwd` uses when nothing else is asked for.
    pub const DEFAULT: Self = Self::Pbkdf2 { iterations: 1000 };

    /// Bytes of salt the caller has to bring.
    ///
    /// Choice: 12 and not the 64 of mosquitto 2.1, in its own forms. mosquitto 2.0, which most
    /// systems still have, removes a user whose salt has 64; 2.1 reads both; and 96 random bits
    /// never meet twice.
    pub const fn salt_bytes(self) -> usize {
        match self {
            Self::Sha512 | Self::Pbkdf2 { .. } => 12,
            Self::Argon2id => 64,
        }
    }

    const fn form(self) -> Form {
        match self {
            Self::Sha512 => Form::Sha512,
            Self::Pbkdf2 { iterations } => Form::Pbkdf2 { iterations },
            Self::Argon2id => Form::Argon2id {
                version: Version::V0x13,
                memory_kib: ARGON2_MEMORY_KIB,
                passes: 1,
                lanes: 1,
            },
        }
    }
}

impl StoredHash {
    /// The hash of `password`. `salt` comes from the kernel and is as long as
    /// [`Recipe::salt_bytes`] says.
    ///
    /// # Errors
    /// [`OutOfMemory`], for argon2id only.
    pub fn new(recipe: Recipe, password: &[u8], salt: &[u8]) -> Result<Self, OutOfMemory> {
        let mut hash = Box::new([0; MOSQUITTO_HASH_BYTES]);
        let form = recipe.form();
        form.derive(password, salt, hash.as_mut_slice())?;
        Ok(Self {
            form,
            salt: salt.into(),
            hash,
        })
    }

    /// Reads the text behind a user's name.
    ///
    /// # Errors
    /// See [`HashError`].
    pub fn parse(text: &str) -> Result<Self, HashError> {
        if text.is_empty() {
            return Err(HashError::Empty);
        }
        let parts: Vec<&str> = text.splitn(MOST_PARTS + 1, '$').collect();
        match *parts.as_slice() {
            ["", "6", salt, hash] => mosquitto(Form::Sha512, salt, hash),
            ["", "7", iterations, salt, hash] => {
                let iterations = number_of_iterations(iterations)?;
                mosquitto(Form::Pbkdf2 { iterations }, salt, hash)
            }
            ["", "argon2id", version, parameters, salt, hash] => {
                let form = argon2id(argon2_version(version)?, parameters)?;
                open::<Base64Unpadded>(form, salt, hash)
            }
            // Before there was a version to name.
            ["", "argon2id", parameters, salt, hash] => {
                open::<Base64Unpadded>(argon2id(Version::V0x10, parameters)?, salt, hash)
            }
            ["PBKDF2", digest, iterations, salt, hash] => {
                let iterations = number_of_iterations(iterations)?;
                let prf = match digest {
                    "sha256" => Prf::Sha256,
                    "sha512" => Prf::Sha512,
                    _ => return Err(HashError::Digest),
                };
                open::<Base64>(Form::GoAuth { prf, iterations }, salt, hash)
            }
            ["", "6" | "7" | "argon2id", ..] | ["PBKDF2", _, ..] => Err(HashError::Parts),
            _ => Err(HashError::UnknownForm),
        }
    }

    /// Whether this is the hash of `password`. Takes as long for a wrong one as for the right one.
    /// Without the memory that argon2id asks for, no password is right.
    pub fn verifies(&self, password: &[u8]) -> bool {
        let mut derived = Zeroizing::new([0; *PASSWORD_HASH_BYTES.end()]);
        let Some(derived) = derived.get_mut(..self.hash.len()) else {
            return false;
        };
        let derive = self.form.derive(password, &self.salt, derived);
        derive.is_ok() && (*derived).ct_eq(&*self.hash).into()
    }

    /// What [`StoredHash::verifies`] will cost for a password of ordinary length.
    pub fn cost(&self) -> Cost {
        let work = match self.form {
            Form::Sha512 => 2,
            Form::Pbkdf2 { iterations } => pbkdf2_work(iterations, self.hash.len(), 64),
            Form::GoAuth {
                prf: Prf::Sha512,
                iterations,
            } => pbkdf2_work(iterations, self.hash.len(), 64),
            Form::GoAuth {
                prf: Prf::Sha256,
                iterations,
            } => pbkdf2_work(iterations, self.hash.len(), 32),
            // Measured: a KiB of argon2 takes about as long as three or four compressions.
            Form::Argon2id {
                memory_kib, passes, ..
            } => 4 * u64::from(memory_kib) * u64::from(passes),
        };
        let memory_bytes = match self.form {
            // At most `ARGON2_MEMORY_KIB_MAX`: it fits a 32-bit usize.
            Form::Argon2id { memory_kib, .. } => memory_kib as usize * 1024,
            _ => 0,
        };
        Cost { work, memory_bytes }
    }
}

/// Parts of the form that has most of them, split at `$`.
const MOST_PARTS: usize = 6;

/// Two compressions for each iteration of each block of output.
fn pbkdf2_work(iterations: u32, hash_bytes: usize, block_bytes: usize) -> u64 {
    2 * u64::from(iterations) * hash_bytes.div_ceil(block_bytes) as u64
}

/// mosquitto's own forms, whose lengths are fixed.
fn mosquitto(form: Form, salt: &str, hash: &str) -> Result<StoredHash, HashError> {
    let salt = Base64::decode_vec(salt).map_err(|_| HashError::SaltEncoding)?;
    if !MOSQUITTO_SALT_BYTES.contains(&salt.len()) {
        return Err(HashError::SaltLength);
    }
    let hash = Base64::decode_vec(hash).map_err(|_| HashError::HashEncoding)?;
    if hash.len() != MOSQUITTO_HASH_BYTES {
        return Err(HashError::HashLength);
    }
    Ok(StoredHash {
        form,
        salt: salt.into(),
        hash: hash.into(),
    })
}

/// The forms that leave the lengths open.
fn open<E: Encoding>(form: Form, salt: &str, hash: &str) -> Result<StoredHash, HashError> {
    let salt = E::decode_vec(salt).map_err(|_| HashError::SaltEncoding)?;
    if !SALT_BYTES.contains(&salt.len()) {
        return Err(HashError::SaltLength);
    }
    let hash = E::decode_vec(hash).map_err(|_| HashError::HashEncoding)?;
    if !PASSWORD_HASH_BYTES.contains(&hash.len()) {
        return Err(HashError::HashLength);
    }
    Ok(StoredHash {
        form,
        salt: salt.into(),
        hash: hash.into(),
    })
}

/// Decimal digits and nothing else.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn number_of_iterations(text: &str) -> Result<u32, HashError> {
    number(text)
        .filter(|count| (1..=PBKDF2_ITERATIONS_MAX).contains(count))
        .ok_or(HashError::Iterations)
}

fn argon2_version(text: &str) -> Result<Version, HashError> {
    match text {
        "v=19" => Ok(Version::V0x13),
        "v=16" => Ok(Version::V0x10),
        _ => Err(HashError::Argon2Version),
    }
}

/// `m=KiB,t=passes,p=lanes`, in this order, as the PHC string format has it.
fn argon2id(version: Version, parameters: &str) -> Result<Form, HashError> {
    let mut values = [0; 3];
    let mut given = parameters.split(',');
    for (value, name) in values.iter_mut().zip(["m=", "t=", "p="]) {
        *value = given
            .next()
            .and_then(|parameter| number(parameter.strip_prefix(name)?))
            .ok_or(HashError::Argon2Parameters)?;
    }
    if given.next().is_some() {
        return Err(HashError::Argon2Parameters);
    }
    let [memory_kib, passes, lanes] = values;
    if memory_kib > ARGON2_MEMORY_KIB_MAX || passes > ARGON2_PASSES_MAX || lanes > ARGON2_LANES_MAX
    {
        return Err(HashError::Argon2TooCostly);
    }
    Params::new(memory_kib, passes, lanes, None).map_err(|_| HashError::Argon2Parameters)?;
    Ok(Form::Argon2id {
        version,
        memory_kib,
        passes,
        lanes,
    })
}

impl Form {
    /// Computes the hash of `password` into `out`, as long as the stored one.
    fn derive(self, password: &[u8], salt: &[u8], out: &mut [u8]) -> Result<(), OutOfMemory> {
        match self {
            Self::Sha512 => {
                let digest = Sha512::new_with_prefix(password).chain_update(salt);
                for (out, byte) in out.iter_mut().zip(digest.finalize()) {
                    *out = byte;
                }
            }
            Self::Pbkdf2 { iterations }
            | Self::GoAuth {
                prf: Prf::Sha512,
                iterations,
            } => pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, out),
            Self::GoAuth {
                prf: Prf::Sha256,
                iterations,
            } => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, out),
            Self::Argon2id {
                version,
                memory_kib,
                passes,
                lanes,
            } => {
                let params = Params::new(memory_kib, passes, lanes, Some(out.len()))
                    .map_err(|_| OutOfMemory)?;
                let mut memory = Vec::new();
                memory
                    .try_reserve_exact(params.block_count())
                    .map_err(|_| OutOfMemory)?;
                memory.resize(params.block_count(), Block::new());
                Argon2::new(Algorithm::Argon2id, version, params)
                    .hash_password_into_with_memory(password, salt, out, &mut memory)
                    .map_err(|_| OutOfMemory)?;
            }
        }
        Ok(())
    }
}

/// The text as it stands in a password file.
impl fmt::Display for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, hash) = match self.form {
            Form::Argon2id { .. } => (
                Base64Unpadded::encode_string(&self.salt),
                Base64Unpadded::encode_string(&self.hash),
            ),
            _ => (
                Base64::encode_string(&self.salt),
                Base64::encode_string(&self.hash),
            ),
        };
        match self.form {
            Form::Sha512 => write!(f, "$6${salt}${hash}"),
            Form::Pbkdf2 { iterations } => write!(f, "$7${iterations}${salt}${hash}"),
            Form::GoAuth { prf, iterations } => {
                let prf = match prf {
                    Prf::Sha256 => "sha256",
                    Prf::Sha512 => "sha512",
                };
                write!(f, "PBKDF2${prf}${iterations}${salt}${hash}")
            }
            Form::Argon2id {
                version,
                memory_kib,
                passes,
                lanes,
            } => write!(
                f,
                "$argon2id$v={}$m={memory_kib},t={passes},p={lanes}${salt}${hash}",
                u32::from(version)
            ),
        }
    }
}

/// The form alone: a hash is nobody's business.
impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredHash({:?})", self.form)
    }
}

impl fmt::Display for HashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no hash"),
            Self::UnknownForm => f.write_str(
                "the hash has none of the known forms ($6$, $7$, $argon2id$, PBKDF2$); if it is a \
                 password in plain text, mosquitto_passwd -U turns the file into hashes",
            ),
            Self::Parts => f.write_str("the hash has too few or too many parts between its $"),
            Self::Iterations => write!(
                f,
                "the iterations of the hash are no number from 1 to {PBKDF2_ITERATIONS_MAX}"
            ),
            Self::SaltEncoding => f.write_str("the salt of the hash is not base64"),
            Self::SaltLength => f.write_str("the salt of the hash is too short or too long"),
            Self::HashEncoding => f.write_str("the hash is not base64"),
            Self::HashLength => f.write_str("the hash is too short or too long"),
            Self::Digest => f.write_str("PBKDF2 is known here with sha256 and sha512 only"),
            Self::Argon2Version => f.write_str("the version of argon2id is neither v=19 nor v=16"),
            Self::Argon2Parameters => f.write_str(
                "argon2id needs m=, t= and p= in this order, with at least 8 KiB for each lane",
            ),
            Self::Argon2TooCostly => write!(
                f,
                "argon2id asks for more than m={ARGON2_MEMORY_KIB_MAX}, t={ARGON2_PASSES_MAX} or \
                 p={ARGON2_LANES_MAX}"
            ),
        }
    }
}

impl std::error::Error for HashError {}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not enough memory to compute the hash")
    }
}

impl std::error::Error for OutOfMemory {}
