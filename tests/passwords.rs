//! The password file: which lines make a user, which passwords are theirs, and what a file cannot
//! make the broker do. Hashes not made here come from mosquitto's own tool, from Python's hashlib,
//! and from argon2's reference implementation.

use midge::limits::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX, AUTH_FILE_ERRORS_MAX,
    PBKDF2_ITERATIONS_MAX,
};
use midge::policy::hash::{Cost, HashError, Recipe, StoredHash};
use midge::policy::password::{Check, PasswordFile};
use proptest::prelude::*;
use proptest::test_runner::Config;

const PASSWORD: &str = "tea for two";

/// `$6$` with a salt of 12 and of 64 bytes.
const SHA512_12: &str = "$6$dHdlbHZlIGJ5dGVz$p5dqYHXx6PRf7iJSl2g2eguf0rcIebH3o4ceW+BPYUe4lNCmwnMN0YGEsbCvXdHvq7Dx3AzZnbUFW/Far7dKpg==";
const SHA512_64: &str = "$6$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==$MBu3EaVUxdIkejrVMbnD9BxSvcLHCkAz/N97gcJCWNDsy/e4MpyAT4B2bdZBYKKZaVhAsDQvzTBf9n1a4CJGyw==";

/// `$7$` likewise.
const PBKDF2_12: &str = "$7$101$dHdlbHZlIGJ5dGVz$Q/HFb3dvBjJGcp/cz4IYhVvS8Kr+byoWRNGK9kZLydKJlCunuHl4Cm3gWzCOBxy3rxOoizjBlxSRMYjg/JoTwg==";
const PBKDF2_64: &str = "$7$1000$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==$BeusyIuuKnjXvqkrHjzlU+BzMk/sNUaZPWwYblQxzxI5ushFE5REpF6a1ubQKS+LEfLLGpy3e0Nuyc9R8kOjng==";

/// Written by mosquitto_passwd 2.0.11, `-H sha512` and without.
const DEBIAN_SHA512: &str = "$6$9/AcfC+rEoqnC91W$C+VTHm+zxZcOzrF1wIFg0TIPJh/GF1HQNQUw3CbjvpoMmPvK5S4KP7OqKZHRyvweqvKTomEea/JpnZ7X/F/3QA==";
const DEBIAN_PBKDF2: &str = "$7$101$kaCPiCOnGBW+LTbf$5Mf8xommiXAj2geqZ6P+FGrg1b2q/etomds5zDWm0qjsGySWrG3xnr7mhhEW6AyiuRl5nJInJo5FZZiWK6cEhg==";

/// go-auth's: sha512 with 64 and 32 bytes of hash, sha256 with 32 and 64.
const GO_AUTH: [&str; 4] = [
    "PBKDF2$sha512$1000$c2l4dGVlbiBieXRlIHNhbA==$ySFjCYZgBaMfVM9fxvtdoYgo4hfw4JTv6xbHOJY03LK2GrjHOdhg90Bf6TTOMoB4aOQMlUbXFVNHurr2fXTqWQ==",
    "PBKDF2$sha512$1000$c2l4dGVlbiBieXRlIHNhbA==$ySFjCYZgBaMfVM9fxvtdoYgo4hfw4JTv6xbHOJY03LI=",
    "PBKDF2$sha256$1000$c2l4dGVlbiBieXRlIHNhbA==$fLgZ7BCQUkpuoyqIUKAiX+fV6Y/loTk95HL3uZbPBTQ=",
    "PBKDF2$sha256$1000$c2l4dGVlbiBieXRlIHNhbA==$fLgZ7BCQUkpuoyqIUKAiX+fV6Y/loTk95HL3uZbPBTTN2l8teP7rD0Su6Zrl2MLzSfGajwNw9nS1L+6ZDWRCTQ==",
];

/// Of argon2's reference implementation; the password of each is `password`.
const ARGON2ID: [&str; 2] = [
    "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
    "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
];

fn file(text: impl AsRef<[u8]>) -> PasswordFile {
    PasswordFile::parse(text.as_ref()).unwrap()
}

fn admits(file: &PasswordFile, user: &str, password: &str) -> bool {
    file.check(user, Some(password.as_bytes())).run()
}

#[track_caller]
fn refused(text: impl AsRef<[u8]>, expected: &[&str]) {
    let errors = PasswordFile::parse(text.as_ref()).unwrap_err();
    let given: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(given, expected);
}

#[track_caller]
fn is_no_hash(text: &str, expected: HashError) {
    assert_eq!(StoredHash::parse(text), Err(expected), "{text}");
}

