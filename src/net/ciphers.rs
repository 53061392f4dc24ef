//! The ciphers of TLS by the names that OpenSSL, and with it mosquitto.conf, has for them.

use rustls::CipherSuite;
use rustls::SupportedCipherSuite;
use rustls::crypto::ring::cipher_suite as ring;

/// A cipher, its name in OpenSSL's notation, and the words of that notation that mean it among
/// others.
struct Row {
    name: &'static str,
    suite: SupportedCipherSuite,
    words: &'static [&'static str],
}

const EVERY: [&str; 4] = ["ALL", "DEFAULT", "COMPLEMENTOFDEFAULT", "HIGH"];

/// All that are spoken, the best first.
const ROWS: [Row; 9] = [
    Row {
        name: "TLS_AES_256_GCM_SHA384",
        suite: ring::TLS13_AES_256_GCM_SHA384,
        words: &[],
    },
    Row {
        name: "TLS_AES_128_GCM_SHA256",
        suite: ring::TLS13_AES_128_GCM_SHA256,
        words: &[],
    },
    Row {
        name: "TLS_CHACHA20_POLY1305_SHA256",
        suite: ring::TLS13_CHACHA20_POLY1305_SHA256,
        words: &[],
    },
    Row {
        name: "ECDHE-ECDSA-AES256-GCM-SHA384",
        suite: ring::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        words: &[
            "ECDHE", "EECDH", "ECDSA", "aECDSA", "AES", "AES256", "AESGCM",
        ],
    },
    Row {
        name: "ECDHE-RSA-AES256-GCM-SHA384",
        suite: ring::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        words: &["ECDHE", "EECDH", "RSA", "aRSA", "AES", "AES256", "AESGCM"],
    },
    Row {
        name: "ECDHE-ECDSA-AES128-GCM-SHA256",
        suite: ring::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        words: &[
            "ECDHE", "EECDH", "ECDSA", "aECDSA", "AES", "AES128", "AESGCM",
        ],
    },
    Row {
        name: "ECDHE-RSA-AES128-GCM-SHA256",
        suite: ring::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        words: &["ECDHE", "EECDH", "RSA", "aRSA", "AES", "AES128", "AESGCM"],
    },
    Row {
        name: "ECDHE-ECDSA-CHACHA20-POLY1305",
        suite: ring::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        words: &["ECDHE", "EECDH", "ECDSA", "aECDSA", "CHACHA20"],
    },
    Row {
        name: "ECDHE-RSA-CHACHA20-POLY1305",
        suite: ring::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        words: &["ECDHE", "EECDH", "RSA", "aRSA", "CHACHA20"],
    },
];

/// A list in OpenSSL's notation, taken apart.
#[derive(Debug, Default)]
pub struct Chosen {
    /// In the order of the list.
    pub suites: Vec<SupportedCipherSuite>,
    /// Words that mean nothing here.
    pub unknown: Vec<String>,
}

/// The ciphers up to TLS 1.2 that `list` means.
pub fn up_to_1_2(list: Option<&str>) -> Chosen {
    choose(list, &|row| row.suite.tls13().is_none())
}

/// The ciphers of TLS 1.3 that `list` means.
pub fn of_1_3(list: Option<&str>) -> Chosen {
    choose(list, &|row| row.suite.tls13().is_some())
}

fn choose(list: Option<&str>, is_of_version: &dyn Fn(&&Row) -> bool) -> Chosen {
    let rows = || ROWS.iter().filter(is_of_version);
    let Some(list) = list else {
        return Chosen {
            suites: rows().map(|row| row.suite).collect(),
            ..Chosen::default()
        };
    };
    let mut chosen = Chosen::default();
    let mut banned = Vec::new();
    for word in list.split([':', ',', ' ']).filter(|word| !word.is_empty()) {
        // A word that takes ciphers away takes none where it is not known, and "@STRENGTH" sorts.
        let (sign, name) = match word.split_at_checked(1) {
            Some((sign @ ("!" | "-" | "+" | "@"), name)) => (sign, name),
            _ => ("", word),
        };
        let meant: Vec<_> = rows().filter(|row| row.is_meant_by(name)).collect();
        match sign {
            "!" => banned.extend(meant.iter().map(|row| row.suite.suite())),
            "-" => chosen
                .suites
                .retain(|suite| !meant.iter().any(|row| row.suite == *suite)),
            "" if meant.is_empty() => chosen.unknown.push(word.to_owned()),
            "" => chosen.suites.extend(meant.iter().map(|row| row.suite)),
            _ => {}
        }
    }
    let mut seen: Vec<CipherSuite> = banned;
    chosen.suites.retain(|suite| {
        let is_new = !seen.contains(&suite.suite());
        seen.push(suite.suite());
        is_new
    });
    chosen
}

/// What OpenSSL calls a cipher.
pub fn name(suite: SupportedCipherSuite) -> &'static str {
    let row = ROWS.iter().find(|row| row.suite == suite);
    row.map_or("unknown", |row| row.name)
}

impl Row {
    /// Whether `word` means it: its name, a word for several, or several words joined by `+`.
    fn is_meant_by(&self, word: &str) -> bool {
        word == self.name
            || word.split('+').all(|word| {
                self.words.contains(&word) || (!self.words.is_empty() && EVERY.contains(&word))
            })
    }
}
