//! The broker's command line: one row an option, mosquitto's and a few of midge's own. The parser,
//! `midge --help` and the manual page are made from these rows.

use getopts::{HasArg, Occur, Options};

/// One option of the command line.
pub struct Switch {
    /// One letter, or empty.
    pub short: &'static str,
    /// A word.
    pub long: &'static str,
    /// What its argument stands for; empty: it has none.
    pub argument: &'static str,
    /// Whether it may be repeated.
    pub is_repeated: bool,
    /// What it does, in words that fit behind it in a list.
    pub doc: &'static str,
}

const fn switch(short: &'static str, long: &'static str, doc: &'static str) -> Switch {
    Switch {
        short,
        long,
        argument: "",
        is_repeated: false,
        doc,
    }
}

const fn with(argument: &'static str, switch: Switch) -> Switch {
    Switch { argument, ..switch }
}

/// Every option.
pub const SWITCHES: &[Switch] = &[
    with(
        "FILE",
        switch("c", "config-file", "read this configuration file"),
    ),
    switch("d", "daemon", "run in the background"),
    Switch {
        is_repeated: true,
        ..with(
            "PORT",
            switch(
                "p",
                "port",
                "listen on PORT, on this machine only, unless the file names a listener (may be \
                 repeated)",
            ),
        )
    },
    switch("v", "verbose", "log everything, whatever log_type says"),
    switch("q", "quiet", "log nothing, whatever log_type says"),
    switch(
        "",
        "test-config",
        "say whether the configuration can be taken, and end",
    ),
    with(
        "FILE",
        switch(
            "",
            "tls-keylog",
            "write the keys of all TLS connections to FILE, for Wireshark to look into them",
        ),
    ),
    switch(
        "",
        "options",
        "list the options of configuration files, as Markdown",
    ),
    switch(
        "",
        "manual",
        "print a manual page as roff: midge.conf.5, or the page named behind it, midge.8 or \
         mosquitto_passwd.1",
    ),
    switch("h", "help", "show this"),
    switch("", "version", "show the version"),
];

/// The ways to call midge, for the first lines of its help and of its manual page.
pub const FORMS: &[&str] = &[
    "[-c FILE] [-d] [-p PORT]... [-v] [-q]",
    "-c FILE --test-config",
    "check [-c FILE] [--json]",
    "export [-c FILE] NEW-FILE",
    "passwd [OPTION]... FILE [USERNAME [PASSWORD]]",
];

/// The parser of the command line.
pub fn options() -> Options {
    let mut options = Options::new();
    for switch in SWITCHES {
        let has_argument = match switch.argument {
            "" => HasArg::No,
            _ => HasArg::Yes,
        };
        let occur = match switch.is_repeated {
            true => Occur::Multi,
            false => Occur::Optional,
        };
        let (short, long, doc) = (switch.short, switch.long, switch.doc);
        options.opt(short, long, doc, switch.argument, has_argument, occur);
    }
    options
}

/// What `midge --help` says.
pub fn usage() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let forms: Vec<_> = FORMS.iter().map(|form| format!("midge {form}")).collect();
    let brief = format!(
        "midge version {version}\n\nmidge is an MQTT broker for small boards (MQTT 3.1, 3.1.1 and \
         5.0).\n\nUsage: {}",
        forms.join("\n       ")
    );
    options().usage(&brief)
}