#[test]
fn every_form_knows_its_password_and_no_other() {
    let forms = [
        SHA512_12,
        SHA512_64,
        PBKDF2_12,
        PBKDF2_64,
        DEBIAN_SHA512,
        DEBIAN_PBKDF2,
    ];
    let ours = forms.iter().chain(&GO_AUTH).map(|hash| (*hash, PASSWORD));
    let argon2id = ARGON2ID.iter().map(|hash| (*hash, "password"));
    for (hash, password) in ours.chain(argon2id) {
        let file = file(format!("ann:{hash}\n"));
        assert!(admits(&file, "ann", password), "{hash}");
        for wrong in ["", "tea", "tea for two ", "Password", "tea for two\0x"] {
            assert!(!admits(&file, "ann", wrong), "{hash} {wrong:?}");
        }
        assert!(!admits(&file, "bob", password), "{hash}");
        assert_eq!(StoredHash::parse(hash).unwrap().to_string(), hash);
    }
}

#[test]
fn a_changed_hash_or_salt_verifies_nothing() {
    for (at, _) in PBKDF2_12.char_indices().skip(7).step_by(5) {
        let mut text = PBKDF2_12.to_owned().into_bytes();
        text[at] = if text[at] == b'A' { b'B' } else { b'A' };
        let text = String::from_utf8(text).unwrap();
        if let Ok(hash) = StoredHash::parse(&text) {
            assert!(!hash.verifies(PASSWORD.as_bytes()), "{text}");
        }
    }
}

#[test]
fn a_new_hash_is_read_back() {
    let cheap = Recipe::Pbkdf2 { iterations: 3 };
    for recipe in [Recipe::Sha512, Recipe::DEFAULT, cheap, Recipe::Argon2id] {
        let salt = vec![7; recipe.salt_bytes()];
        let hash = StoredHash::new(recipe, b"\x00any\xffbytes", &salt).unwrap();
        let read = StoredHash::parse(&hash.to_string()).unwrap();
        assert_eq!(read, hash);
        assert!(read.verifies(b"\x00any\xffbytes"));
        assert!(!read.verifies(b"\x00any"));
    }
}

#[test]
fn a_file_without_users_lets_nobody_in() {
    // CVE-2018-12550: an empty file was as good as none.
    for text in ["", "\n", "# only\n# comments\n", "nocolon\n", "\u{feff}"] {
        let file = file(text);
        assert!(file.is_empty(), "{text:?}");
        for (user, password) in [("ann", "x"), ("", ""), ("nocolon", ""), ("# only", "")] {
            assert!(!admits(&file, user, password), "{text:?} {user:?}");
            assert!(!file.check(user, None).run());
        }
    }
}

#[test]
fn a_malformed_line_makes_no_user() {
    // CVE-2018-12551: a line without a hash became a user without a password, a blank one a user
    // without a name.
    refused("ann:", &["line 1: user 'ann': there is no hash"]);
    refused("ann: \t\r\n", &["line 1: user 'ann': there is no hash"]);
    refused(":", &["line 1: there is no username before the colon"]);
    refused(
        format!(" :{PBKDF2_12}"),
        &["line 1: there is no username before the colon"],
    );
    for text in ["ann", "ann\n\n \n\t\r\n", "ann$7$101"] {
        let file = file(text);
        assert!(file.is_empty() && !file.has("ann") && !file.has(""));
    }
}

#[test]
fn each_wrong_line_is_named_with_its_reason() {
    let text = format!(
        "# users\n\
         ann:{PBKDF2_12}\n\
         bob:secret\n\
         \n\
         carl:$7$0$dHdlbHZlIGJ5dGVz$AAAA\n\
         ann:{SHA512_12}\n\
         :{SHA512_12}\n\
         dora:{PBKDF2_12}:more\n"
    );
    refused(
        &text,
        &[
            "line 3: user 'bob': the hash has none of the known forms ($6$, $7$, $argon2id$, \
             PBKDF2$); if it is a password in plain text, mosquitto_passwd -U turns the file into \
             hashes",
            "line 5: user 'carl': the iterations of the hash are no number from 1 to 1000000",
            "line 6: user 'ann' is there twice",
            "line 7: there is no username before the colon",
            "line 8: user 'dora': the hash is not base64",
        ],
    );
    // What a file holds in secret is not in any message.
    let errors = PasswordFile::parse(b"bob:sekret\nann:$7$9$sekret$sekret").unwrap_err();
    assert!(!format!("{errors:?} {}", errors[0]).contains("sekret"));
    let many = b"a:b\n".repeat(2 * AUTH_FILE_ERRORS_MAX);
    let errors = PasswordFile::parse(&many).unwrap_err();
    assert_eq!(errors.len(), AUTH_FILE_ERRORS_MAX);
}

