//! The command line of `mosquitto_passwd`: one row an option. The parser, the help and the manual
//! page are made from these rows.

use crate::roff::Page;
use std::fmt::Write;

/// An option that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flag {
    Batch,
    Create,
    Delete,
    Hash,
    Iterations,
    Upgrade,
    Help,
}

pub(super) struct Row {
    pub flag: Flag,
    /// The ways to write it.
    names: &'static [&'static str],
    argument: &'static str,
    /// Whole sentences.
    doc: &'static str,
}

const ROWS: &[Row] = &[
    Row {
        flag: Flag::Batch,
        names: &["-b"],
        argument: "",
        doc: "Batch mode: takes the password from the command line, where others on this machine \
              may see it.",
    },
    Row {
        flag: Flag::Create,
        names: &["-c"],
        argument: "",
        doc: "Creates FILE; one that exists is overwritten. As FILE, - is standard output.",
    },
    Row {
        flag: Flag::Delete,
        names: &["-D"],
        argument: "",
        doc: "Deletes the user instead of setting a password.",
    },
    Row {
        flag: Flag::Hash,
        names: &["-H"],
        argument: "HASH",
        doc: "sha512-pbkdf2 (the default), sha512 (for mosquitto 1.6 and older) or argon2id (for \
              mosquitto 2.1 and newer; each login takes 46 MiB).",
    },
    Row {
        flag: Flag::Iterations,
        names: &["-I"],
        argument: "COUNT",
        doc: "Iterations of sha512-pbkdf2; 1000 if not said.",
    },
    Row {
        flag: Flag::Upgrade,
        names: &["-U"],
        argument: "",
        doc: "Turns the plain text passwords in FILE into hashes. What is a hash already stays as \
              it is.",
    },
    Row {
        flag: Flag::Help,
        names: &["-h", "--help"],
        argument: "",
        doc: "Shows this.",
    },
];

/// The ways to call it.
const FORMS: &[&str] = &[
    "[-H HASH] [-I COUNT] [-c | -D] FILE USERNAME",
    "[-H HASH] [-I COUNT] [-c] -b FILE USERNAME PASSWORD",
    "[-H HASH] [-I COUNT] -U FILE",
];

const NAME: &str = "mosquitto_passwd";

/// Columns of the help.
const COLUMNS: usize = 79;

/// The option that is written so.
pub(super) fn find(argument: &str) -> Option<Flag> {
    let row = ROWS.iter().find(|row| row.names.contains(&argument));
    row.map(|row| row.flag)
}

/// What `--help` says.
pub(super) fn usage() -> String {
    let mut text = String::from(
        "midge passwd (mosquitto_passwd) manages password files for midge and mosquitto.\n\n",
    );
    for (form, begin) in FORMS
        .iter()
        .zip(["Usage:"].iter().chain(["      "].iter().cycle()))
    {
        let _ = writeln!(text, "{begin} {NAME} {form}");
    }
    text.push('\n');
    for row in ROWS {
        list(&mut text, row);
    }
    text
}

/// One option, its words broken into lines.
fn list(text: &mut String, row: &Row) {
    let mut line = format!(" {} :", row.names.join(", "));
    for word in row.doc.split(' ') {
        if line.len() + 1 + word.len() > COLUMNS {
            let _ = writeln!(text, "{line}");
            line = String::from("     ");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

/// The manual page mosquitto_passwd(1), as roff.
pub fn render_page() -> String {
    let summary = "makes and changes password files for midge and mosquitto";
    let mut page = Page::new(NAME, 1, summary);
    page.section("SYNOPSIS");
    for form in FORMS {
        page.paragraph(&format!("`{NAME}` {form}"));
    }
    page.paragraph("`midge passwd` takes the same options and arguments.");
    page.section("DESCRIPTION");
    page.paragraph(
        "A password file holds one user a line: the name, a colon and a hash of the password. It \
         is what the option `password_file` of midge.conf(5) names. This program sets the password \
         of one user, who is added where there is none of that name, or deletes one user. \
         Options come before FILE.",
    );
    page.paragraph(
        "Unless `-b` is given, the password is asked for twice and not shown. Where standard \
         input is no terminal, two lines of it are read.",
    );
    page.paragraph(
        "A running broker goes on with the users it knows until it is sent SIGHUP. Files are \
         replaced whole, so that it finds the old one or the new one. A new file may be read by \
         its owner alone: by the user who makes it or, where root makes it, by the owner of the \
         directory. One that everybody could read is closed to all but its owner and group.",
    );
    page.section("OPTIONS");
    for row in ROWS {
        page.entry(&row.names.join(", "), row.argument, row.doc);
    }
    page.section("EXIT STATUS");
    page.paragraph("0 when the file is as asked for; 1 when nothing was changed.");
    page.section("EXAMPLES");
    page.paragraph("A new file with the user ann, whose password is asked for:");
    page.example(&["mosquitto_passwd -c /etc/mosquitto/passwd ann"]);
    page.paragraph("A second user, without being asked, and the broker told of both:");
    page.example(&[
        "mosquitto_passwd -b /etc/mosquitto/passwd bob 'two cups'",
        "systemctl reload midge",
    ]);
    page.paragraph("A user who is to go:");
    page.example(&["mosquitto_passwd -D /etc/mosquitto/passwd bob"]);
    page.paragraph("A line for another machine's file:");
    page.example(&["mosquitto_passwd -H argon2id -b - ann 'two cups'"]);
    page.section("SEE ALSO");
    page.paragraph("midge(8), midge.conf(5)");
    page.finish()
}