#[test]
fn lines_are_taken_as_mosquitto_takes_them() {
    let text = format!(
        "\u{feff}ann:{PBKDF2_12}\r\n\
         #bob:{PBKDF2_12}\n\
         \t carl \t: {PBKDF2_12} \n\
         no colon here\n\
         dora the second:{PBKDF2_12}\n\
         élise:{PBKDF2_12}"
    );
    let file = file(text);
    let mut users: Vec<_> = file.users().collect();
    users.sort_unstable();
    assert_eq!(users, ["ann", "carl", "dora the second", "élise"]);
    for user in users {
        assert!(admits(&file, user, PASSWORD), "{user}");
    }
    let ignored: Vec<_> = file.ignored().iter().map(ToString::to_string).collect();
    assert_eq!(ignored, ["line 4 is ignored: there is no colon"]);
}

#[test]
fn a_name_that_is_not_utf8_is_nobodys() {
    let mut text = b"caf\xe9:".to_vec();
    text.extend_from_slice(PBKDF2_12.as_bytes());
    let file = file(&text);
    assert!(file.is_empty());
    assert_eq!(
        file.ignored()[0].to_string(),
        "line 1 is ignored: the username is not UTF-8, so that nobody can log in with it"
    );
    // A comment may hold anything.
    assert!(PasswordFile::parse(b"# caf\xe9\n").is_ok());
}

#[test]
fn what_is_no_hash() {
    const SALT: &str = "dHdlbHZlIGJ5dGVz";
    let hash = PBKDF2_12.rsplit('$').next().unwrap();
    is_no_hash("", HashError::Empty);
    for text in ["secret", "$", "$$", "$1$a$b", "$5$a$b", "7$1$a$b", "PBKDF2"] {
        is_no_hash(text, HashError::UnknownForm);
    }
    // argon2i and argon2d are other functions; crypt(3) and bcrypt are other forms.
    is_no_hash(
        &ARGON2ID[0].replace("argon2id", "argon2i"),
        HashError::UnknownForm,
    );
    is_no_hash("$2b$12$R9h/cIPz0gi.URNNX3kh2O", HashError::UnknownForm);
    for text in [
        "$6$",
        "$6$a$b$c",
        "$7$101$a",
        "$7$101$a$b$c",
        "PBKDF2$a$1$b",
    ] {
        is_no_hash(text, HashError::Parts);
    }
    for count in ["", "0", "-1", "+5", " 5", "1e3", "1000001", "99999999999"] {
        is_no_hash(&format!("$7${count}${SALT}${hash}"), HashError::Iterations);
        let text = format!("PBKDF2$sha512${count}${SALT}${hash}");
        is_no_hash(&text, HashError::Iterations);
    }
    is_no_hash(&format!("PBKDF2$sha1$9${SALT}${hash}"), HashError::Digest);
    for salt in ["dHdlbHZl*GJ5dGVz", "dHdlbHZlIGJ5dGV", "d HdlbHZlIGJ5dGVz"] {
        is_no_hash(&format!("$7$9${salt}${hash}"), HashError::SaltEncoding);
    }
    for salt in ["", "AAAA", "dHdlbHZlIGJ5dGVzAAAA"] {
        is_no_hash(&format!("$6${salt}${hash}"), HashError::SaltLength);
        is_no_hash(&format!("$7$9${salt}${hash}"), HashError::SaltLength);
    }
    for short in ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        is_no_hash(&format!("$6${SALT}${short}"), HashError::HashLength);
        is_no_hash(&format!("$7$9${SALT}${short}"), HashError::HashLength);
    }
    // Any password has one chance in 256 to have a hash of one byte.
    is_no_hash(
        &format!("PBKDF2$sha512$9${SALT}$AA=="),
        HashError::HashLength,
    );
    let long = "A".repeat(1 << 20);
    is_no_hash(
        &format!("PBKDF2$sha512$9${SALT}${long}"),
        HashError::HashLength,
    );
    is_no_hash(
        &format!("PBKDF2$sha512$9${long}${hash}"),
        HashError::SaltLength,
    );
}

#[test]
fn argon2id_is_bounded_before_it_is_computed() {
    let with = |parameters: &str| {
        format!(
            "$argon2id$v=19${parameters}$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
        )
    };
    for wrong in [
        "",
        "m=256",
        "m=256,t=2",
        "t=2,m=256,p=1",
        "m=256,t=2,p=1,x=1",
        "m=7,t=1,p=1",
        "m=256,t=0,p=1",
        "m=256,t=1,p=0",
        "m=8,t=1,p=2",
        "m=-8,t=1,p=1",
        "m=99999999999,t=1,p=1",
    ] {
        is_no_hash(&with(wrong), HashError::Argon2Parameters);
    }
    for costly in [
        format!("m={},t=1,p=1", ARGON2_MEMORY_KIB_MAX + 1),
        format!("m=256,t={},p=1", ARGON2_PASSES_MAX + 1),
        format!("m=256,t=1,p={}", ARGON2_LANES_MAX + 1),
        format!("m={},t=1,p=1", u32::MAX),
    ] {
        is_no_hash(&with(&costly), HashError::Argon2TooCostly);
    }
    let most = format!("m={ARGON2_MEMORY_KIB_MAX},t={ARGON2_PASSES_MAX},p={ARGON2_LANES_MAX}");
    let most = StoredHash::parse(&with(&most)).unwrap();
    assert_eq!(most.cost().memory_bytes, 64 << 20);
    is_no_hash(
        &ARGON2ID[0].replace("v=19", "v=18"),
        HashError::Argon2Version,
    );
    // What mosquitto 2.1 writes is within the bounds.
    assert_eq!(
        StoredHash::parse(&with("m=47104,t=1,p=1"))
            .unwrap()
            .cost()
            .memory_bytes,
        46 << 20
    );
    // The version before there was one to name.
    let unnamed = ARGON2ID[0].replace("v=19$", "");
    assert!(!StoredHash::parse(&unnamed).unwrap().verifies(b"password"));
}

#[test]
fn a_check_tells_its_cost_before_it_is_run() {
    let users = file(format!("ann:{PBKDF2_12}\nbob:{}", ARGON2ID[0]));
    let cost = |user, password| users.check(user, password).cost_hint();
    assert_eq!(
        cost("ann", Some(b"x")),
        Cost {
            work: 202,
            memory_bytes: 0
        }
    );
    assert_eq!(cost("bob", Some(b"x")).memory_bytes, 256 << 10);
    // Nobody costs what the first user costs: time does not tell who exists.
    assert_eq!(cost("nobody", Some(b"x")), cost("ann", Some(b"x")));
    assert!(!users.check("nobody", Some(PASSWORD.as_bytes())).run());
    // Without a password, or without users, there is nothing to compute.
    assert_eq!(cost("ann", None), Cost::default());
    assert_eq!(
        file("").check("ann", Some(b"x")).cost_hint(),
        Cost::default()
    );
    let dear = format!("a:$7${PBKDF2_ITERATIONS_MAX}${}", &PBKDF2_12[7..]);
    let dear = file(dear).check("a", Some(b"x")).cost_hint();
    assert_eq!(dear.work, 2_000_000);
}

#[test]
fn a_check_can_go_to_another_thread_and_shows_no_password() {
    fn is_send<T: Send + 'static>(_: &T) {}
    let check: Check = file(format!("ann:{PBKDF2_12}")).check("ann", Some(PASSWORD.as_bytes()));
    is_send(&check);
    let shown = format!("{check:?} {:?}", StoredHash::parse(PBKDF2_12));
    assert!(!shown.contains("tea") && !shown.contains("Q/HF"), "{shown}");
    assert!(std::thread::spawn(|| check.run()).join().unwrap());
}

fn cases() -> Config {
    Config {
        failure_persistence: None,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in any::<Vec<u8>>()) {
        let _ = PasswordFile::parse(&bytes);
    }

    #[test]
    fn nor_do_lines_that_are_nearly_right(
        lines in proptest::collection::vec(
            "[a# ]{0,2}:?(\\$[67]|PBKDF2\\$sha512|\\$argon2id\\$v=1[69]|)(\\$m=8,t=1,p=1|\\$1|)\
             \\$?[A-C=]{0,12}\\$?[A-C=]{0,24}", 0..6
        ),
    ) {
        if let Ok(file) = PasswordFile::parse(lines.join("\n").as_bytes()) {
            // CVE-2018-12551: nobody gets in without a password, whatever the lines.
            for user in file.users().chain(["", "a", "#"]) {
                prop_assert!(!file.check(user, None).run());
                prop_assert!(!file.check(user, Some(b"")).run());
            }
        }
    }

    #[test]
    fn whatever_is_stored_verifies(password in any::<Vec<u8>>(), salt in any::<[u8; 12]>()) {
        let recipe = Recipe::Pbkdf2 { iterations: 1 };
        let text = StoredHash::new(recipe, &password, &salt).unwrap().to_string();
        prop_assert!(StoredHash::parse(&text).unwrap().verifies(&password));
    }
}
